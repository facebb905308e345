"""Spectral decay and target alignment of one representation.

Notation: eigenvalues σ_1 ≥ σ_2 ≥ … of a covariance (or s_i = Nσ_i of a Gram matrix K of N samples),
v_i² target power in mode i, c_i² = ‖u_iᵀY‖² the energy of the targets on the pool's mode i, κ the
effective ridge, r modes, p eigenvalues.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import TARGET_ROWS
from rmtgen.linalg.rows import Rows
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.arguments import (
    Values,
    finite_values,
    power_values,
    spectrum_values,
)
from rmtgen.theory.transport import at_delta

ROUNDING = 1e-12
"""Share of the targets' energy at or below which what lies outside the modes is rounding."""
SAME = 1e-6
"""Relative difference up to which targets count as those of a spectrum: a float32 copy passes."""


@public
def participation_ratio(eigenvalues: ArrayLike | Tensor) -> float:
    """Participation ratio (Σσ_i)²/Σσ_i²: the number of modes that share the trace, from 1 to p.

    It is the same for K and for the covariance. The eigenvalues are divided by the largest first,
    so that no square overflows.

    Raises:
        UsageError: A negative eigenvalue, or no vector.
        NumericalError: NaN or infinite eigenvalues, or nothing but zeros.
    """
    sigma = spectrum_values(eigenvalues)
    sigma = sigma / sigma.max()
    return float(np.square(sigma.sum()) / np.square(sigma).sum())


@public
def effective_ranks(
    eigenvalues: ArrayLike | Tensor,
) -> tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " p"]]:
    """r_k = Σ_{i>k} σ_i/σ_{k+1} and R_k = (Σ_{i>k} σ_i)²/Σ_{i>k} σ_i² over k = 0, …, p − 1.

    Each tail is summed from the small end in units of its first term, with ρ = σ_{k+2}/σ_{k+1}:

        r_k = Σ_{i>k} σ_i/σ_{k+1} = 1 + ρ·r_{k+1},
        q_k = Σ_{i>k} (σ_i/σ_{k+1})² = 1 + ρ²·q_{k+1},      R_k = r_k²/q_k,

    so that neither a large head nor a spectrum over many decades costs digits.

    Args:
        eigenvalues: σ_i ≥ 0, in any order.

    Returns:
        r and R, 1 ≤ r_k ≤ R_k ≤ p − k. NaN where only zeros are left.

    Raises:
        UsageError: A negative eigenvalue, or no vector.
        NumericalError: NaN or infinite eigenvalues, or nothing but zeros.

    References:
        Bartlett, Long, Lugosi, Tsigler 2020; Tsigler & Bartlett 2023, who ask for the first k with
        r_k ≥ b·n.
    """
    sigma = np.sort(spectrum_values(eigenvalues))[::-1]
    rank = np.count_nonzero(sigma)
    sums, squares = np.full(len(sigma), np.nan), np.full(len(sigma), np.nan)
    sums[rank - 1] = squares[rank - 1] = 1.0
    ratios = sigma[1:rank] / sigma[: rank - 1]
    for k in range(rank - 2, -1, -1):
        sums[k] = 1 + ratios[k] * sums[k + 1]
        squares[k] = 1 + ratios[k] ** 2 * squares[k + 1]
    return sums, np.square(sums) / squares


@public
def cumulative_power(
    power: ArrayLike | Tensor, null_energy: float = 0.0
) -> Float64[np.ndarray, " r"]:
    """Cumulative power C(m) = Σ_{i≤m} v_i²/(Σ v_i² + null energy) over m = 1, …, r.

    Args:
        power: v_i² or c_i² ≥ 0, the leading mode first.
        null_energy: Power that no mode explains, in the same unit; with c_i² of a pool its
            `null_energy`.

    Returns:
        C, ascending, up to 1 without null energy. Noise of the targets counts in every mode.

    Raises:
        UsageError: A negative power or energy, or no vector.
        NumericalError: NaN or infinite power, or nothing but zeros.
    """
    power = finite_values(
        power, "power", cure="Pass v_i², the squared coefficient of the targets in mode i."
    )
    if not 0 <= null_energy < np.inf:
        raise UsageError(
            f"null_energy must be finite and >= 0: got {null_energy}. It is in the unit of the"
            " power."
        )
    running = np.cumsum(power)
    return running / (running[-1] + null_energy)


@public
def kernel_target_alignment(
    spectrum: Spectrum, targets: np.ndarray | Tensor | Rows | None = None
) -> float:
    """⟨K, YYᵀ⟩/(‖K‖_F ‖YYᵀ‖_F) = Σ s_i c_i² / (√Σ s_i² · ‖YᵀY‖_F).

    With K = Σ s_i u_iu_iᵀ the inner product is Σ s_i ‖u_iᵀY‖² = Σ s_i c_i², and ‖YYᵀ‖_F = ‖YᵀY‖_F.
    Since Y = UC + Z with C = UᵀY and UᵀZ = 0, the latter is ‖CᵀC + ZᵀZ‖_F. A spectrum keeps of Z
    its energy alone, which is ZᵀZ for a single output. With several outputs and a null space the
    targets must be given too.

    Args:
        spectrum: Spectrum of the Gram matrix; with an intercept K and Y are centred.
        targets: Y (n,) or (n, c) that the spectrum was made with, where the spectrum does not
            suffice.

    Returns:
        The alignment, in [0, 1].

    Raises:
        UsageError: Targets are needed and not given, or are not those of the spectrum.
        NumericalError: No mode, or targets without power.

    References:
        Cristianini, Shawe-Taylor, Elisseeff, Kandola 2001; centred (intercept): Cortes, Mohri,
        Rostamizadeh 2012.
    """
    values, energy = spectrum.eigenvalues, spectrum.energy
    if not len(values) or not energy > 0:
        raise NumericalError(
            f"an alignment needs modes and targets of some power: got {len(values)} modes, target"
            f" power {energy:.3g}. Check for all-zero features, or a single class."
        )
    relative = values / values[0]
    norm = np.linalg.norm(_target_covariance(spectrum, targets, energy))
    return float(relative @ spectrum.power / np.linalg.norm(relative) / norm)


