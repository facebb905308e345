"""One cell of a column of labels: whether it holds something, and what."""

import math
from typing import Any

from rmtgen.datasets.labelling import NUMBER
from rmtgen.names import class_name
from rmtgen.tasks import LARGEST

_LONGEST = 400
"""Length from which a text is no number."""
_MOST_DIGITS = 18
"""Digits of a class number; a longer one is a name."""
MARKS = {"0": False, "1": True, "false": False, "true": True}
"""What a column of one label holds, in any case."""
_NOTHING = ("", "nan", "na", "n/a", "null", "none")
"""What stands for no number, in any case; a class may have such a name."""


def lacks(cell: Any, task: str, blank: bool) -> bool:
    """Whether a cell holds nothing.

    Args:
        cell: The cell.
        task: What it holds, of `rmtgen.tasks.TASKS`.
        blank: Whether an empty text says that an image has none of the labels.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if blank or task == "classes":
            return not (text or blank)
        return text.lower() in _NOTHING
    if isinstance(cell, (list, tuple)):
        return any(lacks(part, task, blank) for part in cell)
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def is_class_number(name: str) -> bool:
    """Whether the name of a class is a whole number ≥ 0 that a set of classes may have."""
    return name.isdecimal() and len(name) <= _MOST_DIGITS


def text_of(cell: Any) -> str | None:
    """The name of a class or of a label, by a text or a whole number; None for anything else."""
    if isinstance(cell, str):
        return class_name(cell.strip())
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell) if isinstance(cell, int | float) else None


def labels_in(cell: Any, separator: str) -> tuple[str, ...] | None:
    """The labels in a cell, each once; None if it holds something else."""
    parts: list[str | None]
    if isinstance(cell, str):
        parts = [class_name(part.strip()) for part in cell.split(separator)]
    else:
        parts = [text_of(part) for part in (cell if isinstance(cell, (list, tuple)) else (cell,))]
    named = tuple(dict.fromkeys(part for part in parts if part))
    return None if None in parts else named


def number(cell: Any) -> float | None:
    """A value of a regression; None for what is no finite number, or too large."""
    if isinstance(cell, str):
        cell = float(cell) if len(cell) < _LONGEST and NUMBER.fullmatch(cell) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    return float(cell) if abs(cell) <= LARGEST else None


def mark(cell: Any) -> bool | None:
    """Whether an image has a label; None for what says neither."""
    if isinstance(cell, str):
        return MARKS.get(cell.lower())
    return bool(cell) if isinstance(cell, int | float) and cell in (0, 1) else None


def remedy(cell: Any, is_values: bool) -> str:
    """What may have been meant by a cell that holds no value, or no mark."""
    decimal = isinstance(cell, str) and cell.count(",") == 1
    if is_values and decimal and NUMBER.fullmatch(cell.replace(",", ".")):
        return " Write a point for the comma."
    if is_values:
        return " Mend it or remove the row."
    return " Several labels in one cell are of one column: columns=NAME."
