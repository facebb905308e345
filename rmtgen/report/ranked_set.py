"""The representations of a ranking: their probes, what they cost, and the order that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from rmtgen.names import printable
from rmtgen.ranking.halving import Dropped
from rmtgen.ranking.probe import Probe
from rmtgen.ranking.table import output_table, pareto_front, ranking
from rmtgen.report.dropped import SHOWN, dropped_frame, dropped_table, undecided
from rmtgen.report.ranked_outputs import constant_labels, outputs_table
from rmtgen.report.ranking_words import BALANCED, WORDS, Words, area
from rmtgen.report.same_images import check_same_images, images_of, labels_of
from rmtgen.report.summary import Summary
from rmtgen.report.wording import number
from rmtgen.runs.concatenation import is_concatenation
from rmtgen.runs.run import Run, load_run
from rmtgen.tables import Table
from rmtgen.tasks import order_of, task_of

COSTS = ("images_per_second", "parameters", "flops", "dim", "licence")
"""What a representation costs, as columns of ranking.csv."""
NAMED = 5
"""Number of images or classes that a note names."""
SIDE_BY_SIDE = (
    ". a+b: the features of a and of b side by side, each scaled to a mean squared norm of 1;"
    " images/s with a pass for each"
)
"""What a concatenation is."""
UNEQUAL = 3
"""Ratio of the largest to the smallest class at which classes count as not balanced."""


@dataclass(frozen=True, eq=False)
class Representation:
    """One representation of the images of a ranking.

    Attributes:
        run: Name of its run.
        label: Its name in tables and charts.
        probe: What its training images say.
        costs: What it costs, with the keys `COSTS`; None where it is not known.
    """

    run: str
    label: str
    probe: Probe
    costs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class RankedSet:
    """The representations of a ranking.

    Attributes:
        representations: In no order.
        settings: What they share: data set, numbers of images, the task, the names of classes,
            labels or values, the number of images of each class, and whether classes count the
            same.
        dropped: Representations that were compared on fewer images, or on none, by their names in
            tables.
    """

    representations: tuple[Representation, ...]
    settings: Mapping[str, Any]
    dropped: Mapping[str, Dropped] = field(default_factory=dict)

    @classmethod
    def load(cls, folders: Sequence[Path], by: str | None = None) -> "RankedSet":
        """Read the scores in some directories of runs.

        Args:
            folders: The directories.
            by: What the order is by, as `rmtgen.rank` takes it.

        Raises:
            MissingInputError, CorruptInputError, StaleInputError: As `load_run`; or the runs are
                not of the same images.
            UsageError: As `order_of`.
        """
        return cls.of([load_run(folder) for folder in folders], by=by)

    @classmethod
    def of(
        cls, runs: Sequence[Run], dropped: Sequence[Dropped] = (), by: str | None = None
    ) -> "RankedSet":
        """The scores of some runs, or of their first images.

        Args:
            runs: Those that are ranked.
            dropped: Those that were not taken as far.
            by: As in `load`.

        Raises:
            MissingInputError, CorruptInputError, StaleInputError, UsageError: As `load`.
        """
        check_same_images(runs)
        labels = labels_of([*runs, *dropped])
        found = tuple(
            Representation(run.name, label, run.score, _costs(run))
            for run, label in zip(runs, labels, strict=False)
        )
        first = runs[0]
        task = task_of(first.labels.train)
        configs = [*(run.config for run in runs), *(one.config for one in dropped)]
        settings = {
            "dataset": images_of(runs),
            "images": first.score.n,
            "all_images": int(first.config["train"]),
            "task": task,
            "balanced": first.score.balanced,
            "by": order_of(task, by),
            "names": first.classes,
            "contradictions": _contradictions(first),
            "concatenated": any(map(is_concatenation, configs)),
            "counts": (
                np.bincount(first.labels.train, minlength=len(first.classes))
                if task == "classes"
                else np.empty(0)
            ),
        }
        return cls(found, settings, dict(zip(labels[len(runs) :], dropped, strict=True)))

    @cached_property
    def table(self) -> pd.DataFrame:
        """ranking.csv: `rmtgen.ranking.table.COLUMNS`, the run, `COSTS`, and the Pareto front."""
        by_label = {one.label: one for one in self.representations}
        table = ranking({label: one.probe for label, one in by_label.items()}, self.by)
        ordered = [by_label[label] for label in table["representation"]]
        costs = {name: [one.costs[name] for one in ordered] for name in COSTS}
        measured = table[self.words.measure]
        gains = measured if measured.notna().any() else -table["loo"]
        seconds = 1 / pd.Series(costs["images_per_second"], dtype=float)
        front = pareto_front(gains, seconds)
        return table.assign(**costs, pareto=front, run_name=[one.run for one in ordered])

    @cached_property
    def summary(self) -> Summary:
        """What the terminal shows."""
        apart = [] if self.outputs_table is None else [self.outputs_table]
        dropped = [dropped_table(self.dropped_frame, SHOWN, self.by)] if self.dropped else []
        return Summary((self.answer,), (self.best_table, *apart, *dropped), self.notes)

    @cached_property
    def dropped_frame(self) -> pd.DataFrame:
        """dropped.csv: `rmtgen.report.dropped.COLUMNS`."""
        return dropped_frame(self.dropped)

    @property
    def by(self) -> str:
        """What the order is by: accuracy or risk."""
        return self.settings["by"]

    @property
    def words(self) -> Words:
        """The words of what the images are labelled with."""
        if self.settings["balanced"]:
            return BALANCED
        return WORDS[self.settings["task"]]

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """outputs.csv: what is explained of each value or label; without rows for classes."""
        probes = {one.label: one.probe for one in self.representations}
        return output_table(probes, self.settings["names"])

    @property
    def outputs_table(self) -> Table | None:
        """That as a table of text, as the first representation explains them; None for classes."""
        if self.outputs.empty:
            return None
        return outputs_table(self.outputs, self.table.iloc[0]["representation"], self.words)

    @property
    def answer(self) -> str:
        """The representation to take, how good it is, and how sure that is."""
        first = self.table.iloc[0]
        ties = self.table["representation"][self.table["tied"]].tolist()[1:]
        these = "these " if self.settings["images"] == self.settings["all_images"] else ""
        good = f"risk {first['loo']:.4f} [{first['loo_low']:.4f}, {first['loo_high']:.4f}]"
        if said := self.words.said(first):
            good = f"{self.words.named} {said}"
        if np.isfinite(first["auc"]):
            good += f", mean AUC {area(first)},"
        text = f"{first['representation']} is first: {good} of a linear probe on new images, from"
        text += f" {these}{self.number_of_images} labelled images alone."
        if ties:
            named = ", ".join(ties[:4]) + (f" and {len(ties) - 4} more" if len(ties) > 4 else "")
            text += f" The images do not say whether it is better than {named}."
        elif len(self.table) > 1:
            text += " It is better than each of the others by more than the images leave in doubt."
        return f"{text} {self._later()}".strip()

    @property
    def number_of_images(self) -> str:
        """The number of images, of those that there are where it is less."""
        n, whole = self.settings["images"], self.settings["all_images"]
        return f"{n:,}" if n == whole else f"{n:,} of the {whole:,}"

    def _later(self) -> str:
        """What ten times the images would change."""
        known = self.table.dropna(subset=["place_with_more"])
        if known.empty:
            return ""
        best = known.loc[known["place_with_more"].idxmin()]
        n = f"{10 * self.settings['images']:,}"
        first = self.table.iloc[0]["representation"]
        said = self.words.said(best, "_with_more")
        named = f"{self.words.named} " if self.settings["task"] != "classes" else ""
        good = f" ({named}{said})" if said else ""
        sure = "" if self._parted(best, known) else ", within the doubt of the forecasts"
        if best["representation"] == first:
            return f"With {n} it would stay first{good}{sure}." if len(self.table) > 1 else ""
        return f"With {n} {best['representation']} would lead{good}{sure}."

    def _parted(self, best: pd.Series, known: pd.DataFrame) -> bool:
        """Whether the forecast of one leaves those of all others behind."""
        others = known[known["representation"] != best["representation"]]
        if self.by == "accuracy":
            lead = best["accuracy_with_more_low"] - others["accuracy_with_more_high"]
        else:
            lead = others["with_more_low"] - best["with_more_high"]
        return bool((lead > 0).all())

    @property
    def best_table(self) -> Table:
        """The ranking as a table of text."""
        rows = tuple(_row(row, self.words, self.by) for _, row in self.table.iterrows())
        headings = self.words.headings(self.by)
        return Table(headings, rows, "<" + ">" * (len(headings) - 1), (self.reading,))

    @property
    def reading(self) -> str:
        """What the columns of the table are."""
        return self.words.reading(self.by) + SIDE_BY_SIDE * self.settings["concatenated"]

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the images doubtful, as the first representation sees them."""
        first = self.table.iloc[0]["representation"]
        seen = next(one.probe.doubts for one in self.representations if one.label == first)
        doubts = (f"doubtful, as {first} sees them: {message}" for message in seen)
        later = undecided(self.dropped_frame)
        said = (later, self._contradicted, self._alone)
        return (*filter(None, said), *doubts, *self._unequal, *self._constant)

    @property
    def _contradicted(self) -> str:
        """Which images are in several classes."""
        same = self.settings["contradictions"]
        if not same:
            return ""
        more = f"; and {len(same) - NAMED} more" if len(same) > NAMED else ""
        return (
            f"the same picture is in several classes: {'; '.join(same[:NAMED])}{more}. Remove all"
            " but the right one of each."
        )

    @property
    def _alone(self) -> str:
        """Which classes have a single image: left out, nothing is known of its class."""
        counts, names = self.settings["counts"], self.settings["names"]
        alone = [printable(str(names[place])) for place in np.flatnonzero(counts == 1)]
        if not alone:
            return ""
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        return (
            f"a single image has the class {', '.join(alone[:NAMED])}{more}: left out, it cannot be"
            " recognised, and counts as wrong. Add images of it, or leave the class out."
        )

    @property
    def _constant(self) -> tuple[str, ...]:
        """Which labels all images have, or none."""
        if self.settings["task"] != "labels":
            return ()
        explained = self.representations[0].probe.explained
        shares = [] if explained is None else explained.outputs["share"].tolist()
        return constant_labels(shares, self.settings["names"])

    @property
    def _unequal(self) -> tuple[str, ...]:
        """That classes are not balanced, where they are not."""
        counts = self.settings["counts"]
        counts = counts[counts > 0]
        if not len(counts) or counts.max() < UNEQUAL * counts.min():
            return ()
        text = f"the classes are not balanced: {counts.min():,} to {counts.max():,} images each;"
        if self.settings["balanced"]:
            return (f"{text} every class counts the same here.",)
        return (
            f"{text} accuracies are those of new images in the same proportions. With balanced=true"
            " every class counts the same.",
        )


