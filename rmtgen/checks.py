"""Checks of the arguments of public functions: kind of array, type, shape, values, and numbers."""

import numbers
from typing import Any, SupportsFloat

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError
from rmtgen.scalars import kind_of

ENTRIES = 2**20
"""Number of entries that are examined at a time."""
LARGEST = 1e150
"""Bound on the largest entry of a matrix, and its inverse on the smallest: beyond it a square is no
float64."""


def as_array(values: Any, name: str) -> np.ndarray:
    """`values` as a NumPy array of booleans or of native numbers; float64 from wider ones.

    Lists, NumPy and pandas objects and tensors are taken, whatever their byte order and layout, and
    objects that are numbers.

    Args:
        values: Anything.
        name: Name of the argument, for the messages.

    Raises:
        UsageError: Text, dates, missing, masked or sparse values, ragged lists, or anything else
            that is no array of numbers. Nothing is filled in or left out.
    """
    if isinstance(values, Tensor):
        tensor = as_tensor(values, name).cpu()
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    if hasattr(values, "nnz") or hasattr(values, "sparse"):
        raise UsageError(f"{name} must be dense: got {kind_of(values)}. Pass its toarray().")
    masked = np.ma.getmaskarray(values).sum() if np.ma.isMaskedArray(values) else 0
    if masked:
        raise UsageError(
            f"{name} must have no masked entries: got {masked} of {values.size}. Leave out their"
            " rows, or fill them in."
        )
    try:
        array = np.asarray(values)
        if array.dtype == object:
            if not all(isinstance(entry, numbers.Number) for entry in array.flat):
                raise TypeError("an entry is no number")
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as failure:
        raise _not_numbers(values, name) from failure
    if array.dtype.kind not in "biufc" or values is None:
        raise _not_numbers(values, name)
    if array.dtype in (np.longdouble, np.clongdouble):
        with np.errstate(over="ignore"):
            return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _not_numbers(values: Any, name: str) -> UsageError:
    return UsageError(
        f"{name} must be an array of numbers: got {kind_of(values)}. Pass a NumPy array or a tensor"
        " of floats."
    )


def as_tensor(values: Any, name: str) -> Tensor:
    """`values` as a tensor without gradient, which shares their memory where torch can.

    An array that is read-only or has negative strides is copied, and a tensor that is neither on
    the CPU nor on CUDA comes to the CPU.

    Args:
        values: As for `as_array`.
        name: Name of the argument, for the messages.

    Raises:
        UsageError: As `as_array`; a tensor that is sparse, nested, quantised, or without values.
    """
    if not isinstance(values, Tensor):
        return torch.from_numpy(np.require(as_array(values, name), requirements=("C", "W")))
    if values.is_nested or values.layout != torch.strided:
        raise UsageError(
            f"{name} must be dense: got a tensor of layout {values.layout}. Pass its to_dense()."
        )
    if values.is_quantized:
        raise UsageError(
            f"{name} must not be quantised: got {values.dtype}. Pass its dequantize()."
        )
    if values.is_meta:
        raise UsageError(f"{name} must have values: got a tensor on device meta. Compute it first.")
    plain = values.detach().resolve_conj().resolve_neg()
    return plain if plain.device.type in ("cpu", "cuda") else plain.cpu()


def finite_matrix(values: ArrayLike | Tensor, name: str) -> Float[Tensor, "rows columns"]:
    """`values` as a float32 or float64 matrix; integers and booleans become float64.

    Args:
        values: A matrix of any kind that `as_tensor` takes, on the device where it stays.
        name: Name of the argument, for the messages.

    Returns:
        The matrix, which shares memory with `values` where it has their type.

    Raises:
        UsageError: Not a matrix, empty, or of another type. Half precision is refused: it resolves
            no spectrum.
        NumericalError: NaN or infinite entries; the message has their number and the first. Or a
            largest entry beyond 1e±150.
    """
    matrix = as_tensor(values, name)
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
    _require_in_range(matrix, name)
    return matrix


def _blocks(matrix: Float[Tensor, "rows columns"]) -> tuple[Float[Tensor, "_ columns"], ...]:
    """Blocks of rows: the matrix may be a mapped file."""
    return matrix.split(max(1, ENTRIES // matrix.shape[1]))


def _require_finite(matrix: Float[Tensor, "rows columns"], name: str) -> None:
    """Refuse NaN and infinity."""
    count, first, start = 0, None, 0
    for block in _blocks(matrix):
        wrong = ~block.isfinite()
        if wrong.any():
            count += int(wrong.sum())
            row, column = wrong.nonzero()[0].tolist()
            first = first or (start + row, column)
        start += len(block)
    if first:
        raise NumericalError(
            f"{name} must be finite: got {count} NaN or infinite entries of {matrix.numel()} (the"
            f" first at row {first[0]}, column {first[1]}). Find the image or the tile it comes"
            " from and recompute it."
        )


def largest_entry(matrix: Float[Tensor, "rows columns"]) -> float:
    """The largest magnitude among the entries."""
    return max(max(-low.item(), high.item()) for low, high in map(torch.aminmax, _blocks(matrix)))


def _require_in_range(matrix: Float[Tensor, "rows columns"], name: str) -> None:
    """Refuse a scale at which squares overflow or vanish."""
    largest = largest_entry(matrix)
    if largest and not 1 / LARGEST <= largest <= LARGEST:
        raise NumericalError(
            f"{name} must have a scale whose squares are float64: expected a largest entry between"
            f" {1 / LARGEST:.0e} and {LARGEST:.0e}, got {largest:.3g}. Change its unit, and that of"
            " the ridges with it."
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
    values = as_tensor(targets, name)
    return finite_matrix(values[:, None] if values.ndim == 1 else values, name).double()


def ridge_values(ridges: ArrayLike, name: str) -> Float64[np.ndarray, " l"]:
    """`ridges` as a vector of one or more finite numbers ≥ 0.

    Args:
        ridges: A number or a list of numbers.
        name: Name of the argument, for the messages.

    Raises:
        UsageError: Anything else.
    """
    values = np.atleast_1d(real_array(ridges, name))
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


def real_array(values: Any, name: str) -> np.ndarray:
    """`values` as a float64 array of any shape; NaN and infinity are kept.

    Raises:
        UsageError: As `as_array`; booleans or complex numbers.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "iuf":
        raise _not_numbers(values, name)
    return array.astype(np.float64)


def real_number(value: SupportsFloat, name: str, *, cure: str = "") -> float:
    """`value` as a float, NaN and infinity included.

    Raises:
        UsageError: Not a number.
    """
    try:
        array = real_array(value, name)
    except UsageError:
        array = np.zeros(2)
    if array.size != 1:
        raise UsageError(f"{name} must be a number: got {value!r:.60}.{cure and ' ' + cure}")
    return float(array.item())
