"""Checks of arrays at the public functions: type, shape and finiteness."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError

ROWS = 4096
"""Rows that are examined at a time."""


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """A tensor of `values`, sharing memory where torch can (it cannot with read-only or reversed
    NumPy arrays).
    """
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
        UsageError: Not a matrix, empty, or of another type (half precision is refused: it holds no
            spectrum).
        NumericalError: NaN or infinite entries; the message counts them and gives the first.
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
            f"{name} must be finite: got {count} NaN or infinite entries of {matrix.numel()} (the"
            f" first at row {first[0]}, column {first[1]}). Find the image or the tile it comes"
            " from and recompute it."
        )


def target_matrix(targets: np.ndarray | Tensor, name: str = "targets") -> Float64[Tensor, "n c"]:
    """Targets (n,) or (n, c) as a finite float64 matrix (n, c).

    Raises:
        UsageError: Neither a vector nor a matrix, or empty.
        NumericalError: NaN or infinite entries.
    """
    values = as_tensor(targets)
    return finite_matrix(values[:, None] if values.ndim == 1 else values, name).double()
