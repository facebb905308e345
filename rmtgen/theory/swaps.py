"""Which of spectrum and target alignment makes the gap between the risks of two representations.

The spectrum of one pool meets the target power of another in one pool, whose risk is transported.

Notation: eigenvalues σ_1 ≥ σ_2 ≥ … of a covariance (or s_i = Nσ_i of a Gram matrix K of N samples),
v_i² target power in mode i, c_i² = ‖u_iᵀY‖² the energy of the targets on the pool's mode i, λ the
ridge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge.interval import NORMAL_QUANTILE
from rmtgen.theory.arguments import noise_value
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.transport import transported

RELATIVE_RIDGES = np.geomspace(1e-10, 1e2, 49)
"""Ridges λ/tr Σ over which the best ridge is searched for."""
REFINEMENTS = 5
"""Number of times that the two intervals about the best ridge are cut into `CUTS`."""
CUTS = 8
"""Number of points in each of these intervals."""
LARGEST_SHARE = 1 / 4
"""Largest n/N at which a pool's own eigenvalues are put in place of the population's."""


@dataclass(frozen=True, eq=False)
class Population:
    """Plug-in estimate of a population from a pool: σ_i, v_i² and the noise."""

    eigenvalues: Float64[np.ndarray, " p"]
    power: Float64[np.ndarray, " p"]
    noise: float

    @classmethod
    def of(cls, pool: Spectrum) -> "Population":
        """σ_i = s_i/N, v_i² = max(c_i² − noise, 0)/N, noise = null energy / null dimension.

        With Y = XB + E and noise E of variance `noise` (summed over outputs), u_iᵀY has the mean
        square N·v_i² + noise on every mode, and `noise` alone on each direction of the null space:
        the null space estimates the noise, and its share of c_i² is taken off. Without a null space
        nothing separates the two, and the noise counts as 0.
        """
        noise = pool.null_energy / pool.null_dim if pool.null_dim else 0.0
        return cls(pool.eigenvalues / pool.n, np.maximum(pool.power - noise, 0) / pool.n, noise)


@dataclass(frozen=True, eq=False)
class Swap:
    """Risks at the best ridge when the spectrum of one pool meets the target power of another.

    Attributes:
        risk: R[i, j]: spectrum of pool i, target power and noise of pool j.
        ridges: λ at which each was reached; at an end of the grid where the grid's range ended the
            search.
        spectrum_share: The part of `gap` due to the spectrum, in log units.
        alignment_share: The part due to the targets' alignment.
        n: Samples.
        spectrum_interval: Ends of an interval of 95 % of `spectrum_share`.
        alignment_interval: Those of `alignment_share`.
    """

    risk: Float64[np.ndarray, "2 2"]
    ridges: Float64[np.ndarray, "2 2"]
    spectrum_share: float
    alignment_share: float
    n: int
    spectrum_interval: tuple[float, float]
    alignment_interval: tuple[float, float]

    @property
    def gap(self) -> float:
        """Gap log R[0, 0]/R[1, 1] = spectrum_share + alignment_share.

        It is negative where the first pool generalises better.
        """
        return float(np.log(self.risk[0, 0]) - np.log(self.risk[1, 1]))


@public
def swap(first: Spectrum, second: Spectrum, n: int, ridges: ArrayLike | None = None) -> Swap:
    """Shares of spectrum and alignment in the gap between the risks of two pools.

    R_ij is the risk, at its best ridge, of n samples of the representation with the spectrum of
    pool i and the target power and noise of pool j. Modes are matched by index. The gap log R_AA −
    log R_BB can be closed in two orders, spectrum first or targets first; Shapley's rule takes the
    mean of the two for each share:

        spectrum:   ½[(log R_AA − log R_BA) + (log R_AB − log R_BB)]
        alignment:  ½[(log R_AA − log R_AB) + (log R_BA − log R_BB)]

    The two add up to the gap. R_ij is transported from the pool of eigenvalues of i and energies
    c_k² of j (`joined`), so that R_AA and R_BB are the risks that each pool predicts for itself.
    The plug-in estimate (`Population`) in its place understates risks as n nears N, and can turn
    the sign of a share: of two Gaussian pools of N = 800 it makes a spectrum's share of −.019 a
    share of +.033 at n = N/4, where transport gives −.018.

    An interval is 1.96 standard errors over pools, from the scatter of the energies of neighbouring
    modes, and the distance to the plug-in share on top: where the two estimates differ, joining by
    index is doubtful too. So smaller n is better.

    Args:
        first: Pool A.
        second: Pool B, of the same targets on another representation.
        n: Samples, at most a quarter of the smaller pool.
        ridges: λ/tr Σ > 0 over which to search for the best, each spectrum in its own unit; the
            search is refined between neighbours.

    Returns:
        Risks, best ridges and the two shares with their intervals.

    Raises:
        UsageError: n beyond a quarter of the smaller pool, below 2 with an intercept, or ridges
            that are not positive and finite.
        NumericalError: Targets that have no power beyond the noise.
    """
    smaller = min(first.n, second.n)
    if not 1 <= n <= LARGEST_SHARE * smaller:
        raise UsageError(
            f"a swap needs 1 <= n <= N/4 = {LARGEST_SHARE * smaller:g}: got n = {n} with pools of"
            f" {first.n} and {second.n}. Beyond that a pool's own eigenvalues are a biased stand-in"
            " for the population's: take a larger pool or a smaller n."
        )
    grid, pools = _relative_grid(ridges), (first, second)
    plain = _shares(_plug_in_risks(pools, n, grid))
    mixed = [joined(spectrum, target) for spectrum in pools for target in pools]
    found = [_best(one, n, grid) for one in mixed]
    best, risk = np.array(found).T.reshape(2, 2, 2)
    shares = _shares(risk)
    errors = _standard_errors(mixed, best.ravel(), n, pools)
    reach = NORMAL_QUANTILE * errors + np.abs(shares - plain)
    spectrum, alignment = np.stack([shares, shares - reach, shares + reach], axis=1).tolist()
    return Swap(
        risk, best, spectrum[0], alignment[0], int(n), tuple(spectrum[1:]), tuple(alignment[1:])
    )


def joined(spectrum: Spectrum, target: Spectrum) -> Spectrum:
    """The eigenvalues of one pool with the target energies of another, by index.

    A pool of n samples has the energy n·v_k² + noise on mode k, and the noise alone on each
    direction of its null space. Targets of a pool of m samples keep v_k² and the noise: of the same
    size their energies are taken as they are. Power on modes that the n directions do not reach
    counts as noise.

    Args:
        spectrum: The pool whose eigenvalues, size and intercept it has.
        target: The pool whose target power and noise it has.

    Returns:
        The spectrum of a single output.
    """
    noise = target.null_energy / target.null_dim if target.null_dim else 0.0
    signal = spectrum.n / target.n * (target.power - noise)
    energies = np.full(spectrum.directions, noise)
    reached = min(target.rank, spectrum.directions)
    energies[:reached] += signal[:reached]
    energies = np.maximum(energies + signal[reached:].sum() / spectrum.directions, 0)
    rank = spectrum.rank
    return Spectrum.of_power(
        spectrum.eigenvalues,
        energies[:rank],
        float(energies[rank:].sum()),
        spectrum.n,
        intercept=spectrum.intercept,
    )


def _shares(risk: Float64[np.ndarray, "2 2"]) -> Float64[np.ndarray, " 2"]:
    """Shares of the spectrum and of the alignment: another spectrum; other targets."""
    logs = np.log(risk)
    return np.array([(logs[0] - logs[1]).mean(), (logs[:, 0] - logs[:, 1]).mean()])


def _standard_errors(
    mixed: list[Spectrum],
    ridges: Float64[np.ndarray, " 4"],
    n: int,
    pools: tuple[Spectrum, Spectrum],
) -> Float64[np.ndarray, " 2"]:
    """Standard errors of both shares from the draw of the targets' energies.

    At the best ridges log R_ij moves with log E_ij alone, E = Σ c_k² w_k². The energies of two
    neighbouring modes differ by their scatter, and half the square of the difference is its
    variance, whatever the number of outputs. That of d directions of the null space has at most the
    relative variance 2/d. The scatter of eigenvalues is smaller by a factor of N.
    """
    length = max(one.directions for one in mixed)
    each = [_energy_shares(one, ridge, n, length) for one, ridge in zip(mixed, ridges, strict=True)]
    parts = np.array(each).reshape(2, 2, length)
    changes = (parts[0] - parts[1]) / 2, parts.mean(axis=0)
    variances = [
        sum(_variance(change, pool.rank) for change, pool in zip(both, pools, strict=True))
        for both in changes
    ]
    return np.sqrt(variances)


def _energy_shares(
    pool: Spectrum, ridge: float, n: int, length: int
) -> Float64[np.ndarray, " length"]:
    """c_k² w_k²/E of every direction at λ of n samples, and zeros up to a length."""
    delta = transported(pool, ridge, n).delta
    kept = np.square(delta / (pool.eigenvalues + delta)) * pool.power
    null = np.full(pool.null_dim, pool.null_energy / max(pool.null_dim, 1))
    energies = np.concatenate([kept, null])
    return np.pad(energies / energies.sum(), (0, length - len(energies)))


def _variance(change: Float64[np.ndarray, " d"], rank: int) -> float:
    """The variance of a sum over directions, of which `rank` are modes of the targets' pool."""
    modes, null = np.split(change, [rank])
    return np.square(np.diff(modes)).sum() / 2 + 2 * null.sum() ** 2 / max(len(null), 1)


