"""A comparison of representations in pairs: its tables, its answer and its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from rmtgen.ranking.probe import Probe
from rmtgen.report.page import rendered
from rmtgen.report.summary import Summary
from rmtgen.report.wording import number
from rmtgen.tables import Table

ALONE = ("representation", "{risk}, 95 %", "{kind}accuracy, %", "alignment")
"""Headings of the representations alone, with gaps for what kind of risk it is."""
PAIRS = ("pair", "CKA", "{kind}risk of both", "second adds, %", "first adds, %")
"""Headings of the pairs."""
READING = (
    "CKA: what two share, whatever the labels; 1 where one is the other turned and scaled."
    " {kind}risk of both: leave-one-out risk of a ridge probe on the two side by side, each scaled"
    " to tr K = n. second adds: how far that is below the risk of the first alone, in per cent of"
    " it, with the paired interval of 95 %; = where that holds 0. first adds: below that of the"
    " second"
)
READING_ALONE = (
    "{risk}: of a ridge probe on new images, with its 95 % interval. alignment: of the kernel and"
    " the labels, in [−1, 1]"
)
COUNTED = ". balanced: every class counts the same, in all risks and fits, and in the alignment"
"""What a reading ends in where it does."""


@dataclass(frozen=True, eq=False)
class PairsSet:
    """Representations of the same images, alone and two at a time.

    Attributes:
        labels: Name of each representation.
        probes: What the images say of each alone.
        table: One row per pair, with the columns `rmtgen.ranking.together.COLUMNS`.
        images: Number of images.
        dataset: Name of their data set.
    """

    labels: Sequence[str]
    probes: Sequence[Probe]
    table: pd.DataFrame
    images: int
    dataset: str

    @property
    def balanced(self) -> bool:
        """Whether every class counts the same."""
        return any(probe.balanced for probe in self.probes)

    @property
    def kind(self) -> str:
        """What comes before the name of a risk."""
        return "balanced " * self.balanced

    @cached_property
    def ordered(self) -> pd.DataFrame:
        """The pairs by the risk of both, the smallest first."""
        return self.table.sort_values(["loo_both", "first", "second"])

    @property
    def answer(self) -> str:
        """The best alone, what adds most to it, and the best pair."""
        risks = [probe.best["loo"] for probe in self.probes]
        best = self.labels[int(np.argmin(risks))]
        text = f"{best} is best alone: {self.kind}risk {min(risks):.4f}"
        text += f" from {self.images:,} labelled images of {self.dataset}."
        gain, name = max((gain, name) for name, gain in self._added(best))
        value, low, high = (number(one, ".2g") for one in gain)
        if gain[1] > 0:
            text += f" {name} adds most to it: the {self.kind}risk falls by {value} %"
            text += f" [{low}, {high}] with both."
        else:
            text += f" The images do not say that any of the others adds to it; {name} comes"
            text += f" nearest, with {value} % [{low}, {high}]."
        first = self.ordered.iloc[0]
        if best not in (first["first"], first["second"]):
            text += (
                f" The best pair is {first['first']} + {first['second']}, with a {self.kind}risk of"
            )
            text += f" {first['loo_both']:.4f}."
        return text

    def _added(self, best: str) -> list[tuple[str, tuple[float, float, float]]]:
        """What each of the others adds to one representation, in per cent of its risk."""
        found = []
        for _, row in self.table.iterrows():
            for place, other in (("first", "second"), ("second", "first")):
                if row[place] == best:
                    found.append((str(row[other]), _percent(row, place)))
        return found

    @property
    def alone(self) -> Table:
        """The representations alone, the best first, as a table of text."""
        order = np.argsort([probe.best["loo"] for probe in self.probes], kind="stable")
        rows = tuple(_alone(self.labels[place], self.probes[place]) for place in order)
        return Table(self._filled(ALONE), rows, "<>>>", (self._reading(READING_ALONE),))

    @property
    def pairs(self) -> Table:
        """The pairs as a table of text."""
        rows = tuple(_pair(row) for _, row in self.ordered.iterrows())
        return Table(self._filled(PAIRS), rows, "<>>>>", (self._reading(READING),))

    def _filled(self, headings: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._said(heading) for heading in headings)

    def _reading(self, reading: str) -> str:
        return self._said(reading) + COUNTED * self.balanced

    def _said(self, text: str) -> str:
        risk = "balanced risk" if self.balanced else "LOO risk"
        return text.format(kind=self.kind, risk=risk)

    @property
    def summary(self) -> Summary:
        """What the terminal shows."""
        return Summary((self.answer,), (self.alone, self.pairs), ())

    def page(self, title: str) -> str:
        """The text of one HTML file."""
        return rendered(
            "pairs.html.j2",
            (),
            (),
            title=title,
            answer=self.answer,
            tables=[
                ("pairs", "Two at a time", self.pairs, _sentence(self._reading(READING))),
                ("alone", "Alone", self.alone, _sentence(self._reading(READING_ALONE))),
            ],
            images=f"{self.images:,}",
            dataset=self.dataset,
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _percent(row: pd.Series, place: str) -> tuple[float, float, float]:
    """What is added to one of a pair, with its interval, in per cent of its risk."""
    unit = 100 / row[f"loo_{place}"] if row[f"loo_{place}"] > 0 else np.nan
    gain = f"gain_over_{place}"
    return unit * row[gain], unit * row[f"{gain}_low"], unit * row[f"{gain}_high"]


def _alone(label: str, probe: Probe) -> tuple[str, ...]:
    best, accuracy = probe.best, 100 * (1 - probe.figures["error"])
    return (
        label,
        f"{number(best['loo'], '.4f')} [{number(best['loo_low'], '.4f')},"
        f" {number(best['loo_high'], '.4f')}]",
        number(accuracy, ".1f"),
        number(probe.figures["alignment"], ".3f"),
    )


def _pair(row: pd.Series) -> tuple[str, ...]:
    return (
        f"{row['first']} + {row['second']}",
        number(row["cka"], ".3f"),
        number(row["loo_both"], ".4f"),
        _gain(*_percent(row, "first")),
        _gain(*_percent(row, "second")),
    )


def _gain(value: float, low: float, high: float) -> str:
    tied = "" if low > 0 or high < 0 else "= "
    return f"{tied}{number(value, '.2g')} [{number(low, '.2g')}, {number(high, '.2g')}]"
