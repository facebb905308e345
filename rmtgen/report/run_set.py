"""The runs of one report, each with its label, and what is computed once across all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from rmtgen.errors import UsageError
from rmtgen.report import answers
from rmtgen.report.best_fits import best_fits, best_fits_table
from rmtgen.report.beyond_scores import beyond_scores, beyond_table
from rmtgen.report.head_spread import draws_of, head_spread, spread_notes, spread_table
from rmtgen.report.run_result import RunResult
from rmtgen.report.summary import Summary
from rmtgen.report.swaps import PairSwap, swaps
from rmtgen.report.theory_notes import theory_notes
from rmtgen.report.theory_scores import scores_table, theory_scores
from rmtgen.report.wording import dataset_names
from rmtgen.runs.own_features import has_network
from rmtgen.tables import Table


@dataclass(frozen=True, eq=False)
class Run:
    """A run with its label.

    Attributes:
        result: Results of the run.
        label: Name of the run in tables and charts.
    """

    result: RunResult
    label: str

    @property
    def theory(self) -> dict[str, pd.DataFrame]:
        """Tables of the `theory` stage by analysis, empty for a run without that stage."""
        return dict(self.result.theory or {})


@dataclass(frozen=True, eq=False)
class RunSet:
    """The runs of a report.

    What takes seconds (`heads`, `scores`, `beyond`, `swaps`) is computed on first use and kept for
    the charts, the page and the summary.
    """

    runs: tuple[Run, ...]

    @classmethod
    def of(cls, results: Sequence[RunResult]) -> "RunSet":
        """Return the runs with their labels.

        Raises:
            UsageError: There is no run, or two runs have one name.
        """
        _check(results)
        labels = run_labels(results)
        return cls(tuple(Run(*pair) for pair in zip(results, labels, strict=True)))

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def having(self, table: str) -> "RunSet":
        """The runs whose `theory` stage made this table."""
        return RunSet(tuple(run for run in self.runs if table in run.theory))

    @property
    def results(self) -> list[RunResult]:
        """The results, in the order of the runs."""
        return [run.result for run in self.runs]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the runs."""
        return tuple(run.label for run in self.runs)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Warnings that GCV or transport is unreliable, one sentence each."""
        return tuple(
            f"{run.label}: {message}"
            for run in self.having("trust")
            for message in run.theory["trust"].query("tripped")["message"]
        )

    @cached_property
    def best_fits(self) -> pd.DataFrame:
        """One row per run: its best fit (`best_fits.best_fits`)."""
        return best_fits(self.results)

    @cached_property
    def heads(self) -> pd.DataFrame:
        """One row per size of runs that differ in their head alone (`head_spread.head_spread`)."""
        return head_spread(self.results)

    @property
    def heads_table(self) -> Table:
        """The spread over heads as a table of text."""
        return spread_table(self.heads, self._headless)

    @property
    def heads_notes(self) -> list[str]:
        """A sentence about the spread over heads of each network."""
        return spread_notes(self.heads, self._headless)

    @property
    def _headless(self) -> dict[str, str]:
        """The labels without the heads, by name of the run."""
        return {
            run.result.name: run.label.removesuffix(f", {heads_label(run.result)}") for run in self
        }

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per data set and theory (`theory_scores.theory_scores`)."""
        return theory_scores(self.results)

    @cached_property
    def beyond(self) -> pd.DataFrame:
        """One row per data set and estimate of other fits (`beyond_scores.beyond_scores`)."""
        return beyond_scores(self.results)

    @cached_property
    def swaps(self) -> list[PairSwap]:
        """Every pair of a random and a pretrained run, with the swap of their spectra."""
        return swaps(self.results)

    @cached_property
    def theory_notes(self) -> list[str]:
        """What theory predicts for each run, one paragraph each, and the swaps."""
        return theory_notes(self.results, self.swaps)

    @cached_property
    def answers(self) -> dict[str, str]:
        """How good, how sure and what more labels would buy, by label.

        Of runs that differ in their head alone the first is spoken of; the others are in the
        spread over heads.
        """
        later = {run.name for draws in draws_of(self.results) for run in draws[1:]}
        spoken = RunSet(tuple(run for run in self if run.result.name not in later))
        return answers.answers(spoken.results, spoken.labels)

    @cached_property
    def summary(self) -> Summary:
        """The tables and notes that the terminal shows."""
        best = best_fits_table(self.best_fits, self.labels)
        scored = scores_table(self.scores), beyond_table(self.beyond)
        tables = best, self.heads_table, *scored
        shown = tuple(table for table in tables if table.rows)
        answers = tuple(f"{label}: {text}" for label, text in self.answers.items())
        return Summary(answers, shown, (*self.heads_notes, *self.theory_notes))


def run_labels(results: Sequence[RunResult]) -> list[str]:
    """Short names of runs for people.

    A label is model and init, or the file of features of one's own, then what else differs between
    the runs, or is a sketch, then the heads of runs that are else alike. Where two runs would have
    one label, both have their own names.
    """
    sketched = any("sketch" in result.kernel for result in results)
    kernels = {result.kernel for result in results}
    datasets = dataset_names(result.dataset for result in results)
    several, labels = len(datasets) > 1, []
    for result in results:
        parts = [result.model, result.init]
        parts += [datasets[result.dataset]] if several and has_network(result.dataset) else []
        parts += [result.kernel] if len(kernels) > 1 or sketched else []
        labels.append(", ".join(parts))
    labels = _told_apart(labels, results)
    return [
        label if labels.count(label) == 1 else result.name
        for label, result in zip(labels, results, strict=True)
    ]


def _told_apart(labels: Sequence[str], results: Sequence[RunResult]) -> list[str]:
    """The labels, those of runs whose heads differ with their heads."""
    pairs = list(zip(labels, results, strict=True))
    drawn = {
        label: {heads_label(run) for other, run in pairs if other == label} for label in labels
    }
    return [
        f"{label}, {heads_label(run)}" if len(drawn[label]) > 1 else label for label, run in pairs
    ]


def heads_label(result: RunResult) -> str:
    """The heads of an eNTK by their seeds: head 438, heads 438–445; empty for features."""
    seed, heads = result.config.get("head_seed"), result.config.get("heads")
    if result.config.get("kernel") != "entk":
        return ""
    return (
        f"heads {seed}–{seed + heads - 1}" if heads else f"head {'none' if seed is None else seed}"
    )


def _check(results: Sequence[RunResult]) -> None:
    if not results:
        raise UsageError(
            "a report needs at least one run: got none. Name finished runs: `rmtgen compare A B`."
        )
    names = [result.name for result in results]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"a report needs runs of different names: got {', '.join(repeated)} more than once"
            f" among {len(names)} runs. Name each run once."
        )
