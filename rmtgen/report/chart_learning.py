"""Chart 2: learning curves, at the best ridge of each size, and at sum ridges held fixed for every
n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.chart_axes import drawable, limits, positive, size_axis, view_limits
from rmtgen.report.chart_runs import Run, doubts, labels
from rmtgen.report.fits import best_curve, trial_means
from rmtgen.report.wording import counted, listed, number, power_of_ten, scientific

DASHES = ("-", "--", ":")
"""One for each fixed ridge."""
RINGS = 14
"""Markers of GCV along a line, at most: on a dense curve they would hide it."""
FORETOLD = {
    "transport": ("same-κ transport", {"dash": "--", "marked": False}),
    "gcv": ("GCV", {"dash": "", "hollow": True, "size": 9.0}),
    "loo": ("LOO", {"dash": "-.", "marked": False}),
}
"""What foretells the best risk, by its column: its name and its look."""


def learning_chart(runs: Sequence[Run]) -> Chart:
    """Test risk against n with what foretold it: at the best ridge of each size, and at ridges held
    fixed.
    """
    bests = [_with_transport(run, best_curve(run.result.risk)) for run in runs]
    fixed = _Fixed.of(runs)
    sizes = size_axis([run.result.risk for run in runs])
    at_fixed = fixed.panel(runs, sizes)
    caption, alt = _words(runs, bests, fixed, top=at_fixed.y.view[1])
    return Chart(
        stem="learning-curves",
        title="Learning curves",
        caption=caption,
        alt=alt,
        panels=(_at_best(runs, bests, sizes), at_fixed),
        groups=labels(runs),
        warnings=doubts(runs),
    )


def _with_transport(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the mean `transport` of the same size and ridge, NaN without theory."""
    if "predictions" not in run.theory:
        return rows.assign(transport=np.nan)
    keys = ["n", "relative_ridge"]
    means = run.theory["predictions"].groupby(keys, as_index=False)["transport"].mean()
    return rows.merge(means, on=keys, how="left")


def _at_best(runs: Sequence[Run], bests: Sequence[pd.DataFrame], sizes: Axis) -> Panel:
    lines = [line for run, rows in zip(runs, bests, strict=True) for line in _best_lines(run, rows)]
    low, high = limits(*(rows[name] for rows in bests for name in ("test_risk", *FORETOLD)))
    # enough to see the training risk fall away: chart 1 shows how far
    bottom = min(low, max(low / 3, limits(*(rows["train_risk"] for rows in bests))[0]))
    return Panel(
        "At the best ridge of each size", sizes, Axis("risk", "log", (bottom, high)), tuple(lines)
    )


