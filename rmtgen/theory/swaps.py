"""Which of spectrum and target alignment makes the gap between the risks of two representations.

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
from rmtgen.theory.arguments import noise_value
from rmtgen.theory.effective_ridge import omniscient_risk

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
    """

    risk: Float64[np.ndarray, "2 2"]
    ridges: Float64[np.ndarray, "2 2"]
    spectrum_share: float
    alignment_share: float
    n: int

    @property
    def gap(self) -> float:
        """Gap log R[0, 0]/R[1, 1] = spectrum_share + alignment_share.

        It is negative where the first pool generalises better.
        """
        return float(np.log(self.risk[0, 0]) - np.log(self.risk[1, 1]))


@public
def swap(first: Spectrum, second: Spectrum, n: int, ridges: ArrayLike | None = None) -> Swap:
    """Shares of spectrum and alignment in the gap between the risks of two pools.

    R_ij is the omniscient risk, at its best ridge, of the population with the spectrum of pool i
    and the target power and noise of pool j. Modes are matched by index, the shorter list padded
    with zeros. The gap log R_AA − log R_BB can be closed in two orders, spectrum first or targets
    first; Shapley's rule takes the mean of the two for each share:

        spectrum:   ½[(log R_AA − log R_BA) + (log R_AB − log R_BB)]
        alignment:  ½[(log R_AA − log R_AB) + (log R_BA − log R_BB)]

    The two add up to the gap. Populations are plug-in estimates (`Population`), which understate
    risks as n nears N: with N = 800 a ridgeless risk of .191 was estimated as .167 at n = 100, one
    of .122 as .063 at n = 400. So n is limited to N/4, and smaller is better.

    Args:
        first: Pool A.
        second: Pool B, of the same targets on another representation.
        n: Samples, at most a quarter of the smaller pool.
        ridges: λ/tr Σ > 0 over which to search for the best, each spectrum in its own unit; the
            search is refined between neighbours.

    Returns:
        Risks, best ridges and the two shares.

    Raises:
        UsageError: n beyond a quarter of the smaller pool, or ridges that are not positive and
            finite.
        NumericalError: Targets that have no power beyond the noise.
    """
    smaller = min(first.n, second.n)
    if not 1 <= n <= LARGEST_SHARE * smaller:
        raise UsageError(
            f"a swap needs 1 <= n <= N/4 = {LARGEST_SHARE * smaller:g}: got n = {n} with pools of"
            f" {first.n} and {second.n}. Beyond that a pool's own eigenvalues are a biased stand-in"
            " for the population's: take a larger pool or a smaller n."
        )
    grid = _relative_grid(ridges)
    modes = max(first.rank, second.rank)
    a, b = (_padded(Population.of(pool), modes) for pool in (first, second))
    found = [
        _best(spectrum.eigenvalues, target, n, grid) for spectrum in (a, b) for target in (a, b)
    ]
    best, risk = np.array(found).T.reshape(2, 2, 2)
    logs = np.log(risk)
    across, along = logs[0] - logs[1], logs[:, 0] - logs[:, 1]  # another spectrum; other targets
    return Swap(risk, best, float(across.mean()), float(along.mean()), int(n))


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


def _best(
    eigenvalues: Float64[np.ndarray, " p"],
    target: Population,
    n: int,
    grid: Float64[np.ndarray, " l"],
) -> tuple[float, float]:
    """The ridge of the smallest risk over the grid and its refinements, and that risk."""
    trace = eigenvalues.sum()
    noise = noise_value(target.noise)

    def risk(relative: np.ndarray) -> np.ndarray:
        return np.atleast_1d(omniscient_risk(eigenvalues, target.power, relative * trace, n, noise))

    relative, value = _minimum(risk, grid)
    return relative * trace, value


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
