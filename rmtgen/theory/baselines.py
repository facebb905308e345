"""Rival theories: norm-based, spectrum-only, benign overfitting, classical degrees of freedom.

Notation: K (n×n) not divided by n, s_i its eigenvalues, G = (K + nλI)⁻¹, R_train = ‖nλGY‖²/n, df =
tr KG, B² = YᵀGKGY the squared norm of the fit (column `norm2` of a ridge path). Y has c outputs,
summed over.

Bounds and rates leave constants free. They are given without any, and `scores` compares what does
not depend on one.
"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from rmtgen.errors import UsageError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.arguments import Values, noise_value, ridge_and_size, spectrum_values
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.transport import pool_sums, require_power

AMPLE = 1 / 2
"""Largest df/n of the fit that Mallows' noise is estimated from."""


def rademacher(norm2: ArrayLike, trace: ArrayLike, n: ArrayLike) -> Values:
    """Rademacher complexity B·sqrt(tr K)/n of the ball of norm B.

    References: Bartlett & Mendelson 2002, Lemma 22.
    """
    return np.sqrt(np.asarray(norm2) * trace) / n


def arora(norm2: ArrayLike, largest: ArrayLike, n: ArrayLike) -> Values:
    """sqrt(2B²·max K_ii/n), which is sqrt(2YᵀK⁻¹Y/n) of a ridgeless fit with K_ii ≤ 1.

    References: Arora et al. 2019, Theorem 5.1.
    """
    return np.sqrt(2 * np.asarray(norm2) * largest / n)


def norm_proxy(norm2: ArrayLike, trace: ArrayLike, n: ArrayLike) -> Values:
    """B²·tr K/n², the square of `rademacher`, which has the unit of the risk."""
    return np.asarray(norm2) * trace / np.square(n)


def isotropic_risk(
    pool: Spectrum, ridge: ArrayLike, noise: float = 0.0
) -> Float64[np.ndarray, " l"]:
    """Spectrum-only risk: GCV after YYᵀ → τ²K + noise·I, τ² = (‖Y‖² − n·noise)/tr K.

    GCV of n samples is nE/S1² with E = Σ c_i² w_i², w_i = δ/(s_i + δ) (`transport`). The prior puts
    τ²s_i + noise in place of c_i², and s_i w_i = δ(1 − w_i), so E = τ²δ(S1 − S2) + noise·S2.

    Args:
        pool: Eigenvalues and energy of the n samples; the distribution of the energy over the
            modes is not used.
        ridge: (l,) λ ≥ 0.
        noise: Noise of the targets, summed over outputs.

    Returns:
        The risk that a prior without direction expects; ridgeless and without noise it is nτ²κ̂.

    Raises:
        UsageError: A negative ridge; noise that is negative or above the targets' mean energy.

    References: Dobriban & Wager 2018.
    """
    ridge, _ = ridge_and_size(np.atleast_1d(ridge), require_power(pool).n)
    noise = noise_value(noise)
    if noise * pool.n > pool.energy:
        raise UsageError(
            f"noise must be at most the targets' mean energy {pool.energy / pool.n:.4g}: got"
            f" {noise:.4g}."
        )
    prior = (pool.energy - pool.n * noise) / pool.trace
    sums = pool_sums(pool, pool.n * ridge)
    energy = prior * sums.kappa * sums.s1 * sums.between + noise * sums.s2
    return pool.n * energy / np.square(sums.s1)


