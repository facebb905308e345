"""Runs as the charts know them: each with the label that is its group, and what makes its
predictions doubtful.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rmtgen.report.results import RunResult, check_runs, run_labels


@dataclass(frozen=True, eq=False)
class Run:
    """A run with its label, the same in every chart.

    Attributes:
        result: what it found.
        label: its group in the charts.
    """

    result: RunResult
    label: str

    @property
    def theory(self) -> dict[str, pd.DataFrame]:
        """The tables of the `theory` stage, none for a run without it."""
        return dict(self.result.theory or {})


def labelled(results: Sequence[RunResult]) -> list[Run]:
    """The runs with their labels.

    Raises:
        UsageError: no runs, or two with one name.
    """
    check_runs(results)
    columns = ("model", "init", "dataset", "kernel")
    table = pd.DataFrame(
        [{"run": run.name, **{name: getattr(run, name) for name in columns}} for run in results]
    )
    return [Run(result, label) for result, label in zip(results, run_labels(table), strict=True)]


def labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """The groups of a chart whose lines belong to runs."""
    return tuple(run.label for run in runs)


def doubts(runs: Sequence[Run]) -> tuple[str, ...]:
    """What tells that GCV or transport must not be trusted (`theory.diagnostics`), one sentence each."""
    return tuple(
        f"{run.label}: {message}"
        for run in runs
        if "trust" in run.theory
        for message in run.theory["trust"].query("tripped")["message"]
    )
