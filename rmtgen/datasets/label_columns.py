"""From the cells of columns, wherever they are from, to classes, labels or values of images.

A cell is a text, as all of a CSV are, or a number, a boolean, a list of these, or None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rmtgen.datasets.label_cells import (
    MARKS,
    is_class_number,
    labels_in,
    lacks,
    mark,
    number,
    remedy,
    text_of,
)
from rmtgen.datasets.labelling import Labelling, class_order
from rmtgen.errors import CorruptInputError, UsageError, warn
from rmtgen.names import class_name, printable

_MOST_LABELS = 10_000
"""Largest number of labels; more are texts."""
_MOST_SHOWN = 3
_LIST = (list, tuple)


class Numbering(NamedTuple):
    """Names of class numbers.

    Attributes:
        names: The name of each, from 0.
        source: What has them, for messages.
    """

    names: Sequence[str]
    source: str


class Coded(NamedTuple):
    """The labels of n images.

    Attributes:
        classes: The name of the class of each; nothing where they have none.
        named: The names of all classes in order; None: their own order.
        matrix: bool (n, c) of labels or float64 (n, c) of values; None for classes.
        columns: The names of its columns.
    """

    classes: list[str]
    named: Sequence[str] | None = None
    matrix: np.ndarray | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LabelColumns:
    """What the columns of labels hold of n images.

    Attributes:
        names: The names of the columns.
        cells: The cells of each image, one a column.
        place: Where an image is in the source, by its number, for messages: line 7.
        where: The source, for messages.
        numbering: Names of class numbers; None: numbers are names.
        marked: Whether a single column holds 0 or 1, and not any number of labels.
    """

    names: tuple[str, ...]
    cells: Sequence[tuple[Any, ...]]
    place: Callable[[int], str]
    where: str
    numbering: Numbering | None = None
    marked: bool = False

    def labelled(self, labelling: Labelling, skip: bool) -> list[int]:
        """The numbers of the images that have a label.

        Args:
            labelling: What the cells mean.
            skip: Leave the others out.

        Raises:
            CorruptInputError: Some have none, and are not to be left out, or all have none.
        """
        missing = self.missing(labelling)
        if missing and not (skip and len(missing) < len(self.cells)):
            first = list(missing.items())[:_MOST_SHOWN]
            named = ", ".join(f"{self.place(row)} (no {name})" for row, name in first)
            more = ", …" if len(missing) > _MOST_SHOWN else ""
            advice = "Label them, or leave them out: on_corrupt=skip."
            raise CorruptInputError(
                f"every image must have a label: {self.where} has {len(missing):,} of"
                f" {len(self.cells):,} without: {named}{more}."
                f" {advice if len(missing) < len(self.cells) else 'Label some.'}"
            )
        return [row for row in range(len(self.cells)) if row not in missing]

    def missing(self, labelling: Labelling) -> dict[int, str]:
        """The first column that holds nothing, by the numbers of the images without a label."""
        lacked = (lacking(one, self.names, labelling.task, self.marked) for one in self.cells)
        return {row: name for row, name in enumerate(lacked) if name}

    def only(self, rows: Sequence[int]) -> "LabelColumns":
        """The columns of some images."""
        place = self.place
        cells = [self.cells[row] for row in rows]
        return replace(self, cells=cells, place=lambda row: place(rows[row]))

    def read(self, labelling: Labelling) -> Coded:
        """The labels of the images, all of which must have some.

        Raises:
            CorruptInputError: A cell holds something else; it is named by place and column.
            UsageError: There is no label, or too many, or a column of 0 and 1 alone.
        """
        if labelling.task == "classes":
            names = [self._name(row, cells[0]) for row, cells in enumerate(self.cells)]
            return Coded(*self._numbered(names))
        if labelling.task == "labels" and len(self.names) == 1 and not self._holds_marks():
            matrix, columns = self._listed(labelling)
        else:
            matrix, columns = self._spread()._typed(labelling.task == "values")
        return Coded([""] * len(self.cells), None, matrix, columns)

    def _name(self, row: int, cell: Any) -> str:
        name = text_of(cell)
        if name is None:
            raise self._fault(row, 0, "a class", cell, " Several labels are task=labels.")
        return name

    def _numbered(self, names: list[str]) -> tuple[list[str], Sequence[str] | None]:
        """Names instead of numbers, where all are numbers that have one; and all such names."""
        if self.numbering is None or not all(map(is_class_number, names)):
            return names, None
        known, highest = self.numbering.names, max(map(int, names), default=0)
        if highest >= len(known):
            raise CorruptInputError(
                f"every class number must have a name: {self.numbering.source} names the numbers 0"
                f" to {len(known) - 1}, got {highest}. Add the names, or correct the labels."
            )
        return [known[int(name)] for name in names], known

    def _holds_marks(self) -> bool:
        """Whether the only column holds 0 and 1: lists of one length of it, or as it is said."""
        if self.marked:
            return True
        lists = [cell for (cell,) in self.cells if isinstance(cell, _LIST)]
        lengths = {len(cell) for cell in lists}
        if len(lists) < len(self.cells) or len(lengths) != 1 or lengths <= {0, 1}:
            return False
        if self.numbering is not None and lengths != {len(self.numbering.names)}:
            return False
        parts = (part for cell in lists for part in cell)
        return all(not isinstance(part, str) and mark(part) is not None for part in parts)

    def _listed(self, labelling: Labelling) -> tuple[np.ndarray, tuple[str, ...]]:
        """Which of all labels that the cells hold each of them has."""
        parts = [self._parts(row, cell, labelling) for row, (cell,) in enumerate(self.cells)]
        found, named = self._numbered([name for some in parts for name in some])
        if not found:
            raise UsageError(
                f"an image must have a label: {self.where} has none in {len(parts)} rows."
            )
        present = set(found)
        names = [name for name in named or class_order(found, self.where) if name in present]
        self._check_names(names, labelling)
        if max(map(len, parts)) < 2 and len(parts) > 1 and isinstance(self.cells[0][0], str):
            warn(
                f"{self.where}: no row has two labels with {labelling.separator!r} between them,"
                f" but such as {self.cells[0][0][:60]!r}. If another separator was meant, set"
                " separator; if each image has one, task=classes."
            )
        number_of = {name: place for place, name in enumerate(names)}
        marks = np.zeros((len(parts), len(names)), dtype=bool)
        rows = np.repeat(np.arange(len(parts)), [len(some) for some in parts])
        marks[rows, [number_of[name] for name in found]] = True
        return marks, tuple(names)

    def _parts(self, row: int, cell: Any, labelling: Labelling) -> tuple[str, ...]:
        parts = labels_in(cell, labelling.separator)
        if parts is None:
            raise self._fault(row, 0, "names or numbers of labels", cell, "")
        return parts

    def _check_names(self, names: Sequence[str], labelling: Labelling) -> None:
        if len(names) > _MOST_LABELS:
            raise UsageError(
                f"there may be at most {_MOST_LABELS:,} labels: {self.where} has {len(names):,},"
                f" such as {names[0][:40]!r}. Set the separator, got {labelling.separator!r}; or"
                " the column."
            )
        if {name.lower() for name in names} <= set(MARKS):
            raise UsageError(
                f"a column of labels must name them: that of {self.where} holds"
                f" {' and '.join(names)} alone. Call it classes, task=classes, or name several"
                " such columns."
            )

    def _spread(self) -> "LabelColumns":
        """Columns of lists as a column for each of their parts, named by its number."""
        first = self.cells[0]
        if not any(isinstance(cell, _LIST) for cell in first):
            return self
        lengths = [len(cell) if isinstance(cell, _LIST) else None for cell in first]
        for row, cells in enumerate(self.cells):
            for column, (cell, length) in enumerate(zip(cells, lengths, strict=True)):
                if (len(cell) if isinstance(cell, _LIST) else None) != length:
                    wanted = "no list" if length is None else f"a list of {length}"
                    alike = f"{wanted}, as {self.place(0)} does"
                    raise self._fault(row, column, alike, cell, " Mend it.")
        names = [
            part
            for name, length in zip(self.names, lengths, strict=True)
            for part in self._parts_of(name, length)
        ]
        spread = [
            tuple(p for cell in cells for p in (cell if isinstance(cell, _LIST) else (cell,)))
            for cells in self.cells
        ]
        return replace(self, names=tuple(names), cells=spread)

    def _parts_of(self, name: str, length: int | None) -> Sequence[str]:
        """The names of the parts of a list in a column, or that of the column."""
        if length is None:
            return [name]
        if self.numbering is not None and length == len(self.numbering.names):
            return self.numbering.names
        return [f"{name} {part}" for part in range(length)]

    def _typed(self, is_values: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        """A number or a mark in every cell."""
        read, wanted = (number, "a number") if is_values else (mark, "0 or 1")
        found = np.empty((len(self.cells), len(self.names)), dtype=float if is_values else bool)
        for row, cells in enumerate(self.cells):
            for column, cell in enumerate(cells):
                value = read(cell)
                if value is None:
                    advice = remedy(cell, is_values)
                    raise self._fault(row, column, f"{wanted} in every row", cell, advice)
                found[row, column] = value
        return found, tuple(map(class_name, self.names))

    def _fault(
        self, row: int, column: int, wanted: str, cell: Any, advice: str
    ) -> CorruptInputError:
        return CorruptInputError(
            f"column {self.names[column]} of {self.where} must hold {wanted}: {self.place(row)} has"
            f" {printable(str(cell))[:40]!r}.{advice}"
        )


def lacking(cells: Sequence[Any], names: Sequence[str], task: str, marked: bool = False) -> str:
    """The first column in which an image has nothing; empty if there is none.

    Args:
        cells: Its cells.
        names: The names of the columns.
        task: What they hold, of `rmtgen.tasks.TASKS`.
        marked: Whether a single column of labels holds 0 or 1, so that it cannot be empty.
    """
    blank = task == "labels" and len(names) == 1 and not marked
    for name, cell in zip(names, cells, strict=True):
        if lacks(cell, task, blank):
            return "label" if len(names) == 1 else name
    return ""
