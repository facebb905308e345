"""Forecast from one pool: the risk at every sample size, and the labels that a risk needs."""

import numpy as np
import pandas as pd

from rmtgen.report.axes import limits, log_axis, positive
from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.risk_statistics import best_curve
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import gapped, listed, number

STEM = "forecast"
TITLE = "Forecast and labels"
NEEDS = "forecast"

HINDCAST = {"y": "predicted_risk", "low": "low", "high": "high"}
"""Columns of a hindcast by the coordinate that they give."""


def chart(runs: RunSet) -> Chart:
    """The forecast at the best ridge beside the measured risk, and the labels of smaller risks."""
    known = runs.having(NEEDS)
    counted = known.having("labels")
    by_size = _by_size(known)
    gaps = missing([line.table for line in by_size.lines], by_size.x, by_size.y)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(_caption(counted), gaps),
        alt=listed("Forecasts", [_last_risk(run) for run in known]),
        panels=(by_size, _labels(counted) if len(counted) else _hindcasts(known)),
        groups=runs.labels,
        warnings=known.doubts,
    )


def _by_size(runs: RunSet) -> Panel:
    lines = [line for run in runs for line in (*_forecast(run), *_hindcast(run), _measured(run))]
    ends = [
        line.table[name] for line in lines for name in ("y", "low", "high") if name in line.table
    ]
    return Panel(
        "Forecast from one pool",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        log_axis("risk at the best ridge", *ends),
        tuple(lines),
    )


def _forecast(run: Run) -> list[Line]:
    """The forecast within the reach of the pool, and from its last point on extrapolated."""
    rows = run.theory["forecast"]
    table = pd.DataFrame(
        {"x": rows["n"], "y": rows["predicted_risk"], "low": rows["low"], "high": rows["high"]}
    )
    first = int(np.argmax(rows["extrapolated"])) if rows["extrapolated"].any() else len(rows)
    within, beyond = table[:first], table[max(0, first - 1) :]
    lines = []
    if len(within):
        lines.append(Line(run.label, "predicted, 95 %", within, marked=False, band=True))
    if first < len(rows):
        kind = "extrapolated"
        lines.append(Line(run.label, kind, beyond, dash=":", marked=False, band=True))
    return lines


def _hindcast(run: Run) -> list[Line]:
    if "hindcast" not in run.theory:
        return []
    rows = run.theory["hindcast"]
    table = pd.DataFrame({"x": rows["n"], "y": rows["predicted_risk"], "seen": rows["seen"]})
    return [Line(run.label, "from a tenth of the pool", table, dash="--", marked=False)]


def _measured(run: Run) -> Line:
    rows = best_curve(run.result.risk)
    table = {
        "x": rows["n"],
        "y": rows["test_risk"],
        "ridge": rows["relative_ridge"],
        "±": rows["total_se"],
    }
    return Line(run.label, "measured", pd.DataFrame(table), dash="")


def _labels(runs: RunSet) -> Panel:
    """Labels against the risk. An interval without an upper end reaches to the end of the view."""
    tables = [run.theory["labels"] for run in runs]
    reached = [table[np.isfinite(table["labels"])] for table in tables]
    view = limits(*(rows[name] for rows in reached for name in ("labels", "low", "high")))
    lines = []
    for run, table in zip(runs, tables, strict=True):
        rows = pd.DataFrame({"x": table["risk"], "y": table["labels"], "low": table["low"]})
        ends = table["high"].clip(upper=view[1]).where(np.isfinite(table["labels"]))
        open_ended = np.where(np.isfinite(table["high"]), "", "no upper end")
        lines.append(Line(run.label, "", rows.assign(high=ends, interval=open_ended)))
    return Panel(
        "Labels that a risk needs",
        log_axis("target risk", *(rows["risk"] for rows in reached)),
        Axis("labels, 95 % interval", "log", view),
        tuple(lines),
    )


def _hindcasts(runs: RunSet) -> Panel:
    """Error of the risk predicted from a tenth of the pool, for runs without a table of labels."""
    lines = []
    for run in runs.having("hindcast"):
        rows = run.theory["hindcast"]
        errors = {
            name: 100 * (rows[column] / rows["test_risk"] - 1) for name, column in HINDCAST.items()
        }
        lines.append(Line(run.label, "", pd.DataFrame({"x": rows["n"], **errors})))
    reach = max(
        positive(*(line.table[name].abs() for line in lines for name in HINDCAST)), default=1.0
    )
    return Panel(
        "Predicted from a tenth of the pool",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        Axis("error (%), 95 % interval", "linear", (-1.05 * reach, 1.05 * reach)),
        tuple(lines),
    )


def _caption(counted: RunSet) -> str:
    first = (
        "First panel: the test risk at the best ridge of each size, predicted from one"
        " eigendecomposition of the pool, with its 95 % interval over pools, beside the measured"
        " values. A dotted line marks predictions beyond the reach of the pool, which are"
        " extrapolated: within the number of features, for an eNTK its parameters, or by power laws"
        " where that is not known."
    )
    if not len(counted):
        return (
            f"{first} Second panel: the error of the prediction from a tenth of the pool, against"
            " the risks measured at larger sizes."
        )
    rows = pd.concat([run.theory["labels"] for run in counted])
    second = (
        "Second panel: the number of labels that a target risk needs, from 2 % below the best risk"
        " of the pool to half of it, with the same interval."
    )
    return " ".join([first, second, *_unreached(rows)])


def _unreached(rows: pd.DataFrame) -> list[str]:
    """One sentence for risks that no number of labels reaches, one for intervals without an end."""
    out = int(np.isinf(rows["labels"]).sum())
    endless = int((np.isinf(rows["high"]) & np.isfinite(rows["labels"])).sum())
    sentences = []
    if out:
        sentences.append(
            f"{out:,} of {len(rows):,} such risks are out of reach of any number of labels and left"
            " out."
        )
    if endless == 1:
        sentences.append("1 interval has no upper end and stops at the edge.")
    elif endless:
        sentences.append(f"{endless:,} intervals have no upper end and stop at the edge.")
    return sentences


def _last_risk(run: Run) -> str:
    last = run.theory["forecast"].iloc[-1]
    risk, low, high = (number(last[name], ".3g") for name in ("predicted_risk", "low", "high"))
    return f"{run.label}: risk {risk} ({low} to {high}) at n = {last['n']:,.0f}{_labels_of(run)}"


def _labels_of(run: Run) -> str:
    """The labels of the risk that needs the fewest."""
    if "labels" not in run.theory:
        return ""
    first = run.theory["labels"].iloc[0]
    if not np.isfinite(first["labels"]):
        return f", no number of labels reaches {number(first['risk'], '.3g')}"
    return f", {number(first['risk'], '.3g')} needs {first['labels']:,.0f} labels"
