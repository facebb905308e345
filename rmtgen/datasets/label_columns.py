"""From the cells of a table to labels and values: which labels each image has, or its numbers."""

import math
import re
from collections.abc import Sequence

import numpy as np

from rmtgen.datasets.labelling import Labelling, class_order
from rmtgen.errors import CorruptInputError, UsageError, warn
from rmtgen.names import class_name, printable
from rmtgen.tasks import LARGEST

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MARKS = {"0": False, "1": True, "false": False, "true": True}
"""What a column of one label holds, in any case."""
_MOST_LABELS = 10_000
"""Largest number of labels; more are texts."""


def coded_cells(
    cells: Sequence[tuple[str, ...]],
    columns: Sequence[str],
    lines: Sequence[int],
    labelling: Labelling,
    where: str,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels or the values of n images, and the name of each column of them.

    Args:
        cells: What the columns of each image hold.
        columns: Their names.
        lines: The line of each image, for messages.
        labelling: What they mean.
        where: The table, for messages.

    Returns:
        bool (n, c) of labels or float64 (n, c) of values; and c names.

    Raises:
        CorruptInputError: A cell holds something else; it is named by line and column.
        UsageError: There is no label, or too many, or a column of 0 and 1 alone.
    """
    if labelling.separated:
        parts = [separated(cell, labelling) for (cell,) in cells]
        return _listed(parts, cells, labelling, where)
    is_values = labelling.task == "values"
    read, wanted = (_value, "a number") if is_values else (_mark, "0 or 1")
    found = np.empty((len(cells), len(columns)), dtype=float if is_values else bool)
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            value = read(text)
            if value is None:
                raise CorruptInputError(
                    f"column {columns[column]} of {where} must hold {wanted} in every row: line"
                    f" {lines[row]} has {printable(text)[:40]!r}.{_remedy(text, is_values)}"
                )
            found[row, column] = value
    return found, tuple(map(class_name, columns))


def separated(cell: str, labelling: Labelling) -> tuple[str, ...]:
    """The labels in a cell, each once."""
    parts = (part.strip() for part in cell.split(labelling.separator))
    return tuple(dict.fromkeys(class_name(part) for part in parts if part))


def _value(text: str) -> float | None:
    value = float(text) if len(text) < 400 and _NUMBER.fullmatch(text) else math.nan
    return value if abs(value) <= LARGEST else None


def _mark(text: str) -> bool | None:
    return _MARKS.get(text.lower())


def _remedy(text: str, is_values: bool) -> str:
    if is_values and text.count(",") == 1 and _NUMBER.fullmatch(text.replace(",", ".")):
        return " Write a point for the comma."
    if is_values:
        return " Mend it or remove the row."
    return " Several labels in one cell are of one column: columns=NAME."


def _listed(
    parts: Sequence[tuple[str, ...]],
    cells: Sequence[tuple[str, ...]],
    labelling: Labelling,
    where: str,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which of all labels that the cells hold each of them has."""
    found = [name for some in parts for name in some]
    if not found:
        raise UsageError(f"an image must have a label: {where} has none in {len(cells)} rows.")
    names = class_order(found, where)
    if len(names) > _MOST_LABELS:
        raise UsageError(
            f"there may be at most {_MOST_LABELS:,} labels: {where} has {len(names):,}, such as"
            f" {names[0][:40]!r}. Set the separator, got {labelling.separator!r}; or the column."
        )
    if {name.lower() for name in names} <= set(_MARKS):
        raise UsageError(
            f"a column of labels must name them: that of {where} holds {' and '.join(names)} alone."
            " Call it classes, task=classes, or name several such columns."
        )
    if max(map(len, parts)) < 2 and len(cells) > 1:
        warn(
            f"{where}: no row has two labels with {labelling.separator!r} between them, but such as"
            f" {cells[0][0][:60]!r}. If another separator was meant, set separator; if each image"
            " has one, task=classes."
        )
    number_of = {name: number for number, name in enumerate(names)}
    marks = np.zeros((len(parts), len(names)), dtype=bool)
    for row, some in enumerate(parts):
        marks[row, [number_of[name] for name in some]] = True
    return marks, tuple(names)
