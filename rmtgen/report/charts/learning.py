"""Learning curves: at the best ridge of each size, and at fixed ridges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rmtgen.report.axes import drawable, limits, positive, size_axis, view_limits
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.risk_statistics import best_curve, trial_means
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import compact, counted, listed, number, power_of_ten

STEM = "learning-curves"
TITLE = "Learning curves"
NEEDS = ""

DASHES = ("-", "--", ":")
"""One dash per fixed ridge."""
RINGS = 14
"""Largest number of markers of GCV along a line; on a dense curve more would hide it."""
PREDICTORS = {
    "transport": ("same-κ transport", {"dash": "--", "marked": False}),
    "gcv": ("GCV", {"dash": "", "hollow": True, "size": 9.0}),
    "loo": ("LOO, 95 %", {"dash": "-.", "marked": False, "band": True}),
}
"""Name and look of each prediction of the best risk, by its column."""


def chart(runs: RunSet) -> Chart:
    """Test risk and its predictions against n, at the best ridge per size and at fixed ridges."""
    bests = [_with_transport(run, best_curve(run.result.risk)) for run in runs]
    fixed = _Fixed.of(runs)
    sizes = size_axis([run.result.risk for run in runs])
    at_fixed = fixed.panel(runs, sizes)
    skipped = sum(len(run.result.risk) - len(drawable(run.result.risk)) for run in runs)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=counted(_caption(runs, fixed, top=at_fixed.y.view[1]), skipped),
        alt=_alt(runs, bests),
        panels=(_at_best(runs, bests, sizes), at_fixed),
        groups=runs.labels,
        warnings=runs.doubts,
    )


def _with_transport(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the mean `transport` of the same size and ridge, NaN without theory."""
    if "predictions" not in run.theory:
        return rows.assign(transport=np.nan)
    keys = ["n", "relative_ridge"]
    means = run.theory["predictions"].groupby(keys, as_index=False)["transport"].mean()
    return rows.merge(means, on=keys, how="left")


def _at_best(runs: RunSet, bests: Sequence[pd.DataFrame], sizes: Axis) -> Panel:
    lines = [line for run, rows in zip(runs, bests, strict=True) for line in _best_lines(run, rows)]
    low, high = limits(*(rows[name] for rows in bests for name in ("test_risk", *PREDICTORS)))
    # enough to show the fall of the training risk; the first chart shows its depth
    bottom = min(low, max(low / 3, limits(*(rows["train_risk"] for rows in bests))[0]))
    return Panel(
        "At the best ridge of each size", sizes, Axis("risk", "log", (bottom, high)), tuple(lines)
    )


