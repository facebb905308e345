"""Scores of the estimates of ensembles and stopped descent, over all runs on one data set."""

from collections.abc import Iterator, Sequence

import pandas as pd

from rmtgen.report.run_result import RunResult
from rmtgen.report.theory_scores import SCORE, blocks_of, fits_of, with_interval
from rmtgen.report.wording import dataset_names, percentage
from rmtgen.tables import Table
from rmtgen.theory.beyond import ESTIMATORS, FITS, MEMBERS
from rmtgen.theory.scores import score_table

LABELS = {(one.analysis, one.name): one.label for one in ESTIMATORS}
"""Names of the estimators for readers, in the order of the table."""
HEADINGS = ("data set", "fits", "estimate", "median error, %", "worst, %", "within 10 %")
READING = (
    "error: |estimate / test risk - 1| of every ensemble and every stopped descent of every run;"
    f" 95 % intervals over (run, n). Ensembles: means of {MEMBERS} ridge fits to half of n samples,"
    " at every ridge; for M → ∞ the test risk is what the errors of two members share. Stopped"
    " descent: after 1, 4, 16, … steps. GCV takes either for one ridge fit; corrected GCV is that"
    " of Bellec et al. (2023), its limit that of Du & Patil (2024)"
)


def beyond_scores(results: Sequence[RunResult]) -> pd.DataFrame:
    """Scores of every estimator on every data set (`theory.scores`), in the order of the runs.

    Args:
        results: Runs. Those without such fits are left out.

    Returns:
        Columns `dataset runs fit estimator` and the fields of `Score`. No rows where no run has
        such fits.
    """
    rows = [
        row
        for dataset in dict.fromkeys(result.dataset for result in results)
        for row in _rows([result for result in results if result.dataset == dataset])
    ]
    return pd.DataFrame(rows, columns=["dataset", "runs", "fit", "estimator", *SCORE])


def _rows(results: Sequence[RunResult]) -> Iterator[dict[str, object]]:
    for one in ESTIMATORS:
        for dataset, fits in fits_of(results, one.analysis):
            keys = {"dataset": dataset, "runs": fits["run"].nunique(), "fit": one.analysis}
            table = score_table(fits, [one.name], blocks_of(fits), one.measured)
            for row in table.rename(columns={"theory": "estimator"}).to_dict("records"):
                yield keys | row


def beyond_table(scores: pd.DataFrame) -> Table:
    """The scores as a table of text."""
    names = dataset_names(scores["dataset"])
    rows = tuple(
        (
            names[row.dataset],
            FITS[row.fit],
            LABELS[row.fit, row.estimator],
            with_interval(row.relative_error, row.relative_error_interval, percentage),
            percentage(row.worst_error),
            f"{row.within:.0%}",
        )
        for row in scores.itertuples()
    )
    return Table(HEADINGS, rows, "<<<<>>", notes=(READING,))