def _target_covariance(
    spectrum: Spectrum, targets: np.ndarray | Tensor | Rows | None, energy: float
) -> Float64[np.ndarray, "c c"]:
    """YᵀY."""
    coefficients, outputs = spectrum.coefficients, spectrum.coefficients.shape[1]
    if targets is None:
        if outputs > 1 and spectrum.null_energy > ROUNDING * energy:
            raise UsageError(
                f"{outputs} outputs with a null space need targets: expected no energy outside the"
                f" modes, got {spectrum.null_energy:.3g} of {energy:.3g}. Pass the targets that the"
                " spectrum was made with."
            )
        return coefficients.T @ coefficients + spectrum.null_energy * (outputs == 1)
    targets = targets if isinstance(targets, Rows) else target_matrix(targets)
    if tuple(targets.shape) != (spectrum.n, outputs):
        raise UsageError(
            f"targets must be those of the spectrum: expected shape ({spectrum.n}, {outputs}), got"
            f" {tuple(targets.shape)}."
        )
    covariance = sum(rows.mT @ rows for rows in targets.split(TARGET_ROWS))
    if spectrum.intercept:
        total = sum(rows.sum(dim=0) for rows in targets.split(TARGET_ROWS))
        covariance = covariance - torch.outer(total, total) / spectrum.n
    covariance = covariance.cpu().numpy()
    if not abs(covariance.trace() - energy) <= SAME * energy:
        raise UsageError(
            f"targets must be those of the spectrum: expected energy {energy:.6g}, got"
            f" {covariance.trace():.6g}. Pass the same samples in the same coding."
        )
    return covariance


@public
def learnability(
    eigenvalues: ArrayLike | Tensor, target_power: ArrayLike | Tensor, kappa: ArrayLike
) -> Values:
    """Learnability Σ v_i² σ_i/(σ_i + κ) / Σ v_i² of the targets at an effective ridge.

    Ridge regression shrinks the coefficient of mode i by σ_i/(σ_i + κ) in the mean, its
    learnability; this is their mean over the targets' power.

    Args:
        eigenvalues: σ_i ≥ 0, in the order of the powers.
        target_power: v_i² ≥ 0.
        kappa: κ ≥ 0, scalar or array.

    Returns:
        The share, in [0, 1], of the shape of κ. A mode with σ_i = 0 is never learnt.

    Raises:
        UsageError: A negative or NaN κ, a negative eigenvalue or power, or another number of powers
            than of eigenvalues.
        NumericalError: NaN or infinite eigenvalues or powers, or nothing but zeros.

    References:
        Simon et al. 2023, whose learnability of a mode is σ/(σ + κ).
    """
    sigma = spectrum_values(eigenvalues)
    power, kappa = power_values(target_power, len(sigma)), np.asarray(kappa, dtype=np.float64)
    if not (kappa >= 0).all():
        raise UsageError(f"kappa must be >= 0: got {kappa[~(kappa >= 0)].flat[0]:.4g}.")
    seen = sigma > 0
    share = power[seen] / power.sum()
    with np.errstate(over="ignore"):  # a κ far above the eigenvalue learns nothing of it
        learnt = [share @ (1 / (1 + value / sigma[seen])) for value in kappa.ravel()]
    return np.minimum(learnt, 1.0).reshape(kappa.shape)[()]


@public
def bias_against_df(pool: Spectrum, deltas: ArrayLike) -> pd.DataFrame:
    """B(κ) + noise against df1(κ), both unbiased as in transport.

    It is the part of the risk that stays unlearnt, by the degrees of freedom that the fit takes.

    Args:
        pool: A pool of N samples.
        deltas: Auxiliary sum ridges δ ≥ 0 of the pool.

    Returns:
        One row per δ: `delta kappa relative_kappa df1 df2 floor`. relative_kappa = κ/(tr K/N) is
        the unit in which two backbones are compared; floor = E/S2 = B(κ) + noise.

    Raises:
        UsageError: A δ that is negative or not finite.
    """
    deltas = np.atleast_1d(np.asarray(deltas, dtype=np.float64)).ravel()
    wrong = deltas[~((deltas >= 0) & np.isfinite(deltas))]
    if wrong.size:
        raise UsageError(
            f"deltas must be finite and >= 0: got {wrong[0]:.4g}. They are sum ridges δ = Nλ of the"
            " pool."
        )
    seen = at_delta(pool, deltas, np.full(len(deltas), pool.n), deltas.shape)
    relative = seen.kappa * pool.n / pool.trace
    columns = {
        "delta": deltas,
        "kappa": seen.kappa,
        "relative_kappa": relative,
        "df1": seen.df1,
        "df2": seen.df2,
    }
    return pd.DataFrame(columns | {"floor": seen.floor})
