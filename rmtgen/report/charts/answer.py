"""The first figure: accuracy against labels, and the estimates against what was measured."""

import numpy as np
import pandas as pd

from rmtgen.report.answers import predicted_accuracy
from rmtgen.report.axes import log_axis, size_axis
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.risk_statistics import chosen
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import listed, number

STEM = "accuracy"
TITLE = "Accuracy, and what more labels would buy"
NEEDS = "accuracy"

REACH = 16
"""Largest multiple of the training images that is drawn: further out the forecast says little."""
ROOM = 0.06
"""Margin of a linear axis, as a share of it."""


def chart(runs: RunSet) -> Chart:
    """Accuracy predicted from the training images beside the measured one; LOO over test risk."""
    known = runs.having(NEEDS)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=_caption(),
        alt=listed("Accuracy", [_at_most_images(run) for run in known]),
        panels=(_accuracy(known), _against_tests(known)),
        groups=runs.labels,
        warnings=runs.doubts,
    )


def _accuracy(runs: RunSet) -> Panel:
    lines = [line for run in runs for line in (*_predicted(run), _measured(run))]
    return Panel(
        "Accuracy against labels",
        log_axis("training images n", *(line.table["x"] for line in lines)),
        _linear("accuracy on new images (%)", lines, most=100.0),
        tuple(lines),
    )


def _predicted(run: Run) -> list[Line]:
    """The accuracy of the fits of the run, and from the last of them on that of more images."""
    fits, tables = _fits(run), run.theory
    known = [predicted_accuracy(tables["predictions"], fit) for _, fit in fits.iterrows()]
    within = _in_percent(fits["n"], pd.DataFrame(known))
    rows, most = tables["accuracy"], fits["n"].max()
    rows = rows[(rows["n"] > most) & (rows["n"] <= REACH * most)]
    beyond = pd.concat([within.tail(1), _in_percent(rows["n"], rows)])
    return [
        Line(run.label, "predicted, 95 %", within, marked=False, band=True),
        Line(run.label, "for more images", beyond, dash=":", marked=False, band=True),
    ]


def _in_percent(sizes: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    """0-1 errors as accuracies, whose interval has its ends the other way round."""
    ends = {"y": "predicted_error", "low": "high", "high": "low"}
    values = {name: 100 * (1 - rows[column].to_numpy()) for name, column in ends.items()}
    return pd.DataFrame({"x": sizes.to_numpy(), **values})


def _fits(run: Run) -> pd.DataFrame:
    """The fit that leave-one-out chooses at each size, a row each."""
    risk = run.result.risk
    return pd.DataFrame([chosen(risk, n) for n in sorted(risk["n"].unique())]).astype({"n": int})


def _measured(run: Run) -> Line:
    rows = _fits(run)
    table = {"x": rows["n"], "y": 100 * (1 - rows["test_error"]), "ridge": rows["relative_ridge"]}
    return Line(run.label, "measured", pd.DataFrame(table), dash="")


def _against_tests(runs: RunSet) -> Panel:
    lines, tables = [], []
    for run in runs:
        rows = _fits(run)
        over = {
            name: 100 * (rows[column] / rows["test_risk"] - 1)
            for name, column in (("y", "loo"), ("low", "loo_low"), ("high", "loo_high"))
        }
        tables.append(rows)
        table = pd.DataFrame({"x": rows["n"], **over})
        lines.append(Line(run.label, "LOO, 95 %", table, dash="--", hollow=True))
    sizes = np.unique(np.concatenate([rows["n"] for rows in tables]))
    right = pd.DataFrame({"x": sizes, "y": np.zeros(len(sizes))})
    lines.append(Line("", "measured", right, marked=False))
    return Panel(
        "Estimate of the risk against its test",
        size_axis(tables),
        _linear("LOO risk over test risk − 1 (%)", lines),
        tuple(lines),
    )


def _linear(label: str, lines: list[Line], most: float = np.inf) -> Axis:
    """A linear axis that holds every value and interval."""
    ends = [
        line.table[name] for line in lines for name in ("y", "low", "high") if name in line.table
    ]
    values = np.concatenate([np.asarray(end, dtype=float) for end in ends])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = ROOM * (high - low) or 1.0
    return Axis(label, "linear", (float(low - margin), float(min(most, high + margin))))


def _caption() -> str:
    return (
        "First panel: the accuracy of new images against the number of labelled ones, predicted"
        " from the training images with its 95 % interval, beside the measured one. The ridge is"
        " that of the smallest leave-one-out risk. A dotted line is for more images than there are."
        " Second panel: the leave-one-out risk of these fits over the test risk; bars are its 95 %"
        " interval, to which the error of the test itself would add. Where they hold 0 both agree."
    )


def _at_most_images(run: Run) -> str:
    fit = _fits(run).iloc[-1]
    return (
        f"{run.label}: {number(100 * (1 - fit['loo_error']), '.1f')} % by leave-one-out and"
        f" {number(100 * (1 - fit['test_error']), '.1f')} % measured at n = {fit['n']:,.0f}"
    )
