"""Chart 8: power laws: the curves that exponents are fitted to, and the exponents of the pool
beside those measured and predicted.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.chart_axes import log_axis
from rmtgen.report.chart_runs import Run, labels
from rmtgen.report.fits import best_curve
from rmtgen.report.wording import gapped, listed, number

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
"""The rows of the panel of exponents, from the top."""
LAW = "power law"
SPREAD = 0.6
"""The part of a row that runs share."""
MARGIN = 0.06
"""Of the axis of exponents, on either side."""


def scaling_chart(runs: Sequence[Run]) -> Chart:
    """κ(0, n) and the risk beyond its noise with the power laws fitted to them, and every exponent
    with its interval.
    """
    known = [run for run in runs if "scaling" in run.theory]
    tables = [_exponents(run) for run in known]
    curves = _curves(known)
    return Chart(
        stem="scaling",
        title="Scaling laws",
        caption=gapped(
            _caption(tables), missing([line.table for line in curves.lines], curves.x, curves.y)
        ),
        alt=listed(
            "Exponents",
            [f"{run.label}: {_told(table)}" for run, table in zip(known, tables, strict=True)],
        ),
        panels=(curves, _rows(known, tables)),
        groups=labels(runs),
    )


def _exponents(run: Run) -> pd.DataFrame:
    """Of each quantity the exponent of the pool, the measured and the predicted one, the first two
    with intervals; NaN where unknown.
    """
    scaling = run.theory["scaling"].set_index("quantity")
    columns = ["exponent", "low", "high", "measured", "measured_low", "measured_high", "predicted"]
    table = scaling.reindex(index=list(QUANTITIES), columns=columns)
    if (
        "subset_decay" in scaling.index
    ):  # the decay measured: from subsets that were solved on their own
        table.loc["decay", ["measured", "measured_low", "measured_high"]] = scaling.loc[
            "subset_decay", ["exponent", "low", "high"]
        ].to_numpy()
    return table


def _curves(runs: Sequence[Run]) -> Panel:
    lines = [line for run in runs for line in (*_kappa(run), *_excess(run))]
    return Panel(
        "What the exponents are fitted to",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        log_axis("κ over tr K/N; risk at best λ − noise", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _kappa(run: Run) -> list[Line]:
    """κ(0, n) of the pool, which is κ where it spends df1 = n, the law fitted to it, and κ̂(0, n)
    of subsets.
    """
    risk = run.result.risk
    ridgeless = risk[risk["ridge"] == 0].groupby("n")["kappa"].mean() / run.result.eigenvalues.sum()
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
    """The measured risk at the best ridge beyond the noise of the pool, and the law fitted to what
    the pool foretells of it.
    """
    noise = np.nan_to_num(run.theory["scaling"].set_index("quantity").loc["noise", "exponent"])
    rows = best_curve(run.result.risk)
    table = pd.DataFrame({"x": rows["n"], "y": rows["test_risk"] - noise, "noise": noise})
    lines = [Line(run.label, "risk − noise", table, dash="", hollow=True)]
    if "forecast" in run.theory:
        told = run.theory["forecast"]
        lines += _law(
            run, "best_ridge", pd.DataFrame({"x": told["n"], "y": told["predicted_risk"] - noise})
        )
    return lines


def _range(run: Run) -> tuple[float, float]:
    """The sizes that exponents are fitted over."""
    first, last = run.theory["scaling"].loc[0, ["first", "last"]]
    return float(first), float(last)


def _law(run: Run, quantity: str, curve: pd.DataFrame) -> list[Line]:
    """The power law of a quantity over the range of the fit, through the middle of a curve; none
    where no exponent is quoted.
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


def _rows(runs: Sequence[Run], tables: Sequence[pd.DataFrame]) -> Panel:
    """Exponents as rows of points with bars, a little lower for each run."""
    lines = []
    heights = np.arange(len(QUANTITIES))[::-1]
    for place, (run, table) in enumerate(zip(runs, tables, strict=True)):
        told = {
            "y": heights - SPREAD * ((place + 0.5) / len(runs) - 0.5),
            "quantity": list(QUANTITIES.values()),
        }
        predicted = pd.DataFrame({"x": table["predicted"].to_numpy(), **told})
        pool, measured = (
            pd.DataFrame(
                {name: table[column].to_numpy() for name, column in columns.items()} | told
            )
            for columns in (
                {"x": "exponent", "left": "low", "right": "high"},
                {"x": "measured", "left": "measured_low", "right": "measured_high"},
            )
        )
        lines += [
            Line(run.label, "pool, 95 %", pool, dash="", size=4.0),
            Line(run.label, "measured, ± 2 s.e.", measured, dash="", size=7.0, hollow=True),
            Line(run.label, "predicted", predicted, dash="", size=9.0, pale=True),
        ]
    values = np.concatenate([line.table["x"] for line in lines])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    margin = MARGIN * max(high - low, 0.1)
    lines.append(
        Line("", "", pd.DataFrame({"x": 0.0, "y": [-0.6, len(heights) - 0.4]}), marked=False)
    )
    return Panel(
        "Exponents",
        Axis("exponent", "linear", (float(min(low, 0) - margin), float(max(high, 0) + margin))),
        Axis(
            "",
            "linear",
            (-0.6, len(heights) - 0.4),
            tuple(map(float, heights)),
            tuple(QUANTITIES.values()),
        ),
        tuple(lines),
    )


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    unquoted = sum(int(table["exponent"].isna().sum()) for table in tables)
    silent = (
        f" {unquoted:,} exponents are not quoted, since no power law fits." if unquoted > 1 else ""
    )
    silent = " One exponent is not quoted, since no power law fits." if unquoted == 1 else silent
    return (
        "Left: the effective ridge of n samples without a ridge, of subsets solved on their own"
        " and of the pool, and the measured risk at the best ridge beyond its noise; dashed, the"
        " power laws fitted from n = 30 to a quarter of what the pool resolves. Right: exponents"
        " with their intervals: of the pool, which has seen no test image, as measured on test"
        " images (the decay on subsets), and as the decay a and the alignment s predict. From κ(0,"
        f" n) down they are slopes in n.{silent}"
    )


def _told(table: pd.DataFrame) -> str:
    parts = []
    for name, words in (
        ("decay", "decay a"),
        ("alignment", "alignment s"),
        ("best_ridge", "slope of the risk at the best ridge"),
    ):
        row = table.loc[name]
        if np.isfinite(row["exponent"]):
            measured = (
                f", measured {number(row['measured'], '.2f')}"
                if np.isfinite(row["measured"])
                else ""
            )
            parts.append(f"{words} {number(row['exponent'], '.2f')}{measured}")
    return ", ".join(parts) or "none to quote"
