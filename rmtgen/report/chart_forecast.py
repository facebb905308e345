"""Chart 7: what one pool foretells: the risk at every sample size, beyond the pool too, and the
labels that a risk takes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.chart_axes import limits, log_axis, positive
from rmtgen.report.chart_runs import Run, doubts, labels
from rmtgen.report.fits import best_curve
from rmtgen.report.wording import gapped, listed, number

FORETOLD = "foretold, 95 %"
OFF = {"y": "predicted_risk", "low": "low", "high": "high"}
"""Columns of a hindcast, by what they place."""


def forecast_chart(runs: Sequence[Run]) -> Chart:
    """The forecast at the best ridge with its interval beside the measured best risk, and the
    labels that smaller risks take.
    """
    known = [run for run in runs if "forecast" in run.theory]
    counted = [run for run in known if "labels" in run.theory]
    by_size = _by_size(known)
    return Chart(
        stem="forecast",
        title="Forecast and labels",
        caption=gapped(
            _caption(counted), missing([line.table for line in by_size.lines], by_size.x, by_size.y)
        ),
        alt=listed("Forecasts", [_told(run) for run in known]),
        panels=(by_size, _labels(counted) if counted else _hindcasts(known)),
        groups=labels(runs),
        warnings=doubts(known),
    )


def _by_size(runs: Sequence[Run]) -> Panel:
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
    """The forecast, and from its last point inside the pool's reach what rests on the fitted tail."""
    rows = run.theory["forecast"]
    table = pd.DataFrame(
        {"x": rows["n"], "y": rows["predicted_risk"], "low": rows["low"], "high": rows["high"]}
    )
    first = int(np.argmax(rows["extrapolated"])) if rows["extrapolated"].any() else len(rows)
    within, beyond = table[:first], table[max(0, first - 1) :]
    lines = [Line(run.label, FORETOLD, within, marked=False, band=True)] if len(within) else []
    return lines + [
        Line(run.label, "from the fitted tail", beyond, dash=":", marked=False, band=True)
    ] * (first < len(rows))


def _hindcast(run: Run) -> list[Line]:
    if "hindcast" not in run.theory:
        return []
    rows = run.theory["hindcast"]
    table = pd.DataFrame({"x": rows["n"], "y": rows["predicted_risk"], "seen": rows["seen"]})
    return [Line(run.label, "from a tenth of it", table, dash="--", marked=False)]


def _measured(run: Run) -> Line:
    rows = best_curve(run.result.risk)
    told = {"ridge": rows["relative_ridge"], "±": rows["total_se"]}
    return Line(
        run.label,
        "measured",
        pd.DataFrame({"x": rows["n"], "y": rows["test_risk"], **told}),
        dash="",
    )


def _labels(runs: Sequence[Run]) -> Panel:
    """Labels against the risk wanted; the upper end of an interval that has none is that of the
    view.
    """
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
        "Labels that a risk takes",
        log_axis("risk wanted", *(rows["risk"] for rows in reached)),
        Axis("labels, 95 % interval", "log", view),
        tuple(lines),
    )


def _hindcasts(runs: Sequence[Run]) -> Panel:
    """How far the risk foretold from a tenth of the pool is off: what a run made before labels were
    counted has to show.
    """
    lines = []
    for run in runs:
        if "hindcast" in run.theory:
            rows = run.theory["hindcast"]
            off = {
                name: 100 * (rows[column] / rows["test_risk"] - 1) for name, column in OFF.items()
            }
            lines.append(Line(run.label, "", pd.DataFrame({"x": rows["n"], **off})))
    reach = max(positive(*(line.table[name].abs() for line in lines for name in OFF)), default=1.0)
    return Panel(
        "Foretold from a tenth of the pool",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        Axis("off by (%), 95 % interval", "linear", (-1.05 * reach, 1.05 * reach)),
        tuple(lines),
    )


def _caption(counted: Sequence[Run]) -> str:
    left = (
        "Left: the test risk at the best ridge of each size, foretold from one eigendecomposition"
        " of the pool, with its 95 % interval over pools; measured values are at the sizes of the"
        " run. Where the pool does not resolve the kernel's tail, dots mark what rests on fitted"
        " power laws."
    )
    if not counted:
        return (
            f"{left} Right: the same from a tenth of the pool, against what was measured at larger"
            " sizes."
        )
    rows = pd.concat([run.theory["labels"] for run in counted])
    out = int(np.isinf(rows["labels"]).sum())
    endless = int((np.isinf(rows["high"]) & np.isfinite(rows["labels"])).sum())
    right = (
        " Right: how many labels it takes to reach risks from 2 % below the pool's best to half of"
        " it, with the same interval."
    )
    right += (
        f" {out:,} of {len(rows):,} such risks are out of reach of any number of labels and left"
        " out."
        if out
        else ""
    )
    right += (
        f" {endless:,} interval{'s have' if endless != 1 else ' has'} no upper end and"
        f" stop{'s' * (endless == 1)} at the edge."
        if endless
        else ""
    )
    return left + right


def _told(run: Run) -> str:
    last = run.theory["forecast"].iloc[-1]
    ends = f"{number(last['low'], '.3g')} to {number(last['high'], '.3g')}"
    return (
        f"{run.label}: risk {number(last['predicted_risk'], '.3g')} ({ends}) at n ="
        f" {last['n']:,.0f}{_first_labels(run)}"
    )


def _first_labels(run: Run) -> str:
    """The labels of the risk that takes the fewest."""
    if "labels" not in run.theory:
        return ""
    first = run.theory["labels"].iloc[0]
    if not np.isfinite(first["labels"]):
        return f", no number of labels reaches {number(first['risk'], '.3g')}"
    return f", {number(first['risk'], '.3g')} takes {first['labels']:,.0f} labels"
