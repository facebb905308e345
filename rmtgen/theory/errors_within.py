"""0-1 errors of fits of n ≤ N samples, from the leave-one-out scores of a pool of N.

The scores at the effective ridge κ of (n, λ), with the noise that n ≤ N samples add, say how often
a fit of n samples is wrong (`loo_scores`). The ratio of the risks is κ'_n/κ'_N (`transport`). The
standard error is that of the jackknife, and half of what classes that a fit lacks could add.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rmtgen.errors import UsageError
from rmtgen.ridge.interval import LEAST_SAMPLES
from rmtgen.scalars import instance
from rmtgen.theory.influence import Influence
from rmtgen.theory.loo_scores import LooScores, Scores
from rmtgen.theory.transport import at_delta, transported

_CURE = "Compute it: pool_influence."


def loo_scores(influence: Influence) -> LooScores:
    """What the errors of a pool follow from.

    Raises:
        UsageError: Not an influence, or its targets encode no classes.
    """
    influence = instance(influence, Influence, "influence", _CURE)
    if influence.scores is None:
        raise UsageError(
            "an error needs targets that encode classes: got targets that are no words of a class"
            " code. Encode labels: encode_targets."
        )
    return influence.scores


@dataclass(frozen=True, eq=False)
class Fit:
    """What is known of a fit of n ≤ N samples.

    Attributes:
        n: Sample size.
        ridge: λ.
        scores: Scores of the pool at its κ.
        ratio: Its risk relative to theirs.
    """

    n: int
    ridge: float
    scores: Scores
    ratio: float

    def predicted(self, top: int = 1) -> "Within":
        """The error of `top` guesses."""
        chances = self.scores.wrong(self.ratio, top).cpu().numpy()
        count, moves = len(chances), np.full(len(chances), np.nan)
        if count >= LEAST_SAMPLES and np.isfinite(self.ratio):
            learnt = self.scores.learnt(self.scores.slopes(self.ratio, top)).cpu().numpy()
            moves = learnt / count - (chances - chances.mean()) / (count - 1)
        return Within(self.n, self.ridge, chances, moves, self.scores.pool.unseen(self.n))


@dataclass(frozen=True, eq=False)
class Within:
    """The error of a fit of n ≤ N samples, and what it rests on.

    Attributes:
        n: Sample size.
        ridge: λ.
        chances: Chance of each sample of the pool of being wrong.
        moves: Change of the error when each sample leaves the pool; NaN where that is not known,
            for a risk of ∞ and for a pool that is too small.
        unseen: Share of samples whose class the fit lacks, and the pool does not.
    """

    n: int
    ridge: float
    chances: Float64[np.ndarray, " N"]
    moves: Float64[np.ndarray, " N"]
    unseen: float

    @property
    def error(self) -> float:
        """The error."""
        return float(self.chances.mean())

    @property
    def spread(self) -> float:
        """Its standard error: that of the jackknife, and `doubt`."""
        return float(np.hypot((len(self.moves) - 1) ** 0.5 * self.moves.std(), self.doubt))

    @property
    def doubt(self) -> float:
        """Half of what the error would be more if every sample of an unseen class were wrong.

        Each is, but the noise does not know: it makes the others err too often instead.
        """
        return self.unseen * (1 - self.error) / 2


def fits_within(influence: Influence, ridges: np.ndarray, sizes: np.ndarray) -> Iterator[Fit]:
    """The fits at pairs of λ and n ≤ N, in turn.

    Raises:
        UsageError: Targets that encode no classes, or as `transported`.
    """
    source, pool = loo_scores(influence), influence.pool
    predicted = transported(pool, ridges, sizes)
    whole = at_delta(pool, predicted.delta, np.full(len(sizes), pool.n), sizes.shape)
    ratios = np.maximum(1.0, predicted.risk / whole.risk)
    found = source.at_each(predicted.delta)
    for n, ridge, scores, ratio in zip(sizes, ridges, found, ratios, strict=True):
        yield Fit(int(n), ridge, scores, ratio)


def error_within(influence: Influence, n: float, ridge: float, top: int) -> Within:
    """The error of `top` guesses of one fit.

    Raises:
        UsageError: As `fits_within`.
    """
    (fit,) = fits_within(influence, np.array([ridge]), np.array([float(n)]))
    return fit.predicted(top)


def errors_within(
    influence: Influence, ridges: np.ndarray, sizes: np.ndarray
) -> Float64[np.ndarray, "2 l"]:
    """Errors and standard errors at pairs of λ and n ≤ N.

    They are made in the order of the pool's sum ridge: neighbours share draws of the noise.

    Raises:
        UsageError: As `fits_within`.
    """
    order = np.argsort(transported(influence.pool, ridges, sizes).delta)
    found = np.empty((2, len(sizes)))
    for place, fit in zip(order, fits_within(influence, ridges[order], sizes[order]), strict=True):
        predicted = fit.predicted()
        found[:, place] = predicted.error, predicted.spread
    return found
