"""Curves of a pool at every effective ridge, of resampled pools, and the extremes they may have.

Where the number of features is known, what a pool does not measure is extrapolated by `atoms`, else
by power laws (`tails`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from rmtgen.errors import NumericalError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.atoms import atomic, noiseless_atomic
from rmtgen.theory.curves import Below, Curves, deltas, measured
from rmtgen.theory.influence import Influence
from rmtgen.theory.tails import noiseless_tail, power_tail
from rmtgen.theory.transport import pool_sums

DRAWS = 200
"""Number of resampled pools of an interval."""

Extrapolate = Callable[[Curves], Below]


def curves(pool: Spectrum) -> Curves:
    """Curves of the pool, with a tail below them where it does not resolve every mode.

    Raises:
        NumericalError: Too few points in the range that the tail is fitted on.
    """
    return _completed(pool, _whole(pool), lambda whole: power_tail(whole, pool.directions))


def likely_curves(influence: Influence) -> Curves:
    """Curves of the pool, extrapolated within its number of features where that is known.

    Raises:
        NumericalError: Too few points in the range that the extrapolation is fitted on.
    """
    return _completed(influence.pool, _whole(influence.pool), _likely(influence))


def _whole(pool: Spectrum) -> Curves:
    sums = pool_sums(pool, deltas(pool))
    return measured(pool, sums.delta, sums.s1, sums.s2, sums.energy)


def _likely(influence: Influence) -> Extrapolate:
    directions, features = influence.pool.directions, influence.features
    if features is None:
        return lambda whole: power_tail(whole, directions)
    ratio = influence.loo_ratios(deltas(influence.pool))
    return lambda whole: atomic(whole, directions, features, ratio)


def _noiseless(influence: Influence) -> Extrapolate:
    directions, features = influence.pool.directions, influence.features
    if features is None:
        return lambda whole: noiseless_tail(whole, directions)
    return lambda whole: noiseless_atomic(whole, directions, features)


def _completed(pool: Spectrum, whole: Curves, extrapolate: Extrapolate) -> Curves:
    return whole if pool.null_dim else whole.joined(extrapolate(whole), pool.directions)


@dataclass(frozen=True, eq=False)
class Bracket:
    """Curves on either side of the likely ones, from each of two estimates of B + noise.

    Attributes:
        least: Of targets without noise: all that is not learnt yet will be.
        most: Of targets of which nothing is learnt below the measured range.
    """

    least: list[Curves]
    most: list[Curves]


def bracket(influence: Influence) -> Bracket:
    """The bracket of a pool: B + noise as GCV has it, and as leave-one-out has it.

    Raises:
        NumericalError: Too few points in the range that extrapolations are fitted on.
    """
    pool, whole = influence.pool, _whole(influence.pool)
    floors = whole.floor, whole.floor * influence.loo_ratios(deltas(pool))
    both = [replace(whole, floor=floor) for floor in floors]
    likely, noiseless = _likely(influence), _noiseless(influence)

    def unlearnt(one: Curves) -> Below:
        known = likely(one)
        constant = one.floor[one.trusted_from(pool.directions)]
        return replace(known, floor=np.full_like(known.floor, constant))

    return Bracket(
        *([_completed(pool, one, rule) for one in both] for rule in (noiseless, unlearnt))
    )


def resampled_curves(influence: Influence, draws: int = DRAWS, seed: int = 0) -> list[Curves]:
    """Curves of resampled pools: N samples drawn with replacement, to first order in the counts.

    Draws that cannot be extrapolated are left out.
    """
    pool, extrapolate = influence.pool, _likely(influence)
    sums = pool_sums(pool, deltas(pool))
    grid, whole = np.log(sums.delta), (sums.s1, sums.s2, sums.energy)
    counts = np.random.default_rng(seed).multinomial(
        pool.n, np.full(pool.n, 1 / pool.n), size=draws
    )
    extra = counts - 1.0
    changes = [-extra @ part.T for part in (influence.s1, influence.s2, influence.energy)]
    result = []
    for draw in range(draws):
        moved: list[Float64[np.ndarray, " g"]] = [
            value * np.exp(np.interp(grid, influence.log_delta, change[draw]))
            for value, change in zip(whole, changes, strict=True)
        ]
        try:
            result.append(_completed(pool, measured(pool, sums.delta, *moved), extrapolate))
        except NumericalError:
            continue
    return result
