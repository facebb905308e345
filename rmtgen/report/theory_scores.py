"""Scores of the theories: how each ranks and scales the fits of all runs on one data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

import numpy as np
import pandas as pd

from rmtgen.report.run_result import RunResult
from rmtgen.report.wording import dataset_names, number, percentage
from rmtgen.tables import Table
from rmtgen.theory.registry import THEORIES
from rmtgen.theory.scores import Score, score_table

SCORE = tuple(field.name for field in fields(Score))
"""Columns of a score."""
NAMES = {name: theory.label for name, theory in THEORIES.items()}
"""Names of the theories for readers, in the order of the table."""
HEADINGS = ("data set", "theory", "Kendall τ", "log-error, %", "shape error, %")
READING = (
    "every (n, ridge, subset) of every run; 95 % intervals over (run, n). Kendall τ: 1 is the right"
    " order of all fits. log-error: median 100 |log(predicted / test risk)|; shape error: the same"
    " after the best factor, since bounds leave one free. naive plug-in: eigenlearning (Simon et"
    " al. 2023) with the spectrum of the pool itself"
)


def theory_scores(results: Sequence[RunResult]) -> pd.DataFrame:
    """Scores of every theory on every data set (`theory.scores`), in the order of the runs.

    Args:
        results: Runs. Those without the `theory` stage are left out.

    Returns:
        Columns `dataset runs theory` and the fields of `Score`. No rows where no run has theory.
    """
    rows = [
        {"dataset": dataset, "runs": fits["run"].nunique(), **row}
        for dataset, fits in fits_of(results, "predictions")
        for row in _scored(fits).to_dict("records")
    ]
    columns = ["dataset", "runs", "theory", *SCORE]
    return pd.DataFrame(rows, columns=columns)


def fits_of(results: Sequence[RunResult], table: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """A table of the `theory` stage over all runs of each data set that have it.

    Yields:
        The data set, and the table with a column `run`.
    """
    known = [result for result in results if table in (result.theory or {})]
    for dataset in dict.fromkeys(result.dataset for result in known):
        tables = [
            result.theory[table].assign(run=result.name)
            for result in known
            if result.dataset == dataset
        ]
        yield dataset, pd.concat(tables, ignore_index=True)


def blocks_of(fits: pd.DataFrame) -> np.ndarray:
    """One label per run and size: the fits of one are drawn together."""
    return (fits["run"] + " " + fits["n"].astype(str)).to_numpy()


def _scored(fits: pd.DataFrame) -> pd.DataFrame:
    present = tuple(name for name in NAMES if name in fits)  # a run may be older than a theory
    return score_table(fits, present, blocks_of(fits))


def flat_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The scores with the ends of an interval in columns `NAME_low` and `NAME_high`, for a CSV."""
    columns: dict[str, pd.Series] = {}
    for name in table:
        stem = name.removesuffix("_interval")
        ends = [table[name].str[0], table[name].str[1]] if name != stem else [table[name]]
        columns |= dict(
            zip([f"{stem}_low", f"{stem}_high"] if name != stem else [name], ends, strict=True)
        )
    return pd.DataFrame(columns)


def scores_table(scores: pd.DataFrame) -> Table:
    """The scores as a table of text."""
    names = dataset_names(scores["dataset"])
    rows = tuple(
        (
            names[row.dataset],
            NAMES[row.theory],
            with_interval(row.kendall, row.kendall_interval, lambda value: number(value, ".2f")),
            with_interval(row.log_error, row.log_error_interval, percentage),
            with_interval(row.shape_error, row.shape_error_interval, percentage),
        )
        for row in scores.itertuples()
    )
    return Table(HEADINGS, rows, "<<<<<", notes=(READING,))


def with_interval(value: float, interval: tuple[float, float], form: Callable[[float], str]) -> str:
    """A figure with its interval."""
    low, high = (form(end) for end in interval)
    return f"{form(value)} [{low}, {high}]"