def _relative_grid(ridges: ArrayLike | None) -> Float64[np.ndarray, " l"]:
    if ridges is None:
        return RELATIVE_RIDGES
    grid = np.unique(np.asarray(ridges, dtype=np.float64))
    if not grid.size or not ((grid > 0) & np.isfinite(grid)).all():
        raise UsageError(
            f"ridges must be positive and finite: got {grid.tolist()[:5]}. They are λ relative to"
            " the trace of Σ."
        )
    return grid


def _padded(population: Population, modes: int) -> Population:
    missing = (0, modes - len(population.eigenvalues))
    return Population(
        np.pad(population.eigenvalues, missing), np.pad(population.power, missing), population.noise
    )


def _plug_in_risks(
    pools: tuple[Spectrum, Spectrum], n: int, grid: Float64[np.ndarray, " l"]
) -> Float64[np.ndarray, "2 2"]:
    """The smallest omniscient risk of the populations of both spectra and both targets."""
    modes = max(pool.rank for pool in pools)
    both = [_padded(Population.of(pool), modes) for pool in pools]

    def smallest(eigenvalues: np.ndarray, target: Population) -> float:
        trace, noise = eigenvalues.sum(), noise_value(target.noise)
        return _minimum(
            lambda relative: np.atleast_1d(
                omniscient_risk(eigenvalues, target.power, relative * trace, n, noise)
            ),
            grid,
        )[1]

    return np.array(
        [[smallest(spectrum.eigenvalues, target) for target in both] for spectrum in both]
    )


def _best(pool: Spectrum, n: int, grid: Float64[np.ndarray, " l"]) -> tuple[float, float]:
    """The ridge of the smallest transported risk over the grid and its refinements, and it."""
    trace = pool.trace / pool.n
    relative, risk = _minimum(
        lambda relative: np.atleast_1d(transported(pool, relative * trace, n).risk), grid
    )
    return relative * trace, risk


def _minimum(
    function: Callable[[np.ndarray], np.ndarray], grid: Float64[np.ndarray, " l"]
) -> tuple[float, float]:
    """Place and value of the minimum: the intervals beside the best point are cut again."""
    for _ in range(REFINEMENTS):
        place = int(np.argmin(function(grid)))
        low, high = grid[max(0, place - 1)], grid[min(len(grid) - 1, place + 1)]
        around = [np.geomspace(low, grid[place], CUTS), np.geomspace(grid[place], high, CUTS)]
        grid = np.unique(np.concatenate([*around, [grid[place]]]))
    values = function(grid)
    place = int(np.argmin(values))
    return float(grid[place]), float(values[place])
