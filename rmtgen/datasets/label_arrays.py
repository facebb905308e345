"""From arrays of labels, as a NumPy file holds them, to classes, labels or values of rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rmtgen.datasets.label_columns import Coded, LabelColumns
from rmtgen.datasets.labelling import Labelling
from rmtgen.errors import CorruptInputError, UsageError, did_you_mean
from rmtgen.names import printable
from rmtgen.tasks import LARGEST

_TYPES = {
    "classes": (
        "whole numbers or texts",
        "Number the classes; the targets of a regression are task=values.",
    ),
    "labels": (
        "a column of 0 and 1 for each label, or texts with the labels of each row",
        "One number for each row is its class, task=classes.",
    ),
    "values": ("numbers", "Save them as float64."),
}
"""What an array may hold for each task, and what to do about another one."""


class LabelArray(NamedTuple):
    """Labels of rows as they are saved.

    Attributes:
        values: (n,) or (n, c).
        names: A name for each column.
        where: The file, for messages.
    """

    values: np.ndarray
    names: tuple[str, ...]
    where: str

    @classmethod
    def numbered(cls, values: np.ndarray, where: str) -> "LabelArray":
        """Labels whose columns have numbers for names; a vector of them is named label."""
        names = map(str, range(values.shape[1])) if values.ndim == 2 else ("label",)
        return cls(values, tuple(names), where)

    @classmethod
    def named(cls, values: np.ndarray, name: str, where: str) -> "LabelArray":
        """Labels whose column has a name, to which those of several add a number."""
        if values.ndim != 2 or values.shape[1] == 1:
            return cls(values, (name,), where)
        return cls(values, tuple(f"{name} {part}" for part in range(values.shape[1])), where)

    def read(self, count: int, labelling: Labelling, skip: bool = False) -> tuple[list[int], Coded]:
        """The numbers of the rows that have labels, and these labels.

        Args:
            count: How many rows there must be.
            labelling: What the labels mean.
            skip: Leave out rows without a label.

        Raises:
            UsageError: They are of another shape or type.
            CorruptInputError: A row has no label, or one that is none; or bytes are no text.
        """
        self._check_shape(count, labelling.task)
        self._check_type(labelling.task)
        matrix = self.values if self.values.ndim == 2 else self.values[:, None]
        if _is_sound(matrix, labelling.task):
            kind = np.float64 if labelling.task == "values" else bool
            return list(range(count)), Coded([""] * count, None, matrix.astype(kind), self.names)
        numeric = matrix.dtype.kind not in "US"
        cells = _Rows(matrix if numeric else self._texts(matrix))
        columns = LabelColumns(
            self.names, cells, lambda row: f"row {row}", self.where, marked=numeric
        )
        rows = columns.labelled(labelling, skip)
        return rows, columns.only(rows).read(labelling)

    def _check_shape(self, count: int, task: str) -> None:
        shape = self.values.shape
        if task == "classes" and shape != (count,):
            raise UsageError(
                f"labels must have one value for each row of features: expected ({count},), got"
                f" {shape} in {self.where}. Of one-hot rows save argmax(axis=1); any number of"
                " labels a row are task=labels, the targets of a regression task=values."
            )
        if len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
            raise UsageError(
                f"labels must have a row for each row of features: expected ({count}, c) or"
                f" ({count},), got {shape} in {self.where}."
            )

    def _check_type(self, task: str) -> None:
        if not self._is_known(task):
            wanted, advice = _TYPES[task]
            raise UsageError(
                f"labels must be {wanted}: {self.where} has {self.values.dtype}, such as"
                f" {str(self.values.flat[0])[:40]}. {advice}"
            )

    def _is_known(self, task: str) -> bool:
        """Whether the type may hold labels of a task."""
        kind, values = self.values.dtype.kind, self.values
        if kind in "US" or values.dtype.itemsize > 8:  # noqa: PLR2004 - bytes
            return kind in "US"
        if task == "labels":
            return kind in "biuf" and values.ndim == 2  # noqa: PLR2004
        if task == "values" or kind != "f":
            return kind in ("iuf" if task == "values" else "iu")
        return bool(np.all(np.isnan(values) | (np.trunc(values) == values) & np.isfinite(values)))

    def _texts(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.dtype.kind == "U":
            return matrix
        try:
            return np.char.decode(matrix, "utf-8")
        except UnicodeError as error:
            raise CorruptInputError(
                f"labels must be UTF-8: {self.where} has other text ({error})."
            ) from error


def selected(
    labels: LabelArray | None,
    columns: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    others: Sequence[str],
    where: str,
) -> LabelArray:
    """Columns by name, side by side.

    Args:
        labels: The labels that have columns; None without.
        columns: The names of those that are wanted.
        arrays: Arrays by the names of columns; one of (n, c) is c columns, numbered.
        others: The names of what else there is, for messages.
        where: The file, for messages.

    Raises:
        UsageError: There is none of a name; or they are not of as many rows, or not all of numbers
            or all of texts.
    """
    parts = []
    for name in columns:
        if name in arrays:
            parts.append(LabelArray.named(arrays[name], name, where))
        elif labels is not None and name in labels.names:
            column = labels.values.reshape(len(labels.values), -1)[:, labels.names.index(name)]
            parts.append(LabelArray(column, (name,), where))
        else:
            known = {*(labels.names if labels else ()), *others}
            raise UsageError(
                f"{where} must have the columns that columns={','.join(columns)} asks for: it has"
                f" no {printable(name)[:40]}. {did_you_mean(name, known)}"
            )
    return parts[0] if len(parts) == 1 else _joined(parts, where)


def _joined(parts: Sequence[LabelArray], where: str) -> LabelArray:
    values = [part.values for part in parts]
    shapes = {f"{part.names[0]} {part.values.shape} {part.values.dtype}" for part in parts}
    texts = {array.dtype.kind in "US" for array in values}
    fitting = all(array.ndim in (1, 2) for array in values) and len({len(a) for a in values}) == 1
    if not fitting or len(texts) > 1:
        raise UsageError(
            "columns must have as many rows, and all be of numbers or all of texts: those of"
            f" {where} are {', '.join(sorted(shapes))}."
        )
    names = [name for part in parts for name in part.names]
    return LabelArray(np.column_stack(values), tuple(names), where)


class _Rows(Sequence):
    """The rows of a matrix as tuples of cells, made when they are asked for."""

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, row: int) -> tuple:  # type: ignore[override]  # no slices
        return tuple(self.matrix[row].tolist())


def _is_sound(matrix: np.ndarray, task: str) -> bool:
    """Whether numbers are values, or 0 and 1, all of them."""
    if task == "classes" or matrix.dtype.kind in "US":
        return False
    if task == "values":
        return bool(np.all(np.abs(matrix.astype(np.float64)) <= LARGEST))
    return bool(np.all((matrix == 0) | (matrix == 1)))
