"""Labels and targets as checked float64 matrices, and the class code that turns predictions back into labels.

Notation: n samples, c outputs. Risks are squared losses on the encoded targets; `error` is the 0-1 error of the decoded class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError, did_you_mean

CODINGS = ("onehot", "centered", "intercept")
# Classes absent from a small sample are all predicted 0 up to rounding, which must not choose between them.
TIE = 1e-9
ROWS = 4096
"""Rows that are examined at a time."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded labels: what a ridge regression is asked to predict, and whether it gets an unpenalised intercept."""

    values: Float64[Tensor, "n c"]
    intercept: bool


def encode_targets(labels: np.ndarray | Tensor, classes: int, coding: str) -> Targets:
    """Encode integer labels as c = `classes` regression outputs.

    Args:
        labels: (n,) integers in [0, classes).
        classes: C ≥ 2, the number of classes of the data set, present in `labels` or not.
        coding: `onehot` (1 for the class, 0 elsewhere), `centered` (one-hot minus 1/C: the outputs of a sample sum to 0),
            or `intercept` (one-hot, with an unpenalised intercept in the regression).

    Returns:
        The targets, float64, on the device of `labels`.

    Raises:
        UsageError: An unknown coding, fewer than two classes, or labels that are not integers in [0, classes).
    """
    if coding not in CODINGS:
        raise UsageError(f"coding must be a known one: got {coding!r}. {did_you_mean(coding, CODINGS)}")
    if classes < 2:
        raise UsageError(
            f"classification needs classes: expected classes >= 2, got {classes}. Choose another data set."
        )
    onehot = torch.nn.functional.one_hot(_checked_labels(labels, classes), classes).double()
    return Targets(onehot - 1 / classes if coding == "centered" else onehot, intercept=coding == "intercept")


def _checked_labels(labels: np.ndarray | Tensor, classes: int) -> Int64[Tensor, " n"]:
    labels = as_tensor(labels)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UsageError(
            f"labels must be a vector of class indices: expected (n,) integers, got {tuple(labels.shape)} {labels.dtype}."
            " Pass regression targets to ridge_path directly."
        )
    labels = labels.long()
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        first = int(outside[0])
        raise UsageError(
            f"labels must lie in [0, {classes}): got {int(labels[first])} (label {first}, {len(outside)} such)."
            " Give the number of classes of the whole data set."
        )
    return labels


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """A tensor of `values`, sharing memory where torch can (it cannot with read-only or reversed NumPy arrays)."""
    if isinstance(values, Tensor):
        return values.detach()
    return torch.from_numpy(np.require(values, requirements=("C", "W")))


def finite_matrix(values: np.ndarray | Tensor, name: str) -> Float[Tensor, "rows columns"]:
    """`values` as a float32 or float64 matrix; integers become float64.

    Args:
        values: A matrix, NumPy or torch, on any device, where it stays.
        name: What the caller called it, for the messages.

    Returns:
        The matrix, sharing memory with `values` unless it held integers.

    Raises:
        UsageError: Not a matrix, empty, or of another type (half precision is refused: it holds no spectrum).
        NumericalError: NaN or infinite entries; the message counts them and gives the first.
    """
    matrix = as_tensor(values)
    if not (matrix.is_floating_point() or matrix.is_complex()):
        matrix = matrix.double()
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise UsageError(
            f"{name} must be a matrix with entries: expected 2 dimensions, got shape {tuple(matrix.shape)}."
        )
    if matrix.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"{name} must be float32 or float64: got {matrix.dtype}. Compute it in float32.")
    _require_finite(matrix, name)
    return matrix


def _require_finite(matrix: Float[Tensor, "rows columns"], name: str) -> None:
    """A block of rows at a time: the matrix may be a file."""
    count, first = 0, None
    for start in range(0, len(matrix), ROWS):
        wrong = ~matrix[start : start + ROWS].isfinite()
        if wrong.any():
            count += int(wrong.sum())
            row, column = wrong.nonzero()[0].tolist()
            first = first or (start + row, column)
    if first:
        raise NumericalError(
            f"{name} must be finite: got {count} NaN or infinite entries of {matrix.numel()}"
            f" (the first at row {first[0]}, column {first[1]}). Find the image or the tile it comes from and recompute it."
        )


def target_matrix(targets: np.ndarray | Tensor, name: str = "targets") -> Float64[Tensor, "n c"]:
    """Targets (n,) or (n, c) as a finite float64 matrix (n, c).

    Raises:
        UsageError: Neither a vector nor a matrix, or empty.
        NumericalError: NaN or infinite entries.
    """
    values = as_tensor(targets)
    return finite_matrix(values[:, None] if values.ndim == 1 else values, name).double()


@dataclass(frozen=True)
class ClassCode:
    """Two values, `low` and `high`, that encode classes; decodes predictions into class indices.

    With c ≥ 2 outputs each row holds `high` once, at its class, and a prediction decodes to its largest output, the first
    in a tie. With one output the two values are the two classes, and a prediction decodes to the nearest, in a tie to `low`.
    """

    low: float
    high: float

    @classmethod
    def of(cls, targets: Float64[Tensor, "n c"]) -> "ClassCode | None":
        """The code of `targets`, or None when they encode no classes (regression or multi-label targets)."""
        values = targets.unique().tolist()
        if len(values) != 2:
            return None
        code = cls(*values)
        return code if code.matches(targets) else None

    def matches(self, targets: Float64[Tensor, "n c"]) -> bool:
        """Whether every row of `targets` is a word of this code."""
        high = targets == self.high
        words = (high | (targets == self.low)).all()
        return bool(words) and (targets.shape[1] == 1 or bool((high.sum(dim=1) == 1).all()))

    def decode(self, values: Float64[Tensor, "n c"]) -> Int64[Tensor, " n"] | Bool[Tensor, " n"]:
        """Class of each row of outputs."""
        tie = TIE * (self.high - self.low)
        if values.shape[1] == 1:
            return values[:, 0] > (self.low + self.high) / 2 + tie
        return (values >= values.amax(dim=1, keepdim=True) - tie).int().argmax(dim=1)

    def error(self, predictions: Float64[Tensor, "n c"], targets: Float64[Tensor, "n c"]) -> float:
        """Share of rows, in [0, 1], whose prediction decodes to another class than the target."""
        return (self.decode(predictions) != self.decode(targets)).double().mean().item()
