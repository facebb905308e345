"""Chart 3: the risk over the ridge, and what it costs to let GCV or LOO choose it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.chart_axes import drawable, positive, size_axis, view_limits
from rmtgen.report.chart_runs import Run, doubts, labels
from rmtgen.report.fits import regrets, trial_means
from rmtgen.report.wording import counted, listed, percentage, power_of_ten, scientific

CHOOSERS = {"gcv": "GCV", "loo": "LOO"}
ZERO = 10.0
"""How far left of the smallest other ridge an exact zero stands, as a factor."""
MOST = 100.0
"""Percent that the axis of regrets reaches at most: of a test risk twice the best it is enough to
know."""
LABELS = 5
"""Labelled decades of the ridge, at most."""


def ridges_chart(runs: Sequence[Run]) -> Chart:
    """Test risk and GCV over the ridge at the largest size, with the smallest of both, and the
    regret at every size.
    """
    costs = [{by: regrets(run.result.risk, by) for by in CHOOSERS} for run in runs]
    panels = _over_ridge(runs), _by_size(runs, costs)
    caption, alt = _words(runs, costs, panels)
    return Chart(
        stem="ridges",
        title="Choosing the ridge",
        caption=caption,
        alt=alt,
        panels=panels,
        groups=labels(runs),
        warnings=doubts(runs),
    )


def _over_ridge(runs: Sequence[Run]) -> Panel:
    means = [
        trial_means(run.result.risk[run.result.risk["n"] == run.result.risk["n"].max()])
        for run in runs
    ]
    axis, zero = _ridge_axis(np.concatenate([rows["relative_ridge"] for rows in means]))
    lines = []
    for run, rows in zip(runs, means, strict=True):
        places = rows["relative_ridge"].where(rows["relative_ridge"] > 0, zero)
        told = pd.DataFrame({"x": places, "n": rows["n"], "ridge": rows["relative_ridge"]})
        risk, gcv = (
            told.assign(y=rows["test_risk"], **{"±": rows["total_se"]}),
            told.assign(y=rows["gcv"]),
        )
        lines += [
            Line(run.label, "test risk", risk, marked=False),
            Line(run.label, "GCV", gcv, dash="--", marked=False),
            Line(run.label, "smallest test risk", _lowest(risk), dash="", size=6.0),
            Line(run.label, "smallest GCV", _lowest(gcv), dash="", size=10.0, hollow=True),
        ]
    risks = [rows[name] for rows in means for name in ("test_risk", "gcv")]
    return Panel(
        "Risk at the largest n", axis, Axis("risk", "log", view_limits(*risks)), tuple(lines)
    )


def _lowest(table: pd.DataFrame) -> pd.DataFrame:
    """The row of the smallest finite y; none where there is none."""
    return table[np.isfinite(table["y"])].nsmallest(1, "y")


def _ridge_axis(ridges: np.ndarray) -> tuple[Axis, float]:
    """A log axis over relative ridges that has a place for an exact zero, the ridgeless limit, at
    its left end; and that place.
    """
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


def _by_size(runs: Sequence[Run], costs: Sequence[dict[str, pd.DataFrame]]) -> Panel:
    lines = []
    for run, cost in zip(runs, costs, strict=True):
        for by, look in (("gcv", {}), ("loo", {"dash": "--", "hollow": True, "size": 8.0})):
            percent, error = 100 * cost[by]["regret"], 100 * cost[by]["se"]
            told = {"ridge chosen": cost[by]["ridge"], "subsets": cost[by]["trials"]}
            ends = {"low": (percent - error).clip(lower=0), "high": percent + error}
            table = pd.DataFrame({"x": cost[by]["n"], "y": percent, **ends, **told})
            if len(table):
                lines.append(Line(run.label, f"chosen by {CHOOSERS[by]}", table, **look))
    top = positive(*(line.table[name] for line in lines for name in ("y", "high")))
    # a linear axis, for zero is the best there is and the commonest
    highest = max(top[top <= MOST], default=MOST if top.size else 1.0)
    view = float(-0.04 * highest), float(1.08 * highest)
    sizes = size_axis([run.result.risk for run in runs])
    return Panel(
        "Regret of the choice",
        sizes,
        Axis("test risk above the best (%)", "linear", view),
        tuple(lines),
    )


def _words(
    runs: Sequence[Run], costs: Sequence[dict[str, pd.DataFrame]], panels: tuple[Panel, Panel]
) -> tuple[str, str]:
    above = []
    for panel, unit in zip(panels, ("", " %"), strict=True):
        peak = max(positive(*(line.table["y"] for line in panel.lines)), default=0)
        if peak > panel.y.view[1]:
            above.append(
                f" In “{panel.title}” curves that leave the view reach up to"
                f" {scientific(peak)}{unit}."
            )
    caption = (
        "Risk at the largest n: measured test risk and GCV over the ridge, means over random"
        " subsets, with the smallest of each marked; 0 is the ridgeless limit. Regret of the"
        " choice: how far the test risk at the ridge that GCV or LOO chooses, without test images"
        " and on each subset by itself, lies above the best test risk of the grid; 0 is the best"
        f" choice, bars are standard errors over subsets.{''.join(above)}"
    )
    told = [f"{run.label}: {_told(cost)}" for run, cost in zip(runs, costs, strict=True)]
    skipped = sum(len(run.result.risk) - len(drawable(run.result.risk)) for run in runs)
    return counted(caption, skipped), listed(
        "What choosing the ridge without test images costs", told
    )


def _told(cost: dict[str, pd.DataFrame]) -> str:
    """The regrets at the largest size, and the largest of GCV."""
    gcv, loo = cost["gcv"], cost["loo"]
    if gcv.empty:
        return "no finite fit to choose"
    last, worst = gcv.iloc[-1], gcv.loc[gcv["regret"].idxmax()]
    also = f" ({percentage(loo['regret'].iloc[-1])} % by LOO)" if len(loo) else ""
    return (
        f"{percentage(last['regret'])} % by GCV{also} at n = {last['n']:,.0f}, at worst"
        f" {percentage(worst['regret'])} % at n = {worst['n']:,.0f}"
    )
