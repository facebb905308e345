"""Chart 5: what predicts the risk and what does not: every theory against the measured risk, and
how it ranks and scales.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.chart_axes import view_limits
from rmtgen.report.chart_runs import Run
from rmtgen.report.theories import NAMES, theory_scores
from rmtgen.report.wording import dataset_names, gapped, listed, number

SHOWN = ("transport", "isotropic", "norm_proxy", "benign", "train_risk")
"""The theories of the scatter: one of each kind."""
DECADES = 30.0
"""How far below and above the measured risks the scatter reaches, as a factor: bounds without a
constant may be anywhere."""
SPREAD = 0.5
"""The part of a theory's row that its data sets share."""


def theories_chart(runs: Sequence[Run]) -> Chart:
    """Predicted against measured risk for one theory of each kind, and Kendall's τ of all with its
    interval.
    """
    known = [run for run in runs if run.theory]
    scores = theory_scores([run.result for run in known])
    datasets = dataset_names(scores["dataset"])
    fits = _fits(_means(known))
    outside = sum(_outside(line.table["y"], fits.y.view) for line in fits.lines)
    return Chart(
        stem="theories",
        title="What predicts the risk, and what does not",
        caption=_caption(outside, missing([line.table for line in fits.lines], fits.x, fits.y)),
        alt=_alt(scores, datasets),
        panels=(fits, _ranks(scores, datasets)),
        groups=(*(NAMES[name] for name in SHOWN), *datasets.values()),
    )


def _means(runs: Sequence[Run]) -> pd.DataFrame:
    """Means over subsets: one row a run, n and ridge."""
    tables = [run.theory["predictions"].assign(run=run.label) for run in runs]
    fits = pd.concat(tables).replace([np.inf, -np.inf], np.nan)
    keys = ["run", "n", "relative_ridge"]
    return fits.groupby(keys, as_index=False)[["test_risk", *SHOWN]].mean()


def _fits(means: pd.DataFrame) -> Panel:
    view = view_limits(means["test_risk"])
    told = {
        "x": means["test_risk"],
        "run": means["run"],
        "n": means["n"],
        "ridge": means["relative_ridge"],
    }
    clouds = [
        Line(NAMES[name], "", pd.DataFrame({"y": means[name], **told}), dash="", size=3.0)
        for name in SHOWN
    ]
    return Panel(
        "Every theory, no constant fitted",
        Axis("measured test risk", "log", view),
        Axis("predicted risk", "log", (view[0] / DECADES, view[1] * DECADES)),
        (*clouds, Line("", "exact", pd.DataFrame({"x": view, "y": view}), dash="--", marked=False)),
    )


def _outside(values: pd.Series, view: tuple[float, float]) -> int:
    return int((values.gt(0) & ~values.between(*view)).sum())


def _ranks(scores: pd.DataFrame, datasets: dict[str, str]) -> Panel:
    names = [name for name in NAMES if name in set(scores["theory"])][::-1]
    lines = []
    for place, (dataset, called) in enumerate(datasets.items()):
        found = scores[scores["dataset"] == dataset].set_index("theory").reindex(names)
        ends = np.array(
            [
                pair if isinstance(pair, tuple) else (np.nan, np.nan)
                for pair in found["kendall_interval"]
            ]
        )
        told = {
            "theory": [NAMES[name] for name in names],
            "log-error, %": 100 * found["log_error"].to_numpy(),
        }
        places = {
            "x": found["kendall"].to_numpy(),
            "y": np.arange(len(names)) - SPREAD * ((place + 0.5) / len(datasets) - 0.5),
            "left": ends[:, 0],
            "right": ends[:, 1],
        }
        lines.append(Line(called, "", pd.DataFrame(places | told), dash=""))
    rows = (-0.6, len(names) - 0.4)
    lines.append(Line("", "", pd.DataFrame({"x": 0.0, "y": rows}), marked=False))
    return Panel(
        "Rank correlation with the test risk",
        Axis("Kendall τ, 95 % interval", "linear", (-1.05, 1.05)),
        Axis(
            "",
            "linear",
            rows,
            tuple(map(float, range(len(names)))),
            tuple(NAMES[name] for name in names),
        ),
        tuple(lines),
    )


def _caption(outside: int, gaps: int) -> str:
    hidden = f" {outside:,} points lie outside the view." if outside else ""
    caption = (
        "Left: what one theory of each kind predicts for every run, size and ridge (means over"
        " subsets), against the measured test risk; on the dashed line it is right. Bounds leave a"
        " factor free: only their order and slope say something. Right: whether each theory puts"
        " the fits of a data set in the right order, 1 being perfect and 0 no order at"
        f" all.{hidden}"
    )
    return gapped(caption, gaps)


def _alt(scores: pd.DataFrame, datasets: dict[str, str]) -> str:
    told = [
        f"{NAMES[row.theory]} on {datasets[row.dataset]}: τ {number(row.kendall, '.2f')}, log-error"
        f" {number(row.log_error, '.2g')}"
        for row in scores.itertuples()
        if row.theory in (*SHOWN, "gcv")
    ]
    return listed("Theories against measured test risk", told)
