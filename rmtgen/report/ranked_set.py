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
from rmtgen.ranking.table import pareto_front, ranking
from rmtgen.report.dropped import SHOWN, behind, dropped_frame, dropped_table, undecided
from rmtgen.report.same_images import check_same_images, images_of, labels_of
from rmtgen.report.summary import Summary
from rmtgen.report.wording import number
from rmtgen.runs.run import Run, load_run
from rmtgen.tables import Table

COSTS = ("images_per_second", "parameters", "flops", "dim", "licence")
"""What a representation costs, as columns of ranking.csv."""
NAMED = 5
"""Number of images or classes that a note names."""
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
        settings: What they share: data set, classes and numbers of images.
        dropped: Representations that were compared on fewer images, or on none, by their names in
            tables.
    """

    representations: tuple[Representation, ...]
    settings: Mapping[str, Any]
    dropped: Mapping[str, Dropped] = field(default_factory=dict)

    @classmethod
    def load(cls, folders: Sequence[Path]) -> "RankedSet":
        """Read the scores in some directories of runs.

        Raises:
            MissingInputError, CorruptInputError, StaleInputError: As `load_run`; or the runs are
                not of the same images.
        """
        return cls.of([load_run(folder) for folder in folders])

    @classmethod
    def of(cls, runs: Sequence[Run], dropped: Sequence[Dropped] = ()) -> "RankedSet":
        """The scores of some runs, or of their first images.

        Args:
            runs: Those that are ranked.
            dropped: Those that were not taken as far.

        Raises:
            MissingInputError, CorruptInputError, StaleInputError: As `load`.
        """
        check_same_images(runs)
        labels = labels_of([*runs, *dropped])
        found = tuple(
            Representation(run.name, label, run.score, _costs(run))
            for run, label in zip(runs, labels, strict=False)
        )
        first = runs[0]
        settings = {
            "dataset": images_of(runs),
            "images": first.score.n,
            "all_images": int(first.config["train"]),
            "classes": len(first.classes),
            "class_names": first.classes,
            "contradictions": _contradictions(first),
            "counts": np.bincount(first.labels.train, minlength=len(first.classes)),
        }
        return cls(found, settings, dict(zip(labels[len(runs) :], dropped, strict=True)))

    @cached_property
    def table(self) -> pd.DataFrame:
        """ranking.csv: `rmtgen.ranking.table.COLUMNS`, the run, `COSTS`, and the Pareto front."""
        by_label = {one.label: one for one in self.representations}
        table = ranking({label: one.probe for label, one in by_label.items()})
        ordered = [by_label[label] for label in table["representation"]]
        costs = {name: [one.costs[name] for one in ordered] for name in COSTS}
        gains = table["accuracy"] if table["accuracy"].notna().any() else -table["loo"]
        seconds = 1 / pd.Series(costs["images_per_second"], dtype=float)
        front = pareto_front(gains, seconds)
        return table.assign(**costs, pareto=front, run_name=[one.run for one in ordered])

    @cached_property
    def summary(self) -> Summary:
        """What the terminal shows."""
        dropped = [dropped_table(self.dropped_frame, SHOWN)] if self.dropped else []
        return Summary((self.answer,), (self.best_table, *dropped), self.notes)

    @cached_property
    def dropped_frame(self) -> pd.DataFrame:
        """dropped.csv: `rmtgen.report.dropped.COLUMNS`."""
        return dropped_frame(self.dropped)

    @property
    def answer(self) -> str:
        """The representation to take, how good it is, and how sure that is."""
        first = self.table.iloc[0]
        ties = self.table["representation"][self.table["tied"]].tolist()[1:]
        these = "these " if self.settings["images"] == self.settings["all_images"] else ""
        good = f"risk {first['loo']:.4f} [{first['loo_low']:.4f}, {first['loo_high']:.4f}]"
        if np.isfinite(first["accuracy"]):
            low, high = 100 * first["accuracy_low"], 100 * first["accuracy_high"]
            good = f"accuracy {100 * first['accuracy']:.1f} % [{low:.1f}, {high:.1f}]"
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
        known = self.table.dropna(subset=["with_more"])
        if known.empty:
            return ""
        best = known.loc[known["with_more"].idxmin()]
        n = f"{10 * self.settings['images']:,}"
        first = self.table.iloc[0]["representation"]
        accuracy = best["accuracy_with_more"]
        low, high = 100 * best["accuracy_with_more_low"], 100 * best["accuracy_with_more_high"]
        good = f" ({100 * accuracy:.1f} % [{low:.1f}, {high:.1f}])" if np.isfinite(accuracy) else ""
        if best["representation"] == first:
            return f"With {n} it would stay first{good}." if len(self.table) > 1 else ""
        apart = best["with_more_high"] < known.iloc[0]["with_more_low"]
        sure = "" if apart else ", within the doubt of the forecasts"
        return f"With {n} {best['representation']} would lead{good}{sure}."

    @property
    def best_table(self) -> Table:
        """The ranking as a table of text."""
        rows = tuple(_row(row) for _, row in self.table.iterrows())
        return Table(HEADINGS, rows, "<" + ">" * (len(HEADINGS) - 1), (READING,))

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the images doubtful, as the first representation sees them."""
        first = self.table.iloc[0]["representation"]
        seen = next(one.probe.doubts for one in self.representations if one.label == first)
        doubts = (f"doubtful, as {first} sees them: {message}" for message in seen)
        later = undecided(self.dropped_frame)
        said = (later, self._contradicted, self._alone)
        return (*filter(None, said), *doubts, *self._unequal)

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
        counts, names = self.settings["counts"], self.settings["class_names"]
        alone = [printable(str(names[place])) for place in np.flatnonzero(counts == 1)]
        if not alone:
            return ""
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        return (
            f"a single image has the class {', '.join(alone[:NAMED])}{more}: left out, it cannot be"
            " recognised, and counts as wrong. Add images of it, or leave the class out."
        )

    @property
    def _unequal(self) -> tuple[str, ...]:
        """That classes are not balanced, where they are not."""
        counts = self.settings["counts"]
        counts = counts[counts > 0]
        if not len(counts) or counts.max() < UNEQUAL * counts.min():
            return ()
        return (
            f"the classes are not balanced: {counts.min():,} to {counts.max():,} images each;"
            " accuracies are those of new images in the same proportions.",
        )


