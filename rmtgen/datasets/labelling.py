"""What the labels of a table mean, and from classes as text to their numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.scalars import choice
from rmtgen.tasks import TASKS

_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_LONGEST = 1000
"""Length from which a label is no number, but text."""
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number as text: digits, a point, an exponent."""


@dataclass(frozen=True)
class Labelling:
    """Which columns of a table label its images, and what they mean.

    Attributes:
        task: `classes`: a column names the class of each image. `labels`: a column holds any number
            of labels of each, `separator` between them, or several columns hold 0 or 1, whether an
            image has the label that they are named after. `values`: the columns hold the targets of
            a regression.
        columns: Names of the columns; none: the one named label, class or target.
        separator: What is between two labels in a cell.

    Raises:
        UsageError: Another task, columns or separator than these, or several columns of classes.
    """

    task: str = "classes"
    columns: tuple[str, ...] = ()
    separator: str = ";"

    def __post_init__(self) -> None:
        choice(self.task, "task", TASKS)
        columns = (self.columns,) if isinstance(self.columns, str) else tuple(self.columns)
        if not all(isinstance(name, str) and name.strip() for name in columns):
            raise UsageError(f"columns must be names of columns, got {self.columns!r:.60}.")
        object.__setattr__(self, "columns", tuple(name.strip() for name in columns))
        if twice := [name for name in self.columns if self.columns.count(name) > 1]:
            raise UsageError(f"columns must be named once each, got {twice[0]!r:.60} twice.")
        if not isinstance(self.separator, str) or not self.separator:
            raise UsageError(f"separator must be text, such as ';', got {self.separator!r:.60}.")
        if self.task == "classes" and len(self.columns) > 1:
            raise UsageError(
                f"a class is in one column, got columns={','.join(self.columns)}. Give one, or say"
                " what they are: task=labels (0 or 1 each) or task=values (numbers)."
            )

    @property
    def stated(self) -> bool:
        """Whether it asks for more than the usual column of classes."""
        return self.task != "classes" or bool(self.columns)

    @property
    def separated(self) -> bool:
        """Whether a cell holds any number of labels."""
        return self.task == "labels" and len(self.columns) < 2


USUAL = Labelling()
"""A class of each image."""


def class_order(names: Sequence[str], where: str) -> list[str]:
    """The distinct names of classes: by number if all are whole numbers, else sorted as text.

    Args:
        names: The name of the class of each image, or of each class.
        where: What holds them, for messages.

    Raises:
        CorruptInputError: Two names write one number in two ways, such as 1 and 01.
        UsageError: All are numbers, and some are fractions.
    """
    distinct = sorted(set(names))
    if not all(map(NUMBER.fullmatch, distinct)) or max(map(len, distinct)) >= _LONGEST:
        return distinct
    _refuse_fractions(distinct, where)
    ordered = sorted(distinct, key=_number)
    for name, following in zip(ordered, ordered[1:], strict=False):
        if _number(name) == _number(following):
            raise CorruptInputError(
                f"every class must have one name: {where} has {name} and {following}, which are one"
                " number. Write them alike."
            )
    return ordered


def class_numbers(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """The number of each image's class, int64, (n,).

    Args:
        names: The name of the class of each image.
        classes: The names of all classes, in order.
    """
    number_of = {name: number for number, name in enumerate(classes)}
    return np.fromiter((number_of[name] for name in names), dtype=np.int64, count=len(names))


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _refuse_fractions(numbers: Sequence[str], where: str) -> None:
    """Refuse targets of a regression, which would be as many classes as numbers."""
    fraction = next((name for name in numbers if not _WHOLE.fullmatch(name)), None)
    if fraction is not None:
        raise UsageError(
            f"labels must name classes: {where} has numbers with fractions, such as"
            f" {fraction:.40}. Name the classes by words or whole numbers; the targets of a"
            " regression are task=values."
        )
