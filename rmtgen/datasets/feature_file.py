"""Features and labels of one's own from NumPy files, every array checked before it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rmtgen.datasets.array_file import ArrayFile
from rmtgen.datasets.label_arrays import LabelArray, selected
from rmtgen.datasets.labelling import USUAL, Labelling, class_numbers, class_order
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.names import class_name, printable
from rmtgen.scalars import instance
from rmtgen.scalars import path as as_path

_FEATURES, _LABELS, _NAMES = ("features", "X"), ("labels", "y"), ("columns", "names")
"""Names of the arrays in an .npz."""
_CHUNK = 2**22
"""Number of features that are checked at a time."""


class FeatureTable(NamedTuple):
    """Features of one's own, with the labels where there are any.

    Attributes:
        features: float32 or float64, (n, p), finite.
        labels: int64, (n,), 0 ≤ label < len(classes); of several labels bool, (n, c), of values
            float64, (n, c); None without labels.
        classes: The name of each class: numbers in their order, texts sorted; or of each column;
            empty without labels.
    """

    features: Float[np.ndarray, "n p"]
    labels: np.ndarray | None
    classes: tuple[str, ...]


@public
def load_features(
    path: str | Path, labels: str | Path | None = None, labelling: Labelling = USUAL
) -> FeatureTable:
    """Features, and labels if wanted, from an .npy or .npz file; nothing is unpickled.

    Args:
        path: An .npy of n rows of p features; or an .npz with an array `features` or `X` and, if
            wanted, an array `labels` or `y`. float16 becomes float32, whole numbers float64.
        labels: An .npy of n labels.
        labelling: What labels are. A class: (n,) whole numbers or texts. Several labels: (n, c) of
            0 and 1, or (n,) texts with the separator between two. Values: (n,) or (n, c) numbers.
            Its columns are arrays of the .npz, or columns of `labels` by the names in an array
            `columns` or `names`; without that the columns are numbered from 0.

    Returns:
        The features in memory, and the labels numbered by class, or by column.

    Raises:
        MissingInputError: A file does not exist.
        StorageError: It cannot be read.
        CorruptInputError: It is damaged, or is no NumPy file; or a label is missing, or is none.
        UsageError: An array is missing, holds other values than these, or has another shape; labels
            are given twice; or there is a single class.
        NumericalError: A feature is not finite; the first one is named by row and column.
    """
    instance(labelling, Labelling, "labelling", "Make one: rmtgen.Labelling(task=…).")
    stored = FeatureFile(as_path(path, "path"))
    own, features = stored.labels(labelling), stored.features()
    stored.verify()
    checked = np.array(features, dtype=feature_type(features, stored.shown), order="C")
    _check_finite(checked, stored.shown)
    if labels is not None:
        if own is not None:
            raise UsageError(
                f"labels must be given once: {stored.shown} holds labels, and"
                f" labels={str(labels)!r} is given. Leave one of them out."
            )
        own = labels_in(as_path(labels, "labels"), labelling)
    if own is None:
        return FeatureTable(checked, None, ())
    return FeatureTable(checked, *_numbered(own, len(checked), labelling))


class FeatureFile:
    """An .npy of features, or an .npz of features and, if wanted, labels, looked into.

    Attributes:
        file: The file.
        shown: Its name in messages.
    """

    def __init__(self, path: Path):
        """Look into a file.

        Raises:
            MissingInputError, StorageError, CorruptInputError: As `load_features`.
            UsageError: It holds no features, or two arrays of them.
        """
        self.file = ArrayFile(path)
        self.shown = self.file.shown
        self._features = ""
        self._labels: str | None = None
        self._read: set[str] = set()
        if self.file.names is not None:
            features = _one_of(self.file.names, _FEATURES, self.shown)
            if features is None:
                raise UsageError(
                    f"{self.shown} must hold an array features or X, got"
                    f" {', '.join(map(printable, sorted(self.file.names))) or 'none'}. Save it so:"
                    " numpy.savez(path, features=…, labels=…)."
                )
            self._features = features
            self._labels = _one_of(self.file.names, _LABELS, self.shown)

    @property
    def labelled(self) -> bool:
        """Whether it holds labels."""
        return self._labels is not None

    @property
    def others(self) -> list[str]:
        """The names of its arrays but for that of the features."""
        return [name for name in self.file.names or () if name != self._features]

    def features(self) -> np.ndarray:
        """The features as they are saved, mapped where that can be; not checked."""
        return self._array(self._features)

    def labels(self, labelling: Labelling = USUAL) -> LabelArray | None:
        """The labels as they are saved, of the columns that are asked for; None without.

        Raises:
            StorageError, CorruptInputError: As `load_features`.
            UsageError: There is no such column, or names do not fit the columns.
        """
        named = [name for name in labelling.columns if name in self.others]
        if self._labels is None and not named:
            return None
        arrays = {name: self._array(name) for name in named}
        if self._labels is None or (arrays and len(arrays) == len(labelling.columns)):
            return selected(None, labelling.columns, arrays, self.others, self.shown)
        own = self._named(self._array(self._labels))
        if not labelling.columns:
            return own
        return selected(own, labelling.columns, arrays, self.others, self.shown)

    def _named(self, values: np.ndarray) -> LabelArray:
        """Labels with the names of their columns, where the file has them."""
        plain = LabelArray.numbered(values, self.shown)
        place = next((name for name in _NAMES if name in (self.file.names or ())), None)
        if place is None or values.ndim != 2:  # noqa: PLR2004
            return plain
        names = self._array(place)
        if names.shape == values.shape[:1] != values.shape[1:]:
            return plain  # they are names of the rows
        if names.shape != values.shape[1:] or names.dtype.kind != "U":
            raise UsageError(
                f"{place} must name the {values.shape[1]} columns of {self._labels}: {self.shown}"
                f" has {names.shape} {names.dtype}. Save as many texts."
            )
        named = tuple(map(class_name, names.tolist()))
        unclear = next((name for name in named if not name or named.count(name) > 1), None)
        if unclear is not None:
            raise UsageError(
                f"{place} must name each column of {self._labels} by another name: {self.shown} has"
                f" {named.count(unclear)} × {unclear!r}. Save one name a column."
            )
        return plain._replace(names=named)

    def _array(self, name: str) -> np.ndarray:
        self._read.add(name)
        return self.file.read(name)

    def shape(self) -> tuple[int, ...]:
        """The shape of the features, from their header alone."""
        return self.file.shape(self._features)

    def verify(self) -> None:
        """Hold what is read against the checksums of an .npz.

        Raises:
            CorruptInputError: The bytes are not those that were saved.
        """
        for name in self._read:
            self.file.verify(name)


def labels_in(path: Path, labelling: Labelling = USUAL) -> LabelArray:
    """The labels in an .npy of their own, of the columns that are asked for by number.

    Raises:
        MissingInputError, StorageError, CorruptInputError: As `load_features`.
        UsageError: It is an .npz, or has no such column.
    """
    file = ArrayFile(path)
    if file.names is not None:
        raise UsageError(
            f"labels must be an .npy file, got the .npz {file.shown}. Save them alone."
        )
    found = LabelArray.numbered(file.read(), file.shown)
    if not labelling.columns:
        return found
    return selected(found, labelling.columns, {}, (), file.shown)


def _one_of(found: Sequence[str], names: Sequence[str], shown: str) -> str | None:
    """The one name that is there, if any is."""
    there = [name for name in names if name in found]
    if len(there) > 1:
        raise UsageError(
            f"{shown} must hold one array {' or '.join(names)}, got both. Remove one of them."
        )
    return there[0] if there else None


def feature_type(array: np.ndarray, shown: str) -> type[np.floating]:
    """The type that features are taken in, float32 or float64.

    Raises:
        UsageError: They are no (n, p) real numbers.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise UsageError(
            f"features must have the shape (n, p), n ≥ 1 and p ≥ 1: {shown} has {array.shape}."
            " Save one row for each image, pooled or flattened."
        )
    kinds = {"b": np.float64, "i": np.float64, "u": np.float64, "f": np.float32}
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
        raise UsageError(
            f"features must be real numbers of at most 8 bytes: {shown} has {array.dtype}. Convert"
            " them to float32 or float64."
        )
    return np.float64 if array.dtype.itemsize == 8 else kinds[array.dtype.kind]


def _check_finite(features: np.ndarray, shown: str) -> None:
    """Require finite features, a few rows at a time."""
    step = max(1, _CHUNK // features.shape[1])
    for start in range(0, len(features), step):
        bad = np.argwhere(~np.isfinite(features[start : start + step]))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            raise NumericalError(
                f"features must be finite: {shown} has {features[row, column]} in row {row}, column"
                f" {column}, both from 0. Compute them again, or remove these rows."
            )


def _numbered(
    labels: LabelArray, count: int, labelling: Labelling
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and class names, or labels or values and their names.

    Raises:
        UsageError, CorruptInputError: As `LabelArray.read`; or all classes are one.
    """
    _, coded = labels.read(count, labelling)
    if coded.matrix is not None:
        return coded.matrix, coded.columns
    classes = class_order(coded.classes, labels.where)
    if len(classes) < 2:
        raise UsageError(f"labels must name at least 2 classes: {labels.where} has {len(classes)}.")
    return class_numbers(coded.classes, classes), tuple(classes)
