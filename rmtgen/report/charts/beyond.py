"""Estimates of the risk of ensembles and of stopped descent over the measured risk."""

import numpy as np
import pandas as pd

from rmtgen.report.axes import view_limits
from rmtgen.report.beyond_scores import LABELS
from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.run_set import RunSet
from rmtgen.report.wording import dataset_names, gapped, listed, percentage
from rmtgen.theory.beyond import DESCENT, ENSEMBLES, ESTIMATORS, FITS, MEMBERS, Estimator

STEM = "beyond"
TITLE = "Beyond one ridge fit"
NEEDS = ENSEMBLES

SHOWN = tuple(one for one in ESTIMATORS if one.measured == "test_risk")
"""Estimators of fits that exist, not of infinitely many members."""
FITTED_AT = {ENSEMBLES: ("relative_ridge", "ridge"), DESCENT: ("time", "t")}
"""Column that tells the fits of a sample apart, and its name in the figure."""
TITLES = {
    ENSEMBLES: f"Ensembles of {MEMBERS} ridge fits",
    DESCENT: "Gradient descent stopped early",
}
"""Titles of the panels."""
ROOM = 0.02
"""Margin of the axis of degrees of freedom, as a share of it."""


def chart(runs: RunSet) -> Chart:
    """Every estimate over the test risk, against the degrees of freedom of the fit."""
    panels = tuple(_panel(runs.having(analysis), analysis) for analysis in FITS)
    gaps = sum(missing([line.table for line in one.lines], one.x, one.y) for one in panels)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(_caption(sum(map(_outside, panels))), gaps),
        alt=_alt(runs.beyond),
        panels=panels,
        groups=tuple(dict.fromkeys(one.label for one in SHOWN)),
    )


def _panel(runs: RunSet, analysis: str) -> Panel:
    """The estimates of one kind of fits; none where no run has such fits."""
    lines = [_line(runs, one) for one in SHOWN if one.analysis == analysis and len(runs)]
    ratios = [line.table["y"] for line in lines]
    last = max((line.table["x"].max() for line in lines), default=1.0)
    exact = pd.DataFrame({"x": (0.0, last), "y": (1.0, 1.0)})
    return Panel(
        TITLES[analysis],
        Axis("degrees of freedom over n", "linear", (-ROOM * last, (1 + ROOM) * last)),
        Axis("estimate over test risk", "log", view_limits(*ratios, exact["y"])),
        (*lines, Line("", "exact", exact, dash="--", marked=False)),
    )


def _line(runs: RunSet, one: Estimator) -> Line:
    """An estimate over the measured risk for every fit of every run."""
    place, name = FITTED_AT[one.analysis]
    fits = pd.concat([run.theory[one.analysis].assign(run=run.label) for run in runs])
    ratios = (fits[one.name] / fits[one.measured]).replace([np.inf, -np.inf], np.nan)
    table = {"x": fits["df"] / fits["n"], "y": ratios, "run": fits["run"], "n": fits["n"]}
    return Line(one.label, "", pd.DataFrame(table | {name: fits[place]}), dash="", size=3.0)


def _outside(panel: Panel) -> int:
    low, high = panel.y.view
    values = pd.concat([line.table["y"] for line in panel.lines])
    return int((values.gt(0) & ~values.between(low, high)).sum())


def _caption(outside: int) -> str:
    hidden = f" {outside:,} points lie outside the view." if outside else ""
    return (
        "Each point is an estimate of the risk, from the training images alone, over the test risk"
        " of the same fit; on the dashed line the two are equal. First panel: means of"
        f" {MEMBERS} ridge fits to half of the images each. Second panel: gradient descent stopped"
        " after t steps. To the right fits follow their training images more closely. GCV takes"
        " either for one ridge fit; leave-one-out leaves each image out of these very"
        f" fits.{hidden}"
    )


def _alt(scores: pd.DataFrame) -> str:
    names = dataset_names(scores["dataset"])
    known = {(one.analysis, one.name) for one in SHOWN}
    findings = []
    for (dataset, fit), rows in scores.groupby(["dataset", "fit"], sort=False):
        errors = (
            f"{LABELS[fit, row.estimator]} {percentage(row.relative_error)} % and"
            f" {percentage(row.worst_error)} %"
            for row in rows.itertuples()
            if (fit, row.estimator) in known
        )
        findings.append(f"{FITS[fit]} on {names[dataset]}: {', '.join(errors)}")
    return listed("Median and worst error of the estimates", findings)
