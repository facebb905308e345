"""What a ranking is judged by, in the words of its labels: classes, several labels, or values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rmtgen.report.dropped import UNITS, behind
from rmtgen.report.wording import number

_BEHIND = {
    "risk": "behind: {kind}risk above that of the first, in per cent of it,",
    "accuracy": "behind: {kind}accuracy below that of the first, in points,",
}
_PAIRED = "± the half-width of the paired interval; = where that holds 0."
_COST = (
    "images/s: of the extraction here, decoding included; * none is as good and as fast. Mpar:"
    " parameters in millions"
)
_PLACE = "place: those that paired intervals of 95 % leave it."
_RIDGE = "at the ridge of smallest {kind}leave-one-out risk, with its 95 % interval"


@dataclass(frozen=True)
class Words:
    """The measure of a ranking.

    Attributes:
        measure: Its column of the ranking, with the ends `_low` and `_high`.
        scale: What it is multiplied by.
        digits: Format of a number.
        heading: Heading of its column of text.
        axis: Name of its axis.
        named: Its name in a sentence.
        unit: What follows a number.
        described: What the columns of the table are, with the gaps `behind` and `kind`.
        areas: Whether there is an AUC.
        noun: What the images have: classes, labels or targets.
        balanced: Whether every class counts the same; then there are no forecasts.
    """

    measure: str
    scale: float
    digits: str
    heading: str
    axis: str
    named: str
    unit: str
    described: str
    areas: bool = False
    noun: str = "classes"
    balanced: bool = False

    @property
    def kind(self) -> str:
        """What comes before the name of a risk."""
        return "balanced " * self.balanced

    def shown(self, row: pd.Series | Mapping[str, float], ending: str = "") -> str:
        """The measure of a row with its interval, a dash where it is not known."""
        ends = ("", "_low", "_high")
        value, low, high = (self.scale * row[f"{self.measure}{ending}{end}"] for end in ends)
        if not np.isfinite(value):
            return "–"
        return f"{value:{self.digits}} [{number(low, self.digits)}, {number(high, self.digits)}]"

    def said(self, row: pd.Series | Mapping[str, float], ending: str = "") -> str:
        """The measure of a row in a sentence; empty where it is not known."""
        ends = ("", "_low", "_high")
        value, low, high = (self.scale * row[f"{self.measure}{ending}{end}"] for end in ends)
        if not np.isfinite(value):
            return ""
        interval = f"[{number(low, self.digits)}, {number(high, self.digits)}]"
        return f"{value:{self.digits}}{self.unit} {interval}"

    def behind(self, row: pd.Series, by: str) -> str:
        """The difference of a row to the first, in risk or accuracy, with its half-width."""
        return behind(row, by)

    def reading(self, by: str) -> str:
        """What the columns of the table are, in the order of accuracy or of risk."""
        behind = _BEHIND[by].format(kind=self.kind)
        return self.described.format(behind=f"{behind} {_PAIRED}", kind=self.kind)

    def headings(self, by: str) -> tuple[str, ...]:
        """Headings of the ranking as text."""
        area = ("AUC",) * self.areas
        later = self.heading.replace("accuracy", "10 × labels") if self.unit else "10 × labels, R²"
        risk = "balanced risk" if self.balanced else "LOO risk, 95 %"
        first = ("representation", "place", self.heading, *area, risk)
        forecast = () if self.balanced else (later,)
        return (*first, f"behind, {UNITS[by]}", *forecast, "images/s", "Mpar")


def area(row: pd.Series | Mapping[str, float]) -> str:
    """The AUC of a row with its interval, where that is known; a dash where there is no AUC."""
    value, low, high = (row[f"auc{end}"] for end in ("", "_low", "_high"))
    return number(value, ".3f") + (f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else "")


CLASSES = Words(
    measure="accuracy",
    scale=100,
    digits=".1f",
    heading="accuracy, %",
    axis="accuracy on new images (%)",
    named="accuracy",
    unit=" %",
    described=(
        f"{_PLACE} accuracy: of a ridge probe on new images, {_RIDGE}. {{behind}} 10 × labels:"
        f" accuracy that ten times the images would give. {_COST}"
    ),
)
"""A class of each image."""
BALANCED = replace(
    CLASSES,
    heading="balanced accuracy, %",
    axis="balanced accuracy (%)",
    named="balanced accuracy",
    described=(
        f"{_PLACE} balanced accuracy: mean over classes of the share that a ridge probe, to which"
        f" every class counts the same, recognises of its new images, {_RIDGE}. balanced risk: mean"
        f" over classes of the leave-one-out risk, with its interval. {{behind}} {_COST}"
    ),
    balanced=True,
)
"""A class of each image, of which every one counts the same."""
VALUES = Words(
    measure="r2",
    scale=1,
    digits=".3f",
    heading="R²",
    axis="R² on new images",
    named="R²",
    unit="",
    described=(
        f"{_PLACE} R²: share of the variance that a ridge probe explains on new images, {_RIDGE};"
        " of several targets the mean. LOO risk: squared error over the variance of each target,"
        f" summed over targets. {{behind}} 10 × labels: R² that ten times the images would give."
        f" {_COST}"
    ),
    noun="targets",
)
"""The targets of a regression."""
LABELS = replace(
    VALUES,
    described=(
        f"{_PLACE} R²: share of the variance of all labels, 0 or 1 each, that a ridge probe"
        f" explains on new images, {_RIDGE}. AUC: chance that an image with a label scores above"
        " one without, both left out, the mean over labels of two images or more, with its 95 %"
        " interval. LOO risk: squared error, summed over labels. {behind} 10 × labels: R² that ten"
        f" times the images would give. {_COST}"
    ),
    areas=True,
    noun="labels",
)
"""Any number of labels of each image."""
WORDS: Mapping[str, Words] = {"classes": CLASSES, "labels": LABELS, "values": VALUES}
"""The words of each task."""
