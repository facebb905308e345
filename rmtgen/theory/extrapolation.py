"""Curves of a pool at every effective ridge, of resampled pools, and the extremes they may have.

GCV and leave-one-out differ in B + noise where samples differ in leverage, by the ratio LOO/GCV.
E/S2, as GCV has it, is right for noise whatever the leverages are: yᵀG²y has the mean noise·tr G².
Samples that are fitted worse the higher their leverage make it too small, at every n. So curves
have the larger of both. How much of the gap stays as the pool grows is not known well: resampled
curves draw the power of the ratio.

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

SHARE_SPREAD = 0.5
"""Standard deviation of the share of the log gap of GCV and leave-one-out that stays."""

Extrapolate = Callable[[Curves], Below]


def curves(pool: Spectrum) -> Curves:
    """Curves of the pool as GCV has them, with a tail where it does not resolve every mode.

    Raises:
        NumericalError: Too few points in the range that the tail is fitted on.
    """
    return _completed(pool, _whole(pool), lambda whole: power_tail(whole, pool.directions))


def likely_curves(influence: Influence) -> Curves:
    """Curves of the pool, extrapolated within its number of features where that is known.

    Raises:
        NumericalError: Too few points in the range that the extrapolation is fitted on.
    """
    whole = _whole(influence.pool)
    likely = replace(whole, floor=whole.floor * _correction(influence))
    return _completed(influence.pool, likely, _likely(influence))


def _correction(influence: Influence) -> Float64[np.ndarray, " g"]:
    """What takes B + noise of GCV to the larger of both estimates."""
    return np.maximum(1.0, influence.loo_ratios(deltas(influence.pool)))


def _whole(pool: Spectrum) -> Curves:
    sums = pool_sums(pool, deltas(pool))
    return measured(pool, sums.delta, sums.s1, sums.s2, sums.energy)


def _likely(influence: Influence) -> Extrapolate:
    directions, features = influence.pool.directions, influence.features
    if features is None:
        return lambda whole: power_tail(whole, directions)
    return lambda whole: atomic(whole, directions, features)


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

    Each has its own share of the gap of GCV and leave-one-out. Draws that cannot be extrapolated
    are left out.
    """
    pool, extrapolate = influence.pool, _likely(influence)
    sums = pool_sums(pool, deltas(pool))
    grid, whole = np.log(sums.delta), (sums.s1, sums.s2, sums.energy)
    rng = np.random.default_rng(seed)
    looked = influence.s1.shape[1]
    counts = rng.multinomial(pool.n, np.full(looked, 1 / looked), size=draws)
    shares, correction = SHARE_SPREAD * rng.standard_normal(draws), _correction(influence)
    gaps = np.log(influence.loo_ratios(sums.delta))
    extra = counts - pool.n / looked  # each sample stands for so many
    changes = [-extra @ part.T for part in (influence.s1, influence.s2, influence.energy)]
    result = []
    for draw in range(draws):
        moved: list[Float64[np.ndarray, " g"]] = [
            value * np.exp(np.interp(grid, influence.log_delta, change[draw]))
            for value, change in zip(whole, changes, strict=True)
        ]
        drawn = measured(pool, sums.delta, *moved)
        drawn = replace(drawn, floor=drawn.floor * correction)
        try:
            one = _completed(pool, drawn, extrapolate)
        except NumericalError:
            continue
        reach = np.maximum(one.kappa, one.trusted)
        gap = np.interp(np.log(reach), np.log(drawn.kappa), gaps)
        result.append(replace(one, floor=one.floor * np.exp(shares[draw] * gap)))
    return result
