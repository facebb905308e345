"""Checks of what the theory takes: spectra, target power, ridges, sizes and noise."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_array, real_number
from rmtgen.errors import NumericalError, UsageError

Values = Float64[np.ndarray, "..."] | np.float64
"""Numbers of any shape; those of shape () are NumPy scalars."""


def finite_values(values: ArrayLike | Tensor, name: str, *, cure: str) -> Float64[np.ndarray, " p"]:
    """`values` as a vector of finite float64 numbers ≥ 0 that are not all zero.

    Raises:
        UsageError: Not a vector, empty, or with a negative entry.
        NumericalError: NaN or infinite entries, or nothing but zeros.
    """
    vector = real_array(values, name)
    if vector.ndim != 1 or not vector.size:
        raise UsageError(f"{name} must be a vector with entries: got shape {vector.shape}. {cure}")
    wrong = np.flatnonzero(~np.isfinite(vector))
    if wrong.size:
        raise NumericalError(
            f"{name} must be finite: got {wrong.size} NaN or infinite of {vector.size}, the first"
            f" at {wrong[0]}. {cure}"
        )
    negative = np.flatnonzero(vector < 0)
    if negative.size:
        raise UsageError(
            f"{name} must be >= 0: got {vector[negative[0]]:.4g} at {negative[0]} ({negative.size}"
            f" such). {cure}"
        )
    if not vector.any():
        raise NumericalError(f"{name} must not all be zero: got {vector.size} zeros. {cure}")
    return vector


def spectrum_values(eigenvalues: ArrayLike | Tensor) -> Float64[np.ndarray, " p"]:
    """Eigenvalues σ_i ≥ 0 of a covariance, in any order."""
    return finite_values(
        eigenvalues,
        "eigenvalues",
        cure="Pass those of a covariance, rounding errors below 0 set to 0.",
    )


def power_values(target_power: ArrayLike | Tensor, count: int) -> Float64[np.ndarray, " p"]:
    """Target power v_i² ≥ 0, one value per mode.

    Raises:
        UsageError: Another number than of eigenvalues, or as `finite_values`.
        NumericalError: As `finite_values`.
    """
    power = finite_values(
        target_power,
        "target_power",
        cure="Pass v_i², the squared coefficient of the targets in mode i.",
    )
    if len(power) != count:
        raise UsageError(
            f"target_power needs one value per mode: expected {count}, got {len(power)}."
        )
    return power


def ridge_and_size(
    ridge: ArrayLike | Tensor, n: ArrayLike | Tensor
) -> tuple[Float64[np.ndarray | np.float64, "..."], Float64[np.ndarray | np.float64, "..."]]:
    """λ ∈ [0, ∞] and n > 0, broadcast against each other.

    Raises:
        UsageError: A ridge that is negative or NaN, a size that is not positive and finite, or
            shapes that do not broadcast.
    """
    ridge, n = real_array(ridge, "ridge"), real_array(n, "n")
    if not (ridge >= 0).all():
        raise UsageError(
            f"ridge must be >= 0: got {ridge[~(ridge >= 0)].flat[0]:.4g}. A ridge of 0 is the"
            " ridgeless limit."
        )
    if not ((n > 0) & np.isfinite(n)).all():
        raise UsageError(
            f"n must be positive and finite: got {n[~((n > 0) & np.isfinite(n))].flat[0]:.4g}"
            " samples."
        )
    try:
        return tuple(np.broadcast_arrays(ridge, n))
    except ValueError:
        raise UsageError(
            f"ridge and n must broadcast: got shapes {ridge.shape} and {n.shape}."
        ) from None


def noise_value(noise: float) -> float:
    """Noise ≥ 0, the part of E‖y‖² that no mode explains.

    Raises:
        UsageError: Negative, NaN or infinite.
    """
    noise = real_number(noise, "noise")
    if not 0 <= noise < np.inf:
        raise UsageError(
            f"noise must be finite and >= 0: got {noise}. It is a variance, in the unit of the"
            " risk."
        )
    return noise
