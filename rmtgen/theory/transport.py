"""Same-κ transport: one eigendecomposition of a pool predicts the risk at every size and ridge.

Notation: a pool of N samples, K = XXᵀ with eigenvalues s_i, c_i² = ‖u_iᵀY‖² the targets' energy in
mode i, δ = Nℓ an auxiliary sum ridge of the pool, w_i = δ/(s_i + δ) over all N directions (1 in the
null space), S1 = Σ w_i, S2 = Σ w_i², E = Σ c_i² w_i².

The pool's estimates at one effective ridge, κ = δ/S1, are df1(κ) = N − S1, df2(κ) = N − S1²/S2
and B(κ) + noise = E/S2; the omniscient risk of n samples is [B + noise]/(1 − df2/n) at λ
= κ(1 − df1/n) (`effective_ridge`). Together:

    nλ = δ·(1 − (N − n)/S1),      R(n, λ) = n·E / (S1² − (N − n)·S2).

At n = N that is GCV. The right-hand side of the first is a convex function of δ for n ≤ N (κ is a
concave one), so that Newton's method from δ = Nλ + tr K/n, where it exceeds nλ, descends to the
root (S1 ≥ N − tr K/δ). Where n > N the same equations hold, as far as the pool reaches: δ ≥ 0 gives
no κ below κ̂_N(0), which is 0 only for a pool that resolves every mode (rank < N).

With an intercept the direction 1 has left K and Y: sums run over D = N − 1 directions, the two
equations stay as they are, n samples fit n − 1 directions, and the start is (D·nλ + tr K)/(n − 1).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_array
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.arguments import Values, ridge_and_size
from rmtgen.theory.effective_ridge import BLOCK
from rmtgen.theory.roots import largest_roots

COLUMNS = ("n", "ridge", "predicted_risk", "kappa", "df1", "df2")
"""Columns of `transport`."""


@dataclass(frozen=True, eq=False)
class PoolSums:
    """Sums over the directions of a pool at auxiliary sum ridges δ; every field has their shape.

    Attributes:
        delta: δ of the pool, 0 for its ridgeless limit.
        s1: Σ w_i; where δ = 0 without a null space, the limit of Σ w_i/δ.
        s2: Σ w_i², in the same limit over δ².
        energy: Σ c_i² w_i², in the same limit over δ².
        kappa: κ = δ/S1.
        between: S1 − S2 = Σ w_i(1 − w_i), the slope of S1 in log δ.
    """

    delta: Float64[np.ndarray, " l"]
    s1: Float64[np.ndarray, " l"]
    s2: Float64[np.ndarray, " l"]
    energy: Float64[np.ndarray, " l"]
    kappa: Float64[np.ndarray, " l"]
    between: Float64[np.ndarray, " l"]


def require_power(pool: Spectrum) -> Spectrum:
    """`pool` itself, where there is something to predict from.

    Raises:
        NumericalError: A pool without any mode, or targets without any power.
    """
    if not pool.rank or not pool.energy > 0:
        raise NumericalError(
            f"a pool needs modes and targets of some power: got {pool.rank} modes above the rank"
            f" tolerance, target power {pool.energy:.3g}. Check for all-zero features, or a single"
            " class."
        )
    return pool


def fitted_directions(pool: Spectrum, n: ArrayLike) -> Values:
    """Directions that n samples fit: n, less one for an intercept."""
    return np.asarray(n, dtype=float) - pool.intercept


def pool_sums(pool: Spectrum, delta: Float64[np.ndarray, " l"]) -> PoolSums:
    """S1, S2, E and κ at δ ≥ 0, a block of the grid at a time."""
    step = max(1, BLOCK // pool.rank)
    blocks = (delta[low : low + step] for low in range(0, max(1, len(delta)), step))
    parts = [_sums(pool, block) for block in blocks]
    return PoolSums(delta, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _sums(
    pool: Spectrum, delta: Float64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], ...]:
    values = pool.eigenvalues
    limit = (delta == 0) & (pool.null_dim == 0)  # w/δ → 1/s, finite, takes the place of w
    with np.errstate(divide="ignore", over="ignore"):
        weights = np.where(limit[:, None], 1 / values, 1 / (1 + values / delta[:, None]))
    squares, kept = np.square(weights), values / (values + delta[:, None])
    kept[np.isinf(delta)] = 0.0
    s1, s2 = weights.sum(axis=1) + pool.null_dim, squares.sum(axis=1) + pool.null_dim
    kappa = np.where(limit, 1, delta) / s1
    return s1, s2, squares @ pool.power + pool.null_energy, kappa, (weights * kept).sum(axis=1)


def auxiliary_ridge(
    pool: Spectrum, ridge: Float64[np.ndarray, " l"], n: Float64[np.ndarray, " l"]
) -> Float64[np.ndarray, " l"]:
    """δ of the pool at which n ≤ N samples have the sum ridge nλ.

    It is 0 where λ = 0 and n fits every mode.
    """
    delta, fitted = pool.n * ridge, fitted_directions(pool, n)
    open_ = np.flatnonzero(np.isfinite(ridge) & (n < pool.n) & ((ridge > 0) | (fitted < pool.rank)))

    def tangent_root(x: np.ndarray, which: np.ndarray) -> np.ndarray:
        sums, size = pool_sums(pool, x), n[open_[which]]
        share = (pool.n - size) / np.square(sums.s1)
        slope = 1 - share * sums.s2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(
                slope > 0, (size * ridge[open_[which]] + share * x * sums.between) / slope, x
            )

    start = (pool.directions * n[open_] * ridge[open_] + pool.trace) / fitted[open_]
    delta[open_] = largest_roots(tangent_root, start)
    return delta


@dataclass(frozen=True, eq=False)
class Transported:
    """The prediction at (n, λ), each field of the broadcast shape.

    Attributes:
        risk: R(n, λ), noise included; ∞ where the fit begins to interpolate all that the kernel can
            express (n = rank, λ = 0).
        floor: B(κ) + noise, the limit of the risk as n grows at this κ.
        kappa: κ.
        df1: df1(κ).
        df2: df2(κ).
        delta: The pool's auxiliary sum ridge.
    """

    risk: Values
    floor: Values
    kappa: Values
    df1: Values
    df2: Values
    delta: Values


def transported(pool: Spectrum, ridge: ArrayLike, n: ArrayLike) -> Transported:
    """R(n, λ) from a pool of N ≥ n samples, for broadcast λ and n.

    Raises:
        UsageError: n larger than the pool, n ≤ 0 (≤ 1 with an intercept), or a negative ridge.
    """
    ridge, n = ridge_and_size(ridge, n)
    if n.size and fitted_directions(pool, n.min()) <= 0:
        raise UsageError(
            f"transport with an intercept needs n >= 2: got n = {n.min():g}. One sample is its own"
            " intercept."
        )
    if n.size and n.max() > pool.n:
        raise UsageError(
            f"transport needs a pool of at least n samples: got n = {n.max():g}, a pool of"
            f" {pool.n}. Take a larger pool, or `forecast`."
        )
    return at_delta(pool, auxiliary_ridge(pool, ridge.ravel(), n.ravel()), n.ravel(), n.shape)


def at_delta(
    pool: Spectrum, delta: np.ndarray, n: np.ndarray, shape: tuple[int, ...]
) -> Transported:
    """The prediction of a pool at its sum ridge δ, for n of any size."""
    sums = pool_sums(pool, delta)
    s1, s2, missing = sums.s1, sums.s2, pool.n - n
    with np.errstate(divide="ignore"):
        risk = n * sums.energy / np.maximum(np.square(s1) - missing * s2, 0.0)
    learnt = np.where((delta == 0) & (pool.null_dim == 0), pool.directions, pool.directions - s1)
    fields = risk, sums.energy / s2, sums.kappa, learnt, pool.directions - np.square(s1) / s2, delta
    return Transported(*(field.reshape(shape)[()] for field in fields))


@public
def transport(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    sizes: ArrayLike,
    ridges: ArrayLike,
    intercept: bool = False,
) -> pd.DataFrame:
    """Test risk of ridge regression on n ≤ N samples from one eigendecomposition of a pool of N.

    Args:
        gram: K (N, N) of the pool, symmetric and positive semidefinite, float32 or float64.
        targets: (N,) or (N, c); risks are summed over outputs.
        sizes: Sample sizes n, 1 ≤ n ≤ N.
        ridges: λ ≥ 0 of the mean objective.
        intercept: Whether the regression has an unpenalised intercept.

    Returns:
        One row per (n, λ), sizes outer: `n ridge predicted_risk kappa df1 df2`. At n = N
        `predicted_risk` is GCV. It is ∞ at λ = 0 and n = rank < N, and least certain nearby.

    Raises:
        UsageError: Sizes beyond the pool, a negative ridge, another number of targets than of
            samples.
        NumericalError: NaN, an indefinite or asymmetric K, targets without power.

    References:
        The omniscient risk of Wei, Hu, Steinhardt 2022 (arXiv 2203.06176), its population
        quantities taken from the pool at equal κ.
    """
    pool = require_power(Spectrum.of(gram_modes(gram, intercept=intercept), targets))
    sizes, ridges = real_array(sizes, "sizes").ravel(), real_array(ridges, "ridges").ravel()
    if (sizes != np.round(sizes)).any():
        raise UsageError(
            f"sizes must be whole numbers: got {sizes[sizes != np.round(sizes)][0]:g}."
        )
    predicted = transported(pool, ridges[None], sizes[:, None])
    columns = np.repeat(sizes, len(ridges)).astype(int), np.tile(ridges, len(sizes))
    fields = predicted.risk, predicted.kappa, predicted.df1, predicted.df2
    return pd.DataFrame(
        dict(zip(COLUMNS, (*columns, *(field.ravel() for field in fields)), strict=True))
    )