def _best_lines(run: Run, rows: pd.DataFrame) -> list[Line]:
    """What was measured at the best ridges of a run, and what foretold it where that is known."""
    told = {"x": rows["n"], "ridge": rows["relative_ridge"]}
    risk, error = rows["test_risk"], rows["test_risk_trial_se"]
    measured = pd.DataFrame(
        {"y": risk, "low": risk - error, "high": risk + error, **told, "subsets": rows["trials"]}
    )
    foretold = [
        Line(run.label, name, pd.DataFrame({"y": rows[column], **told}), **look)
        for column, (name, look) in FORETOLD.items()
        if np.isfinite(rows[column]).any()
    ]
    training = pd.DataFrame({"y": rows["train_risk"], **told})
    return [
        Line(run.label, "test risk ± s.e.", measured),
        *foretold,
        Line(run.label, "training risk", training, dash=":", marked=False, pale=True),
    ]


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Curves at ridges held fixed, for each run a mapping from ridge to rows: dense in n where
    every run has such a curve.
    """

    curves: list[dict[float, pd.DataFrame]]
    dense: bool

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "_Fixed":
        """Those of the dense curve, or of the risk table at ridges λ."""
        if any(run.result.curve is None for run in runs):
            return cls([_fixed_curves(run.result.risk) for run in runs], dense=False)
        return cls(
            [dict(list(run.result.curve.groupby("relative_sum_ridge"))) for run in runs], dense=True
        )

    def names(self) -> list[str]:
        """What the lines are called."""
        grids = [list(curves) for curves in self.curves]
        if all(grid == grids[0] for grid in grids):
            powers = [power_of_ten(ridge) for ridge in grids[0]]
            return [f"nλ = {power} tr K" if self.dense else f"ridge {power}" for power in powers]
        return [f"{word} ridge" for word in ("smallest", "small", "middle")[: max(map(len, grids))]]

    def risks(self) -> list[pd.Series]:
        """Every column that is drawn."""
        return [
            rows[name]
            for curves in self.curves
            for rows in curves.values()
            for name in ("test_risk", "gcv")
        ]

    def panel(self, runs: Sequence[Run], sizes: Axis) -> Panel:
        """Test risk as lines, GCV as rings on them."""
        lines = []
        for run, curves in zip(runs, self.curves, strict=True):
            for (ridge, rows), name, dash in zip(
                curves.items(), self.names(), DASHES, strict=False
            ):
                told = pd.DataFrame({"x": rows["n"], "y": rows["test_risk"], "ridge": ridge})
                rings = told.assign(y=rows["gcv"]).iloc[:: -(-len(rows) // RINGS)]
                lines += [
                    Line(run.label, name, told, dash=dash, marked=False),
                    Line(run.label, "GCV", rings, dash="", hollow=True, size=4.5),
                ]
        title = "Every n, at fixed sum ridges nλ" if self.dense else "Test risk at fixed ridges"
        return Panel(title, sizes, Axis("risk", "log", view_limits(*self.risks())), tuple(lines))

    @property
    def words(self) -> str:
        """Of the caption."""
        if self.dense:
            return (
                "Then every n, of one random order of the images, at sum ridges nλ held fixed"
                " relative to tr K of them all"
            )
        return "Then at ridges held fixed relative to tr K/N"


def _fixed_curves(risk: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Means over trials against n at the smallest ridge and at one and two thirds of the way up the
    grid.
    """
    table = trial_means(risk)
    grid = np.sort(table["relative_ridge"].unique())
    chosen = dict.fromkeys(grid[np.arange(len(DASHES)) * len(grid) // len(DASHES)])
    return {ridge: table[table["relative_ridge"] == ridge] for ridge in chosen}


def _words(
    runs: Sequence[Run], bests: Sequence[pd.DataFrame], fixed: _Fixed, *, top: float
) -> tuple[str, str]:
    peak = max(positive(*fixed.risks()), default=0)
    above = f" Curves that leave the view reach up to {scientific(peak)}." if peak > top else ""
    trials = max(run.result.risk["trial"].nunique() for run in runs)
    transport = (
        "; same-κ transport foretold it from one eigendecomposition of the pool"
        if any("predictions" in run.theory for run in runs)
        else ""
    )
    caption = (
        "Test risk (filled) against the number of training images, and what GCV predicted without"
        " test images (open). First at the ridge of smallest test risk, size by size; bars are"
        f" standard errors over random subsets, {trials} of each size{transport}. Behind, the"
        f" training risk of the same fits. {fixed.words}; where a small ridge makes a hump, the fit"
        f" begins to interpolate.{above}"
    )
    told = []
    for run, rows in zip(runs, bests, strict=True):
        first, last = rows.iloc[0], rows.iloc[-1]
        start = (
            f"{number(first['test_risk'], '.3g')} at n = {first['n']:,.0f}, "
            if len(rows) > 1
            else ""
        )
        told.append(
            f"{run.label}: best test risk {start}{number(last['test_risk'], '.3g')} at n ="
            f" {last['n']:,.0f}, where GCV says {number(last['gcv'], '.3g')}"
        )
    skipped = sum(len(run.result.risk) - len(drawable(run.result.risk)) for run in runs)
    return counted(caption, skipped), listed("Learning curves", told)
