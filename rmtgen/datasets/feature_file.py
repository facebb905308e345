"""Features and labels of one's own from NumPy files, every array checked before it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from rmtgen.datasets.array_file import ArrayFile
from rmtgen.datasets.labelling import class_numbers, class_order
from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, NumericalError, UsageError
from rmtgen.names import class_name, printable
from rmtgen.scalars import path as as_path

_FEATURES, _LABELS = ("features", "X"), ("labels", "y")
"""Names of the arrays in an .npz."""
_CHUNK = 2**22
"""Number of features that are checked at a time."""


class FeatureTable(NamedTuple):
    """Features of one's own, with the labels where there are any.

    Attributes:
        features: float32 or float64, (n, p), finite.
        labels: int64, (n,), 0 ≤ label < len(classes); None without labels.
        classes: The name of each label: numbers in their order, texts sorted; empty without labels.
    """

    features: Float[np.ndarray, "n p"]
    labels: Int64[np.ndarray, " n"] | None
    classes: tuple[str, ...]


@public
def load_features(path: str | Path, labels: str | Path | None = None) -> FeatureTable:
    """Features, and labels if wanted, from an .npy or .npz file; nothing is unpickled.

    Args:
        path: An .npy of n rows of p features; or an .npz with an array `features` or `X` and, if
            wanted, an array `labels` or `y`. float16 becomes float32, whole numbers float64.
        labels: An .npy of n labels: whole numbers or texts.

    Returns:
        The features in memory, and the labels numbered by class.

    Raises:
        MissingInputError: A file does not exist.
        StorageError: It cannot be read.
        CorruptInputError: It is damaged, or is no NumPy file.
        UsageError: An array is missing, holds other values than these, or has another shape; labels
            are given twice; or there is a single class.
        NumericalError: A feature is not finite; the first one is named by row and column.
    """
    stored = FeatureFile(as_path(path, "path"))
    shown, own = stored.shown, stored.labels()
    features = stored.features()
    stored.verify()
    checked = np.array(features, dtype=feature_type(features, shown), order="C")
    _check_finite(checked, shown)
    if labels is not None:
        if own is not None:
            raise UsageError(
                f"labels must be given once: {shown} holds labels, and labels={str(labels)!r} is"
                " given. Leave one of them out."
            )
        place = as_path(labels, "labels")
        shown, own = printable(str(place)), labels_in(place)
    if own is None:
        return FeatureTable(checked, None, ())
    return FeatureTable(checked, *_numbered(own, len(checked), shown))


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

    def features(self) -> np.ndarray:
        """The features as they are saved, mapped where that can be; not checked."""
        return self.file.read(self._features)

    def labels(self) -> np.ndarray | None:
        """The labels as they are saved; None without."""
        return None if self._labels is None else self.file.read(self._labels)

    def shape(self) -> tuple[int, ...]:
        """The shape of the features, from their header alone."""
        return self.file.shape(self._features)

    def verify(self) -> None:
        """Hold what is read against the checksums of an .npz.

        Raises:
            CorruptInputError: The bytes are not those that were saved.
        """
        for name in (self._features, self._labels):
            if name is not None:
                self.file.verify(name)


def labels_in(path: Path) -> np.ndarray:
    """The labels in an .npy of their own.

    Raises:
        MissingInputError, StorageError, CorruptInputError: As `load_features`.
        UsageError: It is an .npz.
    """
    file = ArrayFile(path)
    if file.names is not None:
        raise UsageError(
            f"labels must be an .npy file, got the .npz {file.shown}. Save them alone."
        )
    return file.read()


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


def _numbered(labels: np.ndarray, count: int, shown: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and class names.

    Raises:
        UsageError: The labels are no `count` whole numbers or texts, or all alike.
    """
    names = class_names(labels, count, shown)
    classes = class_order(names, shown)
    if len(classes) < 2:
        raise UsageError(f"labels must name at least 2 classes: {shown} has {len(classes)}.")
    return class_numbers(names, classes), tuple(classes)


def class_names(labels: np.ndarray, count: int, shown: str) -> list[str]:
    """Each label as the name of a class.

    Args:
        labels: The labels as they are saved.
        count: How many there must be.
        shown: Where they are, for messages.

    Raises:
        UsageError: They are no `count` whole numbers or texts.
        CorruptInputError: Their bytes are no text.
    """
    if labels.shape != (count,):
        raise UsageError(
            f"labels must have one value for each row of features: expected ({count},), got"
            f" {labels.shape} in {shown}. Of one-hot rows save argmax(axis=1)."
        )
    whole = labels.dtype.kind in "iu" or (
        labels.dtype.kind == "f"
        and bool(np.all(np.isfinite(labels) & (labels == np.floor(labels))))
    )
    if not whole and labels.dtype.kind not in "US":
        raise UsageError(
            f"labels must be whole numbers or texts: {shown} has {labels.dtype}, such as"
            f" {labels[0]!r:.40}. Number the classes."
        )
    if whole:
        return [str(int(label)) for label in labels.tolist()]
    try:
        texts = [one.decode() if isinstance(one, bytes) else one for one in labels.tolist()]
        return [class_name(text) for text in texts]
    except UnicodeError as error:
        raise CorruptInputError(
            f"labels must be UTF-8: {shown} has other text ({error})."
        ) from error
