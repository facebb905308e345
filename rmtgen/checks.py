"""Checks of the arguments of public functions: type, shape and values."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError

ENTRIES = 2**20
"""Number of entries that are examined at a time."""


def as_tensor(values: ArrayLike | Tensor) -> Tensor:
    """`values` as a tensor without gradient, which shares their memory where torch can.

    A NumPy array that is read-only or has negative strides is copied.
    """
    if isinstance(values, Tensor):
        return values.detach()
    return torch.from_numpy(np.require(values, requirements=("C", "W")))


def finite_matrix(values: ArrayLike | Tensor, name: str) -> Float[Tensor, "rows columns"]:
    """`values` as a float32 or float64 matrix; integers become float64.

    Args:
        values: A matrix, NumPy or torch, on any device, where it stays.
        name: Name of the argument, for the messages.

    Returns:
        The matrix, which shares memory with `values` unless these are integers.

    Raises:
        UsageError: Not a matrix, empty, or of another type. Half precision is refused: it resolves
            no spectrum.
        NumericalError: NaN or infinite entries; the message has their number and the first.
    """
    matrix = as_tensor(values)
    if not (matrix.is_floating_point() or matrix.is_complex()):
        matrix = matrix.double()
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise UsageError(
            f"{name} must be a matrix with entries: expected 2 dimensions, got shape"
            f" {tuple(matrix.shape)}."
        )
    if matrix.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"{name} must be float32 or float64: got {matrix.dtype}. Compute it in float32."
        )
    _require_finite(matrix, name)
    return matrix


def _require_finite(matrix: Float[Tensor, "rows columns"], name: str) -> None:
    """Refuse NaN and infinity, one block of rows at a time: the matrix may be a mapped file."""
    count, first = 0, None
    rows = max(1, ENTRIES // matrix.shape[1])
    for start in range(0, len(matrix), rows):
        wrong = ~matrix[start : start + rows].isfinite()
        if wrong.any():
            count += int(wrong.sum())
            row, column = wrong.nonzero()[0].tolist()
            first = first or (start + row, column)
    if first:
        raise NumericalError(
            f"{name} must be finite: got {count} NaN or infinite entries of {matrix.numel()} (the"
            f" first at row {first[0]}, column {first[1]}). Find the image or the tile it comes"
            " from and recompute it."
        )


def square_matrix(values: ArrayLike | Tensor, name: str, *, cure: str) -> Float[Tensor, "n n"]:
    """`values` as a finite square matrix.

    Args:
        values: As in `finite_matrix`.
        name: Name of the argument, for the messages.
        cure: Sentence on what to pass instead of a matrix that is not square.

    Raises:
        UsageError: Not square, or as in `finite_matrix`.
        NumericalError: NaN or infinite entries.
    """
    matrix = finite_matrix(values, name)
    n = len(matrix)
    if matrix.shape != (n, n):
        raise UsageError(
            f"{name} must be square: expected ({n}, {n}), got {tuple(matrix.shape)}. {cure}"
        )
    return matrix


def target_matrix(targets: ArrayLike | Tensor, name: str = "targets") -> Float64[Tensor, "n c"]:
    """Targets (n,) or (n, c) as a finite float64 matrix (n, c).

    Raises:
        UsageError: Neither a vector nor a matrix, or empty.
        NumericalError: NaN or infinite entries.
    """
    values = as_tensor(targets)
    return finite_matrix(values[:, None] if values.ndim == 1 else values, name).double()


def ridge_values(ridges: ArrayLike, name: str) -> Float64[np.ndarray, " l"]:
    """`ridges` as a vector of one or more finite numbers ≥ 0.

    Args:
        ridges: A number or a list of numbers.
        name: Name of the argument, for the messages.

    Raises:
        UsageError: Anything else.
    """
    try:
        values = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be numbers: got {ridges!r}.") from None
    if values.ndim != 1 or not len(values):
        raise UsageError(
            f"{name} must be a list of numbers: expected shape (l,), l >= 1, got {values.shape}."
        )
    wrong = values[~((values >= 0) & (values < np.inf))]
    if len(wrong):
        raise UsageError(
            f"{name} must be finite and >= 0: got {wrong[0]}. Use 0 for the ridgeless limit."
        )
    return values