def _row(row: pd.Series, words: Words, by: str) -> tuple[str, ...]:
    place = (
        f"{row['place_low']:.0f}"
        if row["place_low"] == row["place_high"]
        else f"{row['place_low']:.0f}–{row['place_high']:.0f}"
    )
    return (
        str(row["representation"]),
        place,
        words.shown(row),
        *((area(row),) if words.areas else ()),
        f"{number(row['loo'], '.4f')} [{number(row['loo_low'], '.4f')},"
        f" {number(row['loo_high'], '.4f')}]",
        "–" if row["place"] == 1 else words.behind(row, by),
        *(() if words.balanced else (words.shown(row, "_with_more"),)),
        _rate(row["images_per_second"]) + ("*" if row["pareto"] else ""),
        _millions(row["parameters"]),
    )


def _rate(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:,.0f}"


def _millions(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value / 1e6:,.3g}"


def _contradictions(run: Run) -> list[str]:
    """The pictures that are in several classes, without the folders around the data set."""
    found = run.manifest("extract").details.get("contradictions") or []
    path = PurePath(str(run.config["dataset"]).partition(":")[2])
    texts = [str(one) for one in found]
    for around in (f"{path}/", f"{path}:", f"{path.parent}/"):
        texts = [text.replace(around, "") for text in texts]
    return [printable(text) for text in texts]


def _costs(run: Run) -> dict[str, Any]:
    """What the manifest of its extraction says; what another type than it should is not known."""
    details = run.manifest("extract").details
    found: dict[str, Any] = {
        name: value
        for name in ("images_per_second", "parameters", "flops")
        if type(value := details.get(name)) in (int, float)
    }
    licence = details.get("licence")
    found["licence"] = printable(licence) if isinstance(licence, str) else None
    found["dim"] = run.feature_store.layout.dim
    return {name: found.get(name) for name in COSTS}