def _best_lines(run: Run, rows: pd.DataFrame) -> list[Line]:
    """Test risk at the best ridges of a run, its predictions where known, and training risk."""
    table = pd.DataFrame({"x": rows["n"], "ridge": rows["relative_ridge"]})
    risk, error = rows["test_risk"], rows["test_risk_trial_se"]
    measured = table.assign(y=risk, low=risk - error, high=risk + error, subsets=rows["trials"])
    interval = {"low": rows["loo_low"], "high": rows["loo_high"]}
    predicted = [
        Line(
            run.label,
            name,
            table.assign(y=rows[column], **(interval if column == "loo" else {})),
            **look,
        )
        for column, (name, look) in PREDICTORS.items()
        if np.isfinite(rows[column]).any()
    ]
    training = table.assign(y=rows["train_risk"])
    return [
        Line(run.label, "test risk ± s.e.", measured),
        *predicted,
        Line(run.label, "training risk", training, dash=":", marked=False, pale=True),
    ]


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Curves at fixed ridges.

    Attributes:
        curves: For each run, a mapping from ridge to rows.
        dense: Whether the curves are dense in n, which every run must have.
    """

    curves: list[dict[float, pd.DataFrame]]
    dense: bool

    @classmethod
    def of(cls, runs: RunSet) -> "_Fixed":
        """Return the dense curves, or those of the risk table at ridges λ."""
        if any(run.result.curve is None for run in runs):
            return cls([_fixed_curves(run.result.risk) for run in runs], dense=False)
        return cls(
            [dict(list(run.result.curve.groupby("relative_sum_ridge"))) for run in runs], dense=True
        )

    def names(self) -> list[str]:
        """Names of the lines."""
        grids = [list(curves) for curves in self.curves]
        if all(grid == grids[0] for grid in grids):
            powers = [power_of_ten(ridge) for ridge in grids[0]]
            return [f"nλ = {power} tr K" if self.dense else f"ridge {power}" for power in powers]
        return [f"{word} ridge" for word in ("smallest", "small", "middle")[: max(map(len, grids))]]

    def risks(self) -> list[pd.Series]:
        """All columns that are drawn."""
        return [
            rows[name]
            for curves in self.curves
            for rows in curves.values()
            for name in ("test_risk", "gcv")
        ]

    def panel(self, runs: RunSet, sizes: Axis) -> Panel:
        """Test risk as lines, GCV as rings on them."""
        lines = []
        for run, curves in zip(runs, self.curves, strict=True):
            for (ridge, rows), name, dash in zip(
                curves.items(), self.names(), DASHES, strict=False
            ):
                table = pd.DataFrame({"x": rows["n"], "y": rows["test_risk"], "ridge": ridge})
                rings = table.assign(y=rows["gcv"]).iloc[:: -(-len(rows) // RINGS)]
                lines += [
                    Line(run.label, name, table, dash=dash, marked=False),
                    Line(run.label, "GCV", rings, dash="", hollow=True, size=4.5),
                ]
        title = "Every n, at fixed sum ridges nλ" if self.dense else "Test risk at fixed ridges"
        return Panel(title, sizes, Axis("risk", "log", view_limits(*self.risks())), tuple(lines))

    @property
    def words(self) -> str:
        """Description for the caption."""
        if self.dense:
            return (
                "Second panel: every n, in one random order of the images, at sum ridges nλ fixed"
                " relative to tr K of all images"
            )
        return "Second panel: at ridges fixed relative to tr K/N"


def _fixed_curves(risk: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Means over trials against n, at the smallest ridge and at one and two thirds of the grid."""
    table = trial_means(risk)
    grid = np.sort(table["relative_ridge"].unique())
    chosen = dict.fromkeys(grid[np.arange(len(DASHES)) * len(grid) // len(DASHES)])
    return {ridge: table[table["relative_ridge"] == ridge] for ridge in chosen}


def _caption(runs: RunSet, fixed: _Fixed, *, top: float) -> str:
    peak = max(positive(*fixed.risks()), default=0)
    above = f" Curves that leave the view reach up to {compact(peak)}." if peak > top else ""
    trials = max(run.result.risk["trial"].nunique() for run in runs)
    transport = (
        " Same-κ transport predicts the risk from one eigendecomposition of the pool."
        if len(runs.having("predictions"))
        else ""
    )
    return (
        "Test risk (filled) against the number of training images, and the prediction of GCV"
        " without test images (open). First panel: at the ridge of smallest test risk at each"
        f" size; bars are standard errors over random subsets, {trials} of each size, and the band"
        f" about leave-one-out is its 95 % interval for one fit.{transport}"
        f" The pale line is the training risk of the same fits. {fixed.words}; a hump at a small"
        f" ridge marks where the fit begins to interpolate.{above}"
    )


def _alt(runs: RunSet, bests: Sequence[pd.DataFrame]) -> str:
    findings = []
    for run, rows in zip(runs, bests, strict=True):
        first, last = rows.iloc[0], rows.iloc[-1]
        start = (
            f"{number(first['test_risk'], '.3g')} at n = {first['n']:,.0f}, "
            if len(rows) > 1
            else ""
        )
        findings.append(
            f"{run.label}: best test risk {start}{number(last['test_risk'], '.3g')} at n ="
            f" {last['n']:,.0f}, where GCV predicts {number(last['gcv'], '.3g')}"
        )
    return listed("Learning curves", findings)
