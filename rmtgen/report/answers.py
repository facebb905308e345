"""One sentence a run for who asks how good, how sure, and what more labels would buy.

Test images have a part in the number called measured and in the checks alone: the ridge is that of
the smallest leave-one-out risk. Where the targets are no classes the sentence speaks of the risk.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rmtgen.report.risk_statistics import chosen
from rmtgen.report.run_result import RunResult
from rmtgen.report.wording import number
from rmtgen.theory.accuracy import interval

MORE = (2, 8)
"""Multiples of the training images at which the gain of more labels is stated."""


class Measure(NamedTuple):
    """How a loss is stated: its tables, and whether as accuracy in percent or as it is."""

    table: str
    column: str
    fit: str
    tested: str
    accuracy: bool

    def text(self, value: float) -> str:
        """A value without its unit."""
        return number(100 * (1 - value), ".1f") if self.accuracy else number(value, ".4f")

    def interval(self, row: Mapping[str, float]) -> str:
        """The value of a row of the forecast with its 95 % interval."""
        ends = (row["high"], row["low"]) if self.accuracy else (row["low"], row["high"])
        return f"{self.text(row[self.column])}{self.unit} [{', '.join(map(self.text, ends))}]"

    @property
    def unit(self) -> str:
        """What follows a value."""
        return " %" if self.accuracy else ""


ACCURACY = Measure("accuracy", "predicted_error", "loo_error", "test_error", True)
RISK = Measure("forecast", "predicted_risk", "loo", "test_risk", False)


def answers(results: Sequence[RunResult], labels: Sequence[str]) -> dict[str, str]:
    """A sentence or two by label, of every run that has leave-one-out risks."""
    texts = (_answer(result) for result in results)
    return {label: text for label, text in zip(labels, texts, strict=True) if text}


def _answer(result: RunResult) -> str:
    fit = chosen(result.risk, result.risk["n"].max())
    if not np.isfinite(fit["loo"]):
        return ""
    measure = ACCURACY if np.isfinite(fit["loo_error"]) else RISK
    tables = result.theory or {}
    parts = (
        f"{_estimate(measure, fit, tables)}; {_measured(measure, fit, result)}.",
        _trust(tables),
        _more(measure, fit, tables),
    )
    return " ".join(part for part in parts if part)


def _estimate(measure: Measure, fit: pd.Series, tables: Mapping[str, pd.DataFrame]) -> str:
    where = f"on new images, from its {fit['n']:,.0f} training images alone"
    if not measure.accuracy:
        ends = f"[{measure.text(fit['loo_low'])}, {measure.text(fit['loo_high'])}]"
        return f"risk {measure.text(fit['loo'])} {ends} {where}"
    predictions = tables.get("predictions")
    row = None if predictions is None else predicted_accuracy(predictions, fit)
    if row is None or np.isnan(row["predicted_error"]):
        return f"accuracy {measure.text(fit['loo_error'])} % {where}"
    return f"accuracy {measure.interval(row)} {where}"


def predicted_accuracy(predictions: pd.DataFrame, fit: pd.Series) -> dict[str, float]:
    """The 0-1 error that the training images predict of one fit, with its 95 % interval.

    Args:
        predictions: theory.csv.
        fit: A row of `chosen`.

    Returns:
        `predicted_error low high` of the first subset, NaN in a run older than these columns.
    """
    same = (predictions["n"] == fit["n"]) & (predictions["trial"] == 0)
    rows = predictions[same & np.isclose(predictions["relative_ridge"], fit["relative_ridge"])]
    if not len(rows) or "predicted_error" not in rows:
        return dict.fromkeys(("predicted_error", "low", "high"), np.nan)
    row = rows.iloc[0]
    low, high = interval(row["predicted_error"], row["predicted_error_se"], int(fit["n"]))
    return {"predicted_error": row["predicted_error"], "low": low, "high": high}


def _measured(measure: Measure, fit: pd.Series, result: RunResult) -> str:
    """The value on the test images ± one standard error, where their number is known."""
    value, tests = fit[measure.tested], result.config.get("test")
    if not measure.accuracy:
        return f"measured {measure.text(value)} ±{number(fit['total_se'], '.4f')}"
    if not isinstance(tests, int):
        return f"measured {measure.text(value)} %"
    error = 100 * np.sqrt(value * (1 - value) / tests)
    return f"measured {measure.text(value)} ±{number(error, '.1f')} %"


def _trust(tables: Mapping[str, pd.DataFrame]) -> str:
    if "trust" not in tables:
        return ""
    messages = list(tables["trust"].query("tripped")["message"])
    if not messages:
        return "No check warns."
    others = f" and {len(messages) - 1} more" if len(messages) > 1 else ""
    return f"Doubtful: {messages[0].rstrip('.')}{others}."


def _more(measure: Measure, fit: pd.Series, tables: Mapping[str, pd.DataFrame]) -> str:
    """What more images would give, as far as the forecast goes."""
    if measure.table not in tables:
        return ""
    rows = tables[measure.table].dropna(subset=[measure.column])
    later = [rows[rows["n"] >= times * fit["n"]].head(1) for times in MORE]
    steps = pd.concat(later).drop_duplicates("n")
    if steps.empty:
        return ""
    texts = [f"with {row['n']:,.0f}: {measure.interval(row)}" for _, row in steps.iterrows()]
    guessed = ", extrapolated" if steps["extrapolated"].any() else ""
    return f"{'; '.join(texts).capitalize()}{guessed}."
