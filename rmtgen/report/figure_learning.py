"""Figure 2: learning curves, at the best ridge of each size, and at sum ridges held fixed for every n."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rmtgen.report.figure_axes import drawable, limits, log_axis, positive, size_axis, view_limits
from rmtgen.report.figure_style import GREY, Series, Words, key, mark
from rmtgen.report.fits import best_curve, trial_means
from rmtgen.report.wording import counted, listed, number, scientific

LINES = ("-", "--", ":")  # one for each fixed ridge
RINGS = 14
"""Markers of GCV along a line, at most: on a dense curve they would hide it."""


def draw_learning(series: list[Series], at_best: Axes, at_fixed: Axes) -> Words:
    """Draw test risk against n, with the GCV that foretold it as open markers, and say what is seen."""
    bests = [best_curve(item.result.risk) for item in series]
    fixed = _Fixed.of(series)
    for item, rows, curves in zip(series, bests, fixed.curves, strict=True):
        look = {"color": item.color, "marker": item.marker, "markersize": 5, "capsize": 2.5}
        at_best.errorbar(rows["n"], rows["test_risk"], rows["test_risk_trial_se"], **look)
        _draw_rings(at_best, item, rows, size=9)
        for curve, line in zip(curves.values(), LINES, strict=False):
            at_fixed.plot(curve["n"], curve["test_risk"], color=item.color, linestyle=line, linewidth=1.2, alpha=0.6)
            _draw_rings(at_fixed, item, curve.iloc[:: -(-len(curve) // RINGS)], size=4.5)
    values = [curve[name] for curves in fixed.curves for curve in curves.values() for name in ("test_risk", "gcv")]
    for axes, title, view in (
        (
            at_best,
            "At the best ridge of each size",
            limits(*(rows[name] for rows in bests for name in ("test_risk", "gcv"))),
        ),
        (at_fixed, fixed.title, view_limits(*values)),
    ):
        axes.set(title=title, ylabel="risk")
        size_axis(axes, series)
        log_axis(axes, "y", view)
    ring = mark(GREY, "o", "none", hollow=True)
    key(at_best, "best", {"test risk ± s.e.": mark(GREY, "o"), "GCV": ring})
    marks = {name: mark(GREY, line=line) for name, line in zip(fixed.names(), LINES, strict=False)}
    key(at_fixed, "best", marks | {"GCV": ring})
    return _learning_words(series, bests, fixed, top=at_fixed.get_ylim()[1], peak=max(positive(*values), default=0))


def _draw_rings(axes: Axes, item: Series, rows: pd.DataFrame, *, size: float) -> None:
    look = {"linestyle": "none", "marker": item.marker, "markersize": size, "markerfacecolor": "none"}
    axes.plot(rows["n"], rows["gcv"], color=item.color, **look)


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Curves at ridges held fixed, for each run a mapping from ridge to rows: dense in n where every run has such a curve."""

    curves: list[dict[float, pd.DataFrame]]
    dense: bool

    @classmethod
    def of(cls, series: list[Series]) -> "_Fixed":
        """Those of the dense curve, or of the risk table at ridges λ."""
        if any(item.result.curve is None for item in series):
            return cls([_fixed_curves(item.result.risk) for item in series], dense=False)
        return cls([dict(list(item.result.curve.groupby("relative_sum_ridge"))) for item in series], dense=True)

    @property
    def title(self) -> str:
        """Of the panel."""
        return "Every n, at fixed sum ridges nλ" if self.dense else "Test risk at fixed ridges"

    def names(self) -> list[str]:
        """What the lines are called."""
        grids = [list(curves) for curves in self.curves]
        if all(grid == grids[0] for grid in grids):
            return [f"nλ = {_power(ridge)} tr K" if self.dense else f"ridge {_power(ridge)}" for ridge in grids[0]]
        return [f"{word} ridge" for word in ("smallest", "small", "middle")[: max(map(len, grids))]]

    @property
    def words(self) -> str:
        """Of the caption."""
        if self.dense:
            return "Then every n, of one random order of the images, at sum ridges nλ held fixed relative to tr K of them all"
        return "Then at ridges held fixed relative to tr K/N"


def _fixed_curves(risk: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Means over trials against n at the smallest ridge and at one and two thirds of the way up the grid."""
    table = trial_means(risk)
    grid = np.sort(table["relative_ridge"].unique())
    chosen = dict.fromkeys(grid[np.arange(len(LINES)) * len(grid) // len(LINES)])
    return {ridge: table[table["relative_ridge"] == ridge] for ridge in chosen}


def _learning_words(
    series: list[Series], bests: list[pd.DataFrame], fixed: _Fixed, *, top: float, peak: float
) -> Words:
    above = f" Curves that leave the view reach up to {scientific(peak)}." if peak > top else ""
    trials = max(item.result.risk["trial"].nunique() for item in series)
    caption = (
        "Test risk (filled) against the number of training images, and what GCV predicted without test images (open). First at the ridge "
        f"of smallest test risk, size by size; bars are standard errors over random subsets, {trials} of each size. "
        f"{fixed.words}; where a small ridge makes a hump, the fit begins to interpolate.{above}"
    )
    told = []
    for item, rows in zip(series, bests, strict=True):
        first, last = rows.iloc[0], rows.iloc[-1]
        start = f"{number(first['test_risk'], '.3g')} at n = {first['n']:,.0f}, " if len(rows) > 1 else ""
        told.append(
            f"{item.label}: best test risk {start}{number(last['test_risk'], '.3g')} at n = {last['n']:,.0f}, "
            f"where GCV says {number(last['gcv'], '.3g')}"
        )
    skipped = sum(len(item.result.risk) - len(drawable(item.result.risk)) for item in series)
    return Words(counted(caption, skipped), listed("Learning curves", told))


def _power(value: float) -> str:
    """One figure of a ridge, as 2×10⁻⁵; an exact zero stays 0."""
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    factor = "" if digit == "1" else rf"{digit}\times"
    return rf"${factor}10^{{{int(exponent)}}}$"
