"""What images are labelled with: a class each, any of several labels, or values of a regression.

The type of an array of labels says which: whole numbers (n,) are classes, booleans (n, c) say which
of c labels an image has, and floats (n, c) are c values of each.
"""

from collections.abc import Sequence

import numpy as np

from rmtgen.errors import NumericalError, UsageError
from rmtgen.scalars import choice

TASKS = ("classes", "labels", "values")
"""What labels may be."""
ORDERS = ("accuracy", "risk")
"""What representations can be ordered by; accuracy is for classes."""
LARGEST = 1e150
"""Largest value of a regression: the square of a larger one is no float64."""
_MOST_SHOWN = 5
_ROUNDING = 1e-13
"""Standard deviation of values, over the largest, at or below which they are rounding."""


def task_of(labels: np.ndarray) -> str:
    """What labels are, one of `TASKS`, by the type that `label_array` gives them."""
    return {"b": "labels", "f": "values"}.get(labels.dtype.kind, "classes")


def label_array(values: np.ndarray, name: str) -> np.ndarray:
    """Labels of n images as int64 (n,), bool (n, c) or float64 (n, c).

    Args:
        values: Whole numbers (n,): classes. Booleans, or whole numbers 0 and 1, (n, c): labels.
            Floats (n,) or (n, c): values.
        name: Name of the argument, for messages.

    Raises:
        UsageError: Another type or shape, whose meaning would be a guess.
        NumericalError: A value that is not finite, or too large to be squared.
    """
    kind = values.dtype.kind
    if values.ndim == 1 and kind in "iu":
        return values.astype(np.int64)
    if kind == "f" and (values.ndim == 1 or (values.ndim == 2 and values.shape[1])):
        matrix = values[:, None] if values.ndim == 1 else values
        return _finite(matrix.astype(np.float64), name)
    if values.ndim == 2 and values.shape[1] and kind in "biu":
        return _marks(values, name)
    raise UsageError(
        f"{name} must be a vector of class indices, (n,) integers; (n, c) of 0 and 1, whether an"
        f" image has each of c labels; or floats, the targets of a regression: got {values.shape}"
        f" {values.dtype}."
        + (" Write integers for two classes, or a column (n, 1) for one label." * (kind == "b"))
    )


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    wrong = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise NumericalError(
            f"{name} must be finite, and at most {LARGEST:.0e}: got {values[row, column]} (row"
            f" {row}, column {column}; {len(wrong)} such). Leave out images without a value."
        )
    return values


def _marks(values: np.ndarray, name: str) -> np.ndarray:
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise UsageError(
            f"a matrix of whole numbers in {name} must hold 0 and 1, whether an image has each"
            f" label: got {values[row, column]} (row {row}, column {column}). Pass floats for the"
            " targets of a regression, or a vector for classes."
        )
    return values.astype(bool)


def require_varying(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Require that values, and one of several labels, differ between training images.

    Args:
        labels: bool or float64, (n, c).
        names: The names of the columns.
        where: What holds them, for messages.

    Raises:
        UsageError: A value is the same in all images, or so near that float64 does not tell; or
            every label is in all of them or in none.
    """
    constant = (labels == labels[:1]).all(axis=0)
    if labels.dtype.kind == "f":
        constant |= ~(labels.std(axis=0) > _ROUNDING * np.abs(labels).max(axis=0, initial=0))
    named = [names[place] for place in np.flatnonzero(constant).tolist()]
    shown = ", ".join(named[:_MOST_SHOWN]) + (", …" if len(named) > _MOST_SHOWN else "")
    if labels.dtype.kind == "f" and named:
        raise UsageError(
            f"the targets of a regression must vary: {len(named)} of {len(names)} of {where} are"
            f" the same in {len(labels)} images ({shown}). Take more images, or leave them out."
        )
    if labels.dtype.kind == "b" and constant.all():
        raise UsageError(
            f"a label must be in some images and not in others: none of the {len(names)} of {where}"
            f" is, among {len(labels)} images ({shown}). Take more images."
        )


def order_of(task: str, by: str | None) -> str:
    """What a ranking is ordered by: accuracy of classes, risk of all else, but for a wish.

    Raises:
        UsageError: No order, or accuracy of what has none.
    """
    if by is None:
        return "accuracy" if task == "classes" else "risk"
    if choice(by, "by", ORDERS) == "accuracy" and task != "classes":
        raise UsageError(f"by=accuracy is for classes: got {task}. Order by risk, or leave it out.")
    return by


def require_balance(task: str, intercept: bool) -> None:
    """Require what every class can count the same in: classes, and targets without an intercept.

    Raises:
        UsageError: Labels or values, or an intercept.
    """
    if task != "classes":
        raise UsageError(
            f"balanced=true lets every class count the same: got {task}, which are no classes."
            " Leave it out."
        )
    if intercept:
        raise UsageError(
            "balanced=true is for a coding without an intercept: got intercept. Where every class"
            " counts the same, centered targets have the mean 0 already. Take centered."
        )
