"""Features and labels of one's own from NumPy files, every array checked before it is used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from rmtgen.datasets.labelling import class_numbers, class_order
from rmtgen.entrance import public
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    NumericalError,
    RmtgenError,
    StorageError,
    UsageError,
)
from rmtgen.names import class_name, printable
from rmtgen.scalars import path as as_path

_FEATURES, _LABELS = ("features", "X"), ("labels", "y")
"""Names of the arrays in an .npz."""
_MARK = b"\x93NUMPY"
"""The first bytes of an .npy."""
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
    place = as_path(path, "path")
    shown = printable(str(place))
    features, inside = _both(_arrays(place), shown)
    checked = _checked_features(features, shown)
    if labels is not None:
        if inside is not None:
            raise UsageError(
                f"labels must be given once: {shown} holds labels, and labels={str(labels)!r} is"
                " given. Leave one of them out."
            )
        place = as_path(labels, "labels")
        shown, alone = printable(str(place)), _arrays(place)
        if isinstance(alone, dict):
            raise UsageError(f"labels must be an .npy file, got the .npz {shown}. Save them alone.")
        inside = alone
    if inside is None:
        return FeatureTable(checked, None, ())
    return FeatureTable(checked, *_numbered(inside, len(checked), shown))


def _both(
    found: np.ndarray | Mapping[str, np.ndarray | None], shown: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The features in a file, and the labels if it has them."""
    if isinstance(found, np.ndarray):
        return found, None
    features = _one_of(found, _FEATURES, shown)
    if features is None:
        raise UsageError(
            f"{shown} must hold an array features or X, got"
            f" {', '.join(map(printable, sorted(found))) or 'none'}. Save it so:"
            " numpy.savez(path, features=…, labels=…)."
        )
    return features, _one_of(found, _LABELS, shown)


def _arrays(path: Path) -> np.ndarray | dict[str, np.ndarray | None]:
    """The array in an .npy; or the arrays in an .npz by name, None for those not asked for."""
    shown = printable(str(path))
    try:
        if not path.exists():
            raise MissingInputError(f"{shown} does not exist. Give an .npy or .npz file.")
        if not path.is_file():
            raise UsageError(
                f"an array must be in a plain file, got {shown}. Give an .npy or .npz."
            )
        with path.open("rb") as file:
            if file.read(len(_MARK)) != _MARK:
                file.seek(0)
                return _archived(file)
        # mapped, so that a header that promises more than the file holds is found
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (RmtgenError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy's headers have no common error class
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(
                f"{shown} cannot be read: {error.strerror}. Check the path and the disk."
            ) from error
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
        raise CorruptInputError(
            f"{shown} must be a whole .npy or .npz file of plain numbers or texts, got something"
            f" else ({reason}). Save it with numpy.save; arrays of objects are not read."
        ) from error


def _archived(file: BinaryIO) -> dict[str, np.ndarray | None]:
    """The arrays of an .npz."""
    with np.load(file, allow_pickle=False) as found:
        wanted = (*_FEATURES, *_LABELS)
        arrays = {name: found[name] if name in wanted else None for name in found.files}
    for name, array in arrays.items():  # of a member that is no array NumPy gives the bytes
        if isinstance(array, bytes):
            raise ValueError(f"{name} is no array")
    return arrays


def _one_of(
    found: Mapping[str, np.ndarray | None], names: Sequence[str], shown: str
) -> np.ndarray | None:
    """The array of the one name that is there, if any is."""
    there = [name for name in names if name in found]
    if len(there) > 1:
        raise UsageError(
            f"{shown} must hold one array {' or '.join(names)}, got both. Remove one of them."
        )
    return found[there[0]] if there else None


def _checked_features(array: np.ndarray, shown: str) -> np.ndarray:
    """Features as floats in memory.

    Raises:
        UsageError: They are no (n, p) real numbers.
        NumericalError: One is not finite.
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
    wide = np.float64 if array.dtype.itemsize == 8 else kinds[array.dtype.kind]
    features = np.array(array, dtype=wide, order="C")
    _check_finite(features, shown)
    return features


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
    names = _names(labels, shown)
    classes = class_order(names, shown)
    if len(classes) < 2:
        raise UsageError(f"labels must name at least 2 classes: {shown} has {len(classes)}.")
    return class_numbers(names, classes), tuple(classes)


def _names(labels: np.ndarray, shown: str) -> list[str]:
    """Each label as the name of a class."""
    if labels.dtype.kind in "iuf":
        return [str(int(label)) for label in labels.tolist()]
    try:
        texts = [one.decode() if isinstance(one, bytes) else one for one in labels.tolist()]
        return [class_name(text) for text in texts]
    except UnicodeError as error:
        raise CorruptInputError(
            f"labels must be UTF-8: {shown} has other text ({error})."
        ) from error
