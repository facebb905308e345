"""The effective ridge κ and the omniscient risk of ridge regression with a known spectrum.

Notation: σ_i eigenvalues of the population covariance Σ, v_i² = σ_iβ_i² target power in mode i, n
samples, λ the ridge of the mean objective, df_k(κ) = Σ (σ_i/(σ_i + κ))^k. κ solves κ = λ + (κ/n) Σ
σ_i/(σ_i + κ); κ' = dκ/dλ.

κ ↦ κ(n − df1(κ)) − nλ has the slope n − df2(κ), which grows with κ: it is convex, and Newton's
method from λ + tr Σ/n, where it is not negative, descends to its largest root. Its next point is
[nλ + κ(df1 − df2)]/(n − df2), which keeps its digits over all decades once n − df2 is summed as
Σ_{i≤n} (1 − (σ_i/(σ_i + κ))²) − Σ_{i>n} (σ_i/(σ_i + κ))² over descending eigenvalues.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.theory.arguments import (
    Values,
    noise_value,
    power_values,
    ridge_and_size,
    spectrum_values,
)
from rmtgen.theory.roots import largest_roots

BLOCK = 2**22
"""Largest number of entries (modes × grid points) per step."""


@dataclass(frozen=True, eq=False)
class RiskParts:
    """The omniscient risk κ'[B(κ) + noise] and its parts, each of the shape of the grid.

    Attributes:
        bias: Squared bias B(κ) = Σ (κ/(κ + σ_i))² v_i².
        variance: Variance (κ' − 1)·B from the draw of the samples.
        noise_variance: Variance (κ' − 1)·noise from noise in the training targets.
        noise: Noise of the test targets, which is irreducible.
        kappa: κ.
        kappa_prime: κ', ∞ at the interpolation peak.
    """

    bias: Values
    variance: Values
    noise_variance: Values
    noise: float
    kappa: Values
    kappa_prime: Values

    @property
    def risk(self) -> Values:
        """E‖y − f(x)‖², the noise of the test targets included."""
        return self.bias + self.variance + self.noise_variance + self.noise


@public
def effective_ridge(
    eigenvalues: ArrayLike | Tensor, ridge: ArrayLike, n: ArrayLike
) -> tuple[Values, Values]:
    """κ = λ + (κ/n) Σ σ_i/(σ_i + κ) and κ' = dκ/dλ = 1/(1 − df2(κ)/n).

    Args:
        eigenvalues: σ_i ≥ 0 of the population covariance, in any order; spectra over 30 decades
            keep their digits.
        ridge: λ ≥ 0, scalar or array; 0 is the ridgeless limit, ∞ is allowed.
        n: Samples, > 0, scalar or array, broadcast against `ridge`.

    Returns:
        κ and κ', of the broadcast shape. Ridgeless with n ≥ rank: κ = 0; with n = rank κ' = ∞, the
        interpolation peak.

    Raises:
        UsageError: A negative eigenvalue or ridge, n ≤ 0, no vector of eigenvalues, or shapes that
            do not broadcast.
        NumericalError: NaN or infinite eigenvalues, or nothing but zeros.

    References:
        Wei, Hu, Steinhardt 2022 (arXiv 2203.06176); the same κ in Simon et al. 2023 (δ = nλ) and
        Bordelon & Canatar (nκ).
    """
    sigma = np.sort(spectrum_values(eigenvalues))[::-1]
    ridge, n = ridge_and_size(ridge, n)
    kappa = _kappa(sigma, ridge.ravel(), n.ravel())
    free = np.concatenate(
        [_free_and_between(sigma, *block)[0] for block in _blocks(sigma, kappa, n.ravel())]
    )
    with np.errstate(divide="ignore"):
        kappa_prime = n.ravel() / free
    return kappa.reshape(n.shape)[()], kappa_prime.reshape(n.shape)[()]


@public
def omniscient_risk(
    eigenvalues: ArrayLike | Tensor,
    target_power: ArrayLike | Tensor,
    ridge: ArrayLike,
    n: ArrayLike,
    noise: float = 0.0,
) -> Values:
    """Test risk R = κ'·[Σ (κ/(κ + σ_i))² v_i² + noise] of ridge regression, of a known spectrum.

    Args:
        eigenvalues: As `effective_ridge`.
        target_power: v_i² = σ_iβ_i² ≥ 0, one value per mode, summed over outputs.
        ridge: As `effective_ridge`.
        n: As `effective_ridge`.
        noise: Variance of the targets beyond the modes.

    Returns:
        The risk, noise of the test targets included, of the broadcast shape of `ridge` and `n`; ∞
        at the peak of a noisy problem.

    Raises:
        UsageError: As `effective_ridge`; noise < 0; another number of powers than of eigenvalues.
        NumericalError: As `effective_ridge`; targets without any power.

    References:
        Wei, Hu, Steinhardt 2022 (arXiv 2203.06176); Hastie et al. 2022 for isotropic features.
    """
    return risk_parts(eigenvalues, target_power, ridge, n, noise).risk


@public
def risk_parts(
    eigenvalues: ArrayLike | Tensor,
    target_power: ArrayLike | Tensor,
    ridge: ArrayLike,
    n: ArrayLike,
    noise: float = 0.0,
) -> RiskParts:
    """Bias, variance and noise of `omniscient_risk`, which has the same arguments and errors."""
    sigma = spectrum_values(eigenvalues)
    power, noise = power_values(target_power, len(sigma)), noise_value(noise)
    kappa, kappa_prime = effective_ridge(sigma, ridge, n)
    bias = target_bias(sigma, power, kappa)
    # at κ' = ∞ zero bias gives zero variance: B falls as κ², κ' grows as 1/κ
    with np.errstate(invalid="ignore"):
        variance = np.where(bias > 0, (kappa_prime - 1) * bias, 0.0)
        noisy = np.where(noise > 0, (kappa_prime - 1) * noise, 0.0)
    return RiskParts(bias, variance[()], noisy[()], noise, kappa, kappa_prime)


@public
def target_bias(
    sigma: Float64[np.ndarray, " p"], power: Float64[np.ndarray, " p"], kappa: ArrayLike
) -> Values:
    """B(κ) = Σ (κ/(κ + σ_i))² v_i²; a mode with σ_i = 0 is never learnt, not even at κ = 0."""
    kappa = np.asarray(kappa, dtype=np.float64)
    blocks = _blocks(sigma, kappa.ravel(), kappa.ravel())
    return np.concatenate([_unlearnt(sigma, part) ** 2 @ power for part, _ in blocks]).reshape(
        kappa.shape
    )[()]


@public
def degrees_of_freedom(eigenvalues: ArrayLike | Tensor, kappa: ArrayLike, order: int = 1) -> Values:
    """df_k(κ) = Σ (σ_i/(σ_i + κ))^k, for κ of any shape."""
    sigma, kappa = spectrum_values(eigenvalues), np.asarray(kappa, dtype=np.float64)
    blocks = _blocks(sigma, kappa.ravel(), kappa.ravel())
    return np.concatenate(
        [((1 - _unlearnt(sigma, part)) ** order).sum(axis=1) for part, _ in blocks]
    ).reshape(kappa.shape)[()]


def _kappa(
    sigma: Float64[np.ndarray, " p"], ridge: Float64[np.ndarray, " l"], n: Float64[np.ndarray, " l"]
) -> Float64[np.ndarray, " l"]:
    kappa = np.where(ridge > 0, ridge, 0.0)
    open_ = np.flatnonzero(np.isfinite(ridge) & ((ridge > 0) | (n < np.count_nonzero(sigma))))

    def tangent_root(x: np.ndarray, which: np.ndarray) -> np.ndarray:
        size, target = n[open_[which]], ridge[open_[which]]
        parts = [_free_and_between(sigma, *block) for block in _blocks(sigma, x, size)]
        free2, between = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(free2 > 0, (size * target + x * between) / free2, x)

    kappa[open_] = largest_roots(tangent_root, ridge[open_] + sigma.sum() / n[open_])
    return kappa


def _free_and_between(
    sigma: Float64[np.ndarray, " p"], kappa: Float64[np.ndarray, " k"], n: Float64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """The slope n − df2, and df1 − df2 = Σ κσ_i/(κ + σ_i)²; σ descending."""
    unlearnt = _unlearnt(sigma, kappa)
    learnt = np.where(
        sigma < kappa[:, None],
        sigma / np.where(kappa > 0, kappa, 1)[:, None] * unlearnt,
        1 - unlearnt,
    )
    first = np.arange(len(sigma)) < np.floor(n)[:, None]
    rest = n - np.minimum(np.floor(n), len(sigma))
    free2 = rest + np.where(first, unlearnt * (1 + learnt), -np.square(learnt)).sum(axis=1)
    return free2, (learnt * unlearnt).sum(axis=1)


def _unlearnt(
    sigma: Float64[np.ndarray, " p"], kappa: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, "k p"]:
    """κ/(κ + σ), 1 where σ = 0 and where κ = ∞."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(sigma > 0, 1 / (1 + sigma / kappa[:, None]), 1.0)


def _blocks(sigma: np.ndarray, *columns: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The grid in blocks of at most `BLOCK` modes × points; an empty grid is one empty block."""
    step = max(1, BLOCK // len(sigma))
    return [
        tuple(column[low : low + step] for column in columns)
        for low in range(0, max(1, len(columns[0])), step)
    ]
