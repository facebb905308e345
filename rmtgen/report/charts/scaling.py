"""Power laws: the curves they are fitted to, and their exponents beside measured ones."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.axes import log_axis
from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.risk_statistics import best_curve
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import gapped, listed, number

STEM = "scaling"
TITLE = "Scaling laws"
NEEDS = "scaling"

QUANTITIES = {
    "decay": "decay a",
    "alignment": "alignment s",
    "power": "target power b",
    "kappa": "κ(0, n)",
    "ridgeless": "ridgeless risk",
    "best_ridge": "risk at best λ",
    "fixed_sum_ridge": "risk at fixed nλ",
    "fixed_ridge": "risk at fixed λ",
}
"""Rows of the panel of exponents, from the top."""
LAW = "power law"
"""Kind of a line that is a fitted power law."""
SPREAD = 0.6
"""Share of a row over which the runs are spread."""
MARGIN = 0.06
"""Margin on either side of the axis of exponents, as a share of the axis."""


def chart(runs: RunSet) -> Chart:
    """κ(0, n) and the risk less its noise with their power laws, and every exponent."""
    known = runs.having(NEEDS)
    tables = [_exponents(run) for run in known]
    curves = _curves(known)
    gaps = missing([line.table for line in curves.lines], curves.x, curves.y)
    findings = [f"{run.label}: {_slopes(table)}" for run, table in zip(known, tables, strict=True)]
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(_caption(tables), gaps),
        alt=listed("Exponents", findings),
        panels=(curves, _rows(known, tables)),
        groups=runs.labels,
    )


def _exponents(run: Run) -> pd.DataFrame:
    """Exponents of each quantity: of the pool and measured, with intervals, and predicted.

    Unknown values are NaN. The measured decay is that of subsets solved on their own.
    """
    scaling = run.theory["scaling"].set_index("quantity")
    columns = ["exponent", "low", "high", "measured", "measured_low", "measured_high", "predicted"]
    table = scaling.reindex(index=list(QUANTITIES), columns=columns)
    if "subset_decay" in scaling.index:
        subsets = scaling.loc["subset_decay", ["exponent", "low", "high"]]
        table.loc["decay", ["measured", "measured_low", "measured_high"]] = subsets.to_numpy()
    return table


def _curves(runs: RunSet) -> Panel:
    lines = [line for run in runs for line in (*_kappa(run), *_excess(run))]
    return Panel(
        "Curves of the fits",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        log_axis("κ over tr K/N; risk at best λ − noise", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _kappa(run: Run) -> list[Line]:
    """κ(0, n) of the pool, which is κ at df1 = n, its power law, and κ̂(0, n) of subsets."""
    risk, spectrum = run.result.risk, run.result.spectrum
    kappa = risk[risk["ridge"] == 0].groupby("n")["kappa"].mean()
    ridgeless = kappa * spectrum.n / spectrum.trace
    subsets = pd.DataFrame({"x": ridgeless.index, "y": ridgeless.to_numpy()})
    lines = (
        [Line(run.label, "κ̂(0, n), subsets", subsets, dash="", size=4.0)] if len(subsets) else []
    )
    if "curves" not in run.theory:
        return lines
    first, last = _range(run)
    curves = run.theory["curves"].query(f"{first / 2} <= df1 <= {2 * last}").sort_values("df1")
    pool = pd.DataFrame({"x": curves["df1"], "y": curves["relative_kappa"]})
    return [Line(run.label, "κ(0, n), pool", pool, marked=False), *_law(run, "kappa", pool), *lines]


def _excess(run: Run) -> list[Line]:
    """The measured risk at the best ridge less the noise of the pool, and its power law.

    The law is fitted to the forecast of the pool.
    """
    noise = np.nan_to_num(run.theory["scaling"].set_index("quantity").loc["noise", "exponent"])
    rows = best_curve(run.result.risk)
    table = pd.DataFrame({"x": rows["n"], "y": rows["test_risk"] - noise, "noise": noise})
    lines = [Line(run.label, "risk − noise", table, dash="", hollow=True)]
    if "forecast" in run.theory:
        forecast = run.theory["forecast"]
        excess = {"x": forecast["n"], "y": forecast["predicted_risk"] - noise}
        lines += _law(run, "best_ridge", pd.DataFrame(excess))
    return lines


def _range(run: Run) -> tuple[float, float]:
    """First and last size of the fits of the exponents."""
    first, last = run.theory["scaling"].loc[0, ["first", "last"]]
    return float(first), float(last)


def _law(run: Run, quantity: str, curve: pd.DataFrame) -> list[Line]:
    """The power law of a quantity over the range of its fit, or no line without an exponent.

    It passes through the curve at the middle of the range.
    """
    ends = np.array(_range(run))
    slope = run.theory["scaling"].set_index("quantity").loc[quantity, "exponent"]
    seen = curve[(curve["y"] > 0) & np.isfinite(curve["y"])].sort_values("x")
    if not np.isfinite(slope) or seen.empty:
        return []
    middle = np.sqrt(ends.prod())
    height = np.exp(np.interp(np.log(middle), np.log(seen["x"]), np.log(seen["y"])))
    table = pd.DataFrame({"x": ends, "y": height * (ends / middle) ** slope, "exponent": slope})
    return [Line(run.label, LAW, table, dash="--", marked=False)]


def _rows(runs: RunSet, tables: Sequence[pd.DataFrame]) -> Panel:
    """Exponents in rows of points with bars, the runs of a row one below the other."""
    top = len(QUANTITIES) - 1
    lines = []
    for place, (run, table) in enumerate(zip(runs, tables, strict=True)):
        heights = np.arange(top, -1, -1) - SPREAD * ((place + 0.5) / len(runs) - 0.5)
        lines += _exponent_lines(run, table.assign(y=heights, quantity=list(QUANTITIES.values())))
    values = np.concatenate([line.table["x"] for line in lines])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    margin = MARGIN * max(high - low, 0.1)
    view = (-0.6, top + 0.6)
    lines.append(Line("", "", pd.DataFrame({"x": 0.0, "y": view}), marked=False))
    ticks, names = tuple(map(float, range(top, -1, -1))), tuple(QUANTITIES.values())
    return Panel(
        "Exponents",
        Axis("exponent", "linear", (float(min(low, 0) - margin), float(max(high, 0) + margin))),
        Axis("", "linear", view, ticks, names),
        tuple(lines),
    )


def _exponent_lines(run: Run, table: pd.DataFrame) -> list[Line]:
    """The exponents of a run: of the pool, measured, and predicted."""
    shared = ["y", "quantity"]
    pool = table[["exponent", "low", "high", *shared]]
    pool = pool.set_axis(["x", "left", "right", *shared], axis=1)
    measured = table[["measured", "measured_low", "measured_high", *shared]]
    measured = measured.set_axis(["x", "left", "right", *shared], axis=1)
    predicted = table[["predicted", *shared]].set_axis(["x", *shared], axis=1)
    return [
        Line(run.label, "pool, 95 %", pool, dash="", size=4.0),
        Line(run.label, "measured, ± 2 s.e.", measured, dash="", size=7.0, hollow=True),
        Line(run.label, "predicted", predicted, dash="", size=9.0, pale=True),
    ]


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    caption = (
        "First panel: the effective ridge of n samples without a ridge, of the pool and of"
        " subsets solved on their own, and the measured risk at the best ridge less its noise."
        " Dashed: the power laws fitted from n = 30 to a quarter of the modes that the pool"
        " resolves. Second panel: exponents, which are local slopes over that range, with their"
        " intervals: of the pool, which has seen no test image; measured on test images (the decay"
        " on subsets); and predicted from the decay a and the alignment s. The exponents from"
        " κ(0, n) down are slopes in n."
    )
    unquoted = sum(int(table["exponent"].isna().sum()) for table in tables)
    if unquoted == 1:
        return f"{caption} One exponent is missing, since no power law fits."
    if unquoted:
        return f"{caption} {unquoted:,} exponents are missing, since no power law fits."
    return caption


def _slopes(table: pd.DataFrame) -> str:
    parts = []
    for name, words in (
        ("decay", "decay a"),
        ("alignment", "alignment s"),
        ("best_ridge", "slope of the risk at the best ridge"),
    ):
        row = table.loc[name]
        if np.isfinite(row["exponent"]):
            measured = number(row["measured"], ".2f")
            also = f", measured {measured}" if np.isfinite(row["measured"]) else ""
            parts.append(f"{words} {number(row['exponent'], '.2f')}{also}")
    return ", ".join(parts) or "no power law fits"