def benign_variance(eigenvalues: ArrayLike, ridge: float, n: int, *, b: float = 1.0) -> float:
    """Variance k*/n + n/R_{k*} of a benign overfit in units of the noise, up to a constant.

    With t_k = nλ + Σ_{i>k} σ_i, the ridge that the modes beyond k amount to: r_k = t_k/σ_{k+1}, k*
    = min{k : r_k ≥ bn}, R_k = t_k²/Σ_{i>k} σ_i². Beyond the last mode r_k = R_k = ∞. It is 1 (all
    noise kept) where no k < n qualifies.

    Args:
        eigenvalues: σ_i, in any order.
        ridge: λ ≥ 0.
        n: Samples.
        b: The constant of k*.

    Raises:
        UsageError, NumericalError: As `effective_ridge`.

    References: Bartlett et al. 2020, Theorem 4; Tsigler & Bartlett 2020 for λ > 0.
    """
    sigma = np.sort(spectrum_values(eigenvalues))[::-1]
    sigma = sigma[sigma > 0]
    ridge_and_size(ridge, n)
    left = n * ridge + np.cumsum(sigma[::-1])[::-1]
    squares = np.cumsum(np.square(sigma[::-1]))[::-1]
    enough = np.flatnonzero(left >= b * n * sigma)
    first = int(enough[0]) if enough.size else len(sigma)
    if first >= n:
        return 1.0
    spread = n * squares[first] / left[first] ** 2 if enough.size else 0.0
    return first / n + spread


def benign_path(
    pool: Spectrum, ridge: Float64[np.ndarray, " l"], n: int
) -> Float64[np.ndarray, " l"]:
    """`benign_variance` at every ridge, with the pool's eigenvalues for the population's."""
    return np.array([benign_variance(pool.eigenvalues / pool.n, one, n) for one in ridge])


def naive_plug_in(pool: Spectrum, ridge: ArrayLike, n: ArrayLike) -> Values:
    """Omniscient risk with the pool's own eigenvalues in place of the population's.

    It is what eigenlearning predicts of the pool's own spectrum: Σ L_i + nλ/κ = n with the
    learnabilities L_i = σ_i/(σ_i + κ), and n/(n − Σ L_i²)·Σ (1 − L_i)² v_i². The null energy takes
    the place of the power of one more mode, with σ = 0. Biased unless n ≪ N.

    References: Simon, Dickens, Karkada & DeWeese 2023 (2110.03922).
    """
    values, power = np.append(pool.eigenvalues, 0.0), np.append(pool.power, pool.null_energy)
    return omniscient_risk(values / pool.n, power / pool.n, ridge, n)


def mallows_cp(
    train_risk: Float64[np.ndarray, " l"], df: Float64[np.ndarray, " l"], n: int
) -> Float64[np.ndarray, " l"]:
    """Mallows' Cp = R_train + 2·noise·df/n over the fits of one sample.

    The noise is R_train/(1 − df/n) of the fit with the most degrees of freedom ≤ n/2, the largest
    model that leaves half of the samples to estimate it from; where every fit has more, that of the
    fit with the fewest. NaN where that fit interpolates.

    References: Mallows 1973.
    """
    ample = np.where(df <= AMPLE * n, df, -df)
    place = int(np.argmax(ample))
    with np.errstate(invalid="ignore"):  # a single fit that interpolates has no noise estimate
        noise = train_risk[place] / (1 - df[place] / n)
    return train_risk + 2 * noise * df / n


def akaike(train_risk: ArrayLike, df: ArrayLike, n: ArrayLike) -> Values:
    """exp(AIC/n) = R_train·exp(2df/n), with AIC = n log R_train + 2df.

    It orders fits as AIC does and has the unit of the risk.

    References: Akaike 1974.
    """
    return np.asarray(train_risk) * np.exp(2 * np.asarray(df) / n)


def fixed_design(pool: Spectrum, ridge: ArrayLike) -> Float64[np.ndarray, " l"]:
    """Classical limit κ → λ, κ' → 1: Σ (λ/(λ + σ_i))² v_i² of the pool's spectrum, whatever n.

    Raises:
        UsageError: A negative ridge.
    """
    ridge, _ = ridge_and_size(np.atleast_1d(ridge), pool.n)
    delta = pool.n * ridge
    weights = np.where(
        delta[:, None] > 0, 1 / (1 + pool.eigenvalues / np.where(delta > 0, delta, 1)[:, None]), 0.0
    )
    return (np.square(weights) @ pool.power + pool.null_energy) / pool.n