HEADINGS = (
    *("representation", "place", "accuracy, %", "LOO risk, 95 %", "behind, %"),
    *("10 × labels, %", "images/s", "Mpar"),
)
"""Headings of the ranking as text."""
READING = (
    "place: those that paired intervals of 95 % leave it. accuracy: of a ridge probe on new images,"
    " at the ridge of smallest leave-one-out risk, with its 95 % interval. behind: risk above that"
    " of the first, in per cent of it, ± the half-width of the paired interval; = where that holds"
    " 0. 10 × labels: accuracy that ten times the images would give. images/s: of the extraction"
    " here, decoding included; * none is as good and as fast. Mpar: parameters in millions"
)


def _row(row: pd.Series) -> tuple[str, ...]:
    place = (
        f"{row['place_low']:.0f}"
        if row["place_low"] == row["place_high"]
        else f"{row['place_low']:.0f}–{row['place_high']:.0f}"
    )
    more = _between(row, "accuracy_with_more")
    return (
        str(row["representation"]),
        place,
        _between(row, "accuracy"),
        f"{number(row['loo'], '.4f')} [{number(row['loo_low'], '.4f')},"
        f" {number(row['loo_high'], '.4f')}]",
        "–" if row["place"] == 1 else behind(row),
        more,
        _rate(row["images_per_second"]) + ("*" if row["pareto"] else ""),
        _millions(row["parameters"]),
    )


def _between(row: pd.Series, name: str) -> str:
    """An accuracy in per cent with its interval."""
    value, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if not np.isfinite(value):
        return "–"
    return f"{value:.1f} [{number(low, '.1f')}, {number(high, '.1f')}]"


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
