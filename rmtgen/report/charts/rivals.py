"""Every theory against the measured risk, and the rank correlation of each."""

import numpy as np
import pandas as pd

from rmtgen.report.axes import view_limits
from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.run_set import RunSet
from rmtgen.report.theory_scores import NAMES
from rmtgen.report.wording import dataset_names, gapped, listed, number

STEM = "theories"
TITLE = "What predicts the risk, and what does not"
NEEDS = "predictions"

SHOWN = ("transport", "isotropic", "norm_proxy", "benign", "train_risk")
"""Theories of the left panel, one of each kind."""
REACH = 30.0
"""Factor by which the left panel reaches below and above the measured risks; bounds without a
constant may lie anywhere."""
SPREAD = 0.5
"""Share of the row of a theory over which the data sets are spread."""


def chart(runs: RunSet) -> Chart:
    """Predicted against measured risk for one theory of each kind, and Kendall's τ of all."""
    datasets = dataset_names(runs.scores["dataset"])
    scatter = _scatter(_means(runs.having(NEEDS)))
    outside = sum(_outside(line.table["y"], scatter.y.view) for line in scatter.lines)
    gaps = missing([line.table for line in scatter.lines], scatter.x, scatter.y)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(_caption(outside), gaps),
        alt=_alt(runs.scores, datasets),
        panels=(scatter, _ranks(runs.scores, datasets)),
        groups=(*(NAMES[name] for name in SHOWN), *datasets.values()),
    )


def _means(runs: RunSet) -> pd.DataFrame:
    """Means over subsets, one row per run, n and ridge."""
    tables = [run.theory["predictions"].assign(run=run.label) for run in runs]
    fits = pd.concat(tables).replace([np.inf, -np.inf], np.nan)
    keys = ["run", "n", "relative_ridge"]
    return fits.groupby(keys, as_index=False)[["test_risk", *SHOWN]].mean()


def _scatter(means: pd.DataFrame) -> Panel:
    view = view_limits(means["test_risk"])
    table = means[["test_risk", "run", "n", "relative_ridge"]]
    table = table.set_axis(["x", "run", "n", "ridge"], axis=1)
    clouds = [
        Line(NAMES[name], "", table.assign(y=means[name]), dash="", size=3.0) for name in SHOWN
    ]
    return Panel(
        "Every theory, no constant fitted",
        Axis("measured test risk", "log", view),
        Axis("predicted risk", "log", (view[0] / REACH, view[1] * REACH)),
        (*clouds, Line("", "exact", pd.DataFrame({"x": view, "y": view}), dash="--", marked=False)),
    )


def _outside(values: pd.Series, view: tuple[float, float]) -> int:
    return int((values.gt(0) & ~values.between(*view)).sum())


def _ranks(scores: pd.DataFrame, datasets: dict[str, str]) -> Panel:
    names = [name for name in NAMES if name in set(scores["theory"])][::-1]
    lines = []
    for place, (dataset, label) in enumerate(datasets.items()):
        rows = scores[scores["dataset"] == dataset].set_index("theory").reindex(names)
        heights = np.arange(len(names)) - SPREAD * ((place + 0.5) / len(datasets) - 0.5)
        lines.append(Line(label, "", _kendall(rows).assign(y=heights), dash=""))
    view = (-0.6, len(names) - 0.4)
    lines.append(Line("", "", pd.DataFrame({"x": 0.0, "y": view}), marked=False))
    ticks, labels = tuple(map(float, range(len(names)))), tuple(NAMES[name] for name in names)
    return Panel(
        "Rank correlation with the test risk",
        Axis("Kendall τ, 95 % interval", "linear", (-1.05, 1.05)),
        Axis("", "linear", view, ticks, labels),
        tuple(lines),
    )


def _kendall(rows: pd.DataFrame) -> pd.DataFrame:
    """Kendall's τ with its interval, one row per theory; NaN for a theory without a score."""
    unknown = (np.nan, np.nan)
    ends = [pair if isinstance(pair, tuple) else unknown for pair in rows["kendall_interval"]]
    low, high = np.array(ends).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "x": rows["kendall"].to_numpy(),
            "left": low,
            "right": high,
            "theory": [NAMES[name] for name in rows.index],
            "log-error, %": 100 * rows["log_error"].to_numpy(),
        }
    )


def _caption(outside: int) -> str:
    hidden = f" {outside:,} points lie outside the view." if outside else ""
    return (
        "First panel: the predictions of one theory of each kind for every run, size and ridge"
        " (means over subsets), against the measured test risk. On the dashed line a prediction"
        " is exact; no constant is fitted. Bounds leave a factor free, so only their order and"
        " slope count. Second panel: how well each theory orders the fits of a data set: 1 is the"
        f" right order, 0 no order at all.{hidden}"
    )


def _alt(scores: pd.DataFrame, datasets: dict[str, str]) -> str:
    findings = [
        f"{NAMES[row.theory]} on {datasets[row.dataset]}: τ {number(row.kendall, '.2f')}, log-error"
        f" {number(row.log_error, '.2g')}"
        for row in scores.itertuples()
        if row.theory in (*SHOWN, "gcv")
    ]
    return listed("Theories against measured test risk", findings)
