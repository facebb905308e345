"""The risk over the ridge, and the regret of letting GCV or LOO choose the ridge."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.axes import drawable, positive, size_axis, view_limits
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.risk_statistics import regrets, trial_means
from rmtgen.report.run_set import RunSet
from rmtgen.report.wording import compact, counted, listed, percentage, power_of_ten

STEM = "ridges"
TITLE = "Choosing the ridge"
NEEDS = ""

CHOOSERS = {
    "gcv": ("GCV", {}),
    "loo": ("LOO", {"dash": "--", "hollow": True, "size": 8.0}),
}
"""Name and look of each criterion that chooses a ridge, by its column."""
ZERO = 10.0
"""Factor between the smallest positive ridge and the position of an exact zero, to its left."""
MOST = 100.0
"""Largest regret on the axis, in percent: twice the best test risk."""
LABELS = 5
"""Largest number of labelled decades of the ridge."""


def chart(runs: RunSet) -> Chart:
    """Test risk and GCV over the ridge at the largest size, and the regret at every size."""
    costs = [{by: regrets(run.result.risk, by) for by in CHOOSERS} for run in runs]
    panels = _over_ridge(runs), _by_size(runs, costs)
    skipped = sum(len(run.result.risk) - len(drawable(run.result.risk)) for run in runs)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=counted(_caption(panels), skipped),
        alt=_alt(runs, costs),
        panels=panels,
        groups=runs.labels,
        warnings=runs.doubts,
    )


def _over_ridge(runs: RunSet) -> Panel:
    means = [
        trial_means(run.result.risk[run.result.risk["n"] == run.result.risk["n"].max()])
        for run in runs
    ]
    axis, zero = _ridge_axis(np.concatenate([rows["relative_ridge"] for rows in means]))
    lines = []
    for run, rows in zip(runs, means, strict=True):
        places = rows["relative_ridge"].where(rows["relative_ridge"] > 0, zero)
        table = pd.DataFrame({"x": places, "n": rows["n"], "ridge": rows["relative_ridge"]})
        risk = table.assign(y=rows["test_risk"], **{"±": rows["total_se"]})
        gcv = table.assign(y=rows["gcv"])
        loo = table.assign(y=rows["loo"], low=rows["loo_low"], high=rows["loo_high"])
        lines += [
            Line(run.label, "test risk", risk, marked=False),
            Line(run.label, "GCV", gcv, dash="--", marked=False),
            Line(run.label, "LOO, 95 %", loo, dash="-.", marked=False, band=True),
            Line(run.label, "smallest test risk", _lowest(risk), dash="", size=6.0),
            Line(run.label, "smallest GCV", _lowest(gcv), dash="", size=10.0, hollow=True),
        ]
    risks = [rows[name] for rows in means for name in ("test_risk", "gcv")]
    return Panel(
        "Risk at the largest n", axis, Axis("risk", "log", view_limits(*risks)), tuple(lines)
    )


def _lowest(table: pd.DataFrame) -> pd.DataFrame:
    """The row of the smallest finite y, or no row."""
    return table[np.isfinite(table["y"])].nsmallest(1, "y")


def _ridge_axis(ridges: np.ndarray) -> tuple[Axis, float]:
    """A log axis over relative ridges, and the position of an exact zero at its left end."""
    others = ridges[ridges > 0]
    low, high = (others.min(), others.max()) if others.size else (1.0, 1.0)
    zero = low / ZERO
    first, last = int(np.ceil(np.log10(low) - 0.01)), int(np.floor(np.log10(high) + 0.01))
    powers = range(first, last + 1, max(1, -(-(last - first) // LABELS)))
    ticks = {
        value: power_of_ten(value) for value in [10.0**power for power in powers] or others[:1]
    }
    left = low
    if (ridges == 0).any():
        ticks, left = {zero: "0"} | ticks, zero
    view = float(left / 2), float(high * 2)
    return Axis("ridge λ over tr K/N", "log", view, tuple(ticks), tuple(ticks.values())), zero


def _by_size(runs: RunSet, costs: Sequence[dict[str, pd.DataFrame]]) -> Panel:
    lines = []
    for run, cost in zip(runs, costs, strict=True):
        for by, (name, look) in CHOOSERS.items():
            table = _regret(cost[by])
            if len(table):
                lines.append(Line(run.label, f"chosen by {name}", table, **look))
    top = positive(*(line.table[name] for line in lines for name in ("y", "high")))
    # a linear axis, since zero is the best regret and the most frequent one
    highest = max(top[top <= MOST], default=MOST if top.size else 1.0)
    view = float(-0.04 * highest), float(1.08 * highest)
    sizes = size_axis([run.result.risk for run in runs])
    return Panel(
        "Regret of the choice",
        sizes,
        Axis("test risk above the best (%)", "linear", view),
        tuple(lines),
    )


def _regret(cost: pd.DataFrame) -> pd.DataFrame:
    """Regrets in percent, with standard errors over subsets."""
    percent, error = 100 * cost["regret"], 100 * cost["se"]
    return pd.DataFrame(
        {
            "x": cost["n"],
            "y": percent,
            "low": (percent - error).clip(lower=0),
            "high": percent + error,
            "ridge chosen": cost["ridge"],
            "subsets": cost["trials"],
        }
    )


def _caption(panels: tuple[Panel, Panel]) -> str:
    above = []
    for panel, unit in zip(panels, ("", " %"), strict=True):
        peak = max(positive(*(line.table["y"] for line in panel.lines)), default=0)
        if peak > panel.y.view[1]:
            above.append(
                f" In “{panel.title}”, curves that leave the view reach up to"
                f" {compact(peak)}{unit}."
            )
    return (
        "First panel: measured test risk, GCV and leave-one-out over the ridge, means over random"
        " subsets at the largest sample size, with the smallest of the first two marked; the band"
        " is the 95 % interval of leave-one-out for one fit; 0 is the ridgeless limit. Second"
        " panel: by how much the test risk at the ridge that GCV or LOO chooses exceeds the best"
        " test risk of the grid. Each subset makes its own choice, without test images. At 0 the"
        f" choice is the best; bars are standard errors over subsets.{''.join(above)}"
    )


def _alt(runs: RunSet, costs: Sequence[dict[str, pd.DataFrame]]) -> str:
    findings = [f"{run.label}: {_costs(cost)}" for run, cost in zip(runs, costs, strict=True)]
    return listed("Regret of choosing the ridge without test images", findings)


def _costs(cost: dict[str, pd.DataFrame]) -> str:
    """The regrets at the largest size, and the largest regret of GCV."""
    gcv, loo = cost["gcv"], cost["loo"]
    if gcv.empty:
        return "no finite fit to choose"
    last, worst = gcv.iloc[-1], gcv.loc[gcv["regret"].idxmax()]
    also = f" ({percentage(loo['regret'].iloc[-1])} % by LOO)" if len(loo) else ""
    return (
        f"{percentage(last['regret'])} % by GCV{also} at n = {last['n']:,.0f}, at worst"
        f" {percentage(worst['regret'])} % at n = {worst['n']:,.0f}"
    )
