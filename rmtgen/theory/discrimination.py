"""0-1 errors from the share of their targets that fits explain, where no scores are known.

A fit f of c classes and the centred targets y of power P have the mean C = ⟨y, f⟩ in common; V is
the power of f. A factor does not change the order of scores, so that what counts is the share
s = C²/(VP) that the best one explains. Were scores normal around the mean of their class, and all
classes alike, the own score would exceed the others by

    θ = √(c·s/(1 − s))

standard deviations, and a sample would be wrong as often as a normal number of mean d' = θ is not
the largest of c (m alternatives). Classes differ, and fits of few samples are not normal, so that

    log d' = a + b·log θ.

a and b follow from errors that a pool predicts within itself, by generalised least squares: they
have the covariance of the jackknife, and a normal prior, since the errors of few samples of many
classes say little.

The curves of a population have C at every effective ridge κ. With ⟨y, f⟩ = Σ_k v_k s_k/(s_k + κ) of
the mean fit, P − C is the mean of B + noise over 1/κ' from 0 to 1/κ; and V = R − P + 2C.

References: Green & Swets 1966, Signal Detection Theory and Psychophysics (d' of m alternatives);
Hausser & Strimmer 2009 (shares of few samples, shrunk).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import bdtrc, ndtr

from rmtgen.theory.curves import Curves

PRIOR = np.array([0.05, 0.8])
"""Mean of a and b before a pool is seen. Together with what follows it was chosen on linear scores,
MNIST, CIFAR-100 and digits."""
PRIOR_SPREAD = np.array([0.12, 0.25])
"""Their standard deviations."""
ROUGHNESS = 0.02
"""Standard deviation of log d' about the line."""
STEP = 0.01
"""Step of the table of d'."""
LARGEST = 10.0
"""Largest d' of the table: errors are 1e-12 of two classes, 1e-9 of a thousand."""
LEAST = 0.05
"""Smallest d' that an error is taken for: near chance its logarithm is not known."""
REACH = 8.5
"""Standard deviations of the scores that an error is summed over."""


@dataclass(frozen=True)
class Guesses:
    """How often `top` guesses among classes err.

    Attributes:
        classes: Number c of classes.
        top: Number of guesses.
        chance: Error of guesses that know the shares of the classes alone.
    """

    classes: int
    top: int
    chance: float

    @classmethod
    def of(cls, counts: np.ndarray, top: int) -> "Guesses":
        """Those of a pool with so many samples of each class.

        The shares of few samples are uneven by chance: they are drawn to equal ones as far as that
        goes.
        """
        classes, shares = len(counts), counts / counts.sum()
        noise = (1 - np.square(shares).sum()) / max(1, counts.sum() - 1)
        uneven = np.square(shares - 1 / classes).sum()
        pull = min(1.0, noise / uneven) if uneven > 0 else 1.0
        largest = np.sort(shares)[classes - top :].sum()
        return cls(classes, top, 1 - (1 - pull) * largest - pull * top / classes)

    def error(self, index: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """The error at d' ≥ 0."""
        steps, errors = _table(self.classes, self.top)
        return self.chance / errors[0] * np.interp(index, steps, errors)

    def index(self, errors: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """The d' of errors > 0; 0 from that of chance on."""
        steps, known = _table(self.classes, self.top)
        return np.interp(-np.log(errors / self.chance), -np.log(known / known[0]), steps)

    def slope(self, index: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """Derivative of the error in d', negative."""
        steps, errors = _table(self.classes, self.top)
        return self.chance / errors[0] * np.interp(index, steps, np.gradient(errors, STEP))


@lru_cache
def _table(classes: int, top: int) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """The d' and the error of `top` guesses where all classes are alike."""
    own = np.arange(-REACH, REACH + STEP / 2, STEP)
    density = np.exp(-np.square(own) / 2)
    steps = np.arange(0.0, LARGEST + STEP / 2, STEP)
    scores = own[0] + STEP * np.arange(len(own) + len(steps) - 1)
    lost = bdtrc(top - 1, classes - 1, ndtr(-scores))
    return steps, np.correlate(lost, density / density.sum(), "valid")


def separation(classes: int, share: float) -> float:
    """θ of fits that explain a share in [0, 1) of their targets."""
    return float((classes * share / (1 - share)) ** 0.5)


def explained(curves: Curves, kappa: float, risk: float, centre: float) -> float:
    """Share of the targets that a fit explains; 0 where it explains none.

    NaN without a risk, and where a fit has learnt less than half of the mean of the targets: errors
    then are not those of chance.

    Args:
        curves: Curves of the population.
        kappa: κ of the fit.
        risk: Its risk.
        centre: Squared norm of the mean of the targets.
    """
    learnt = np.interp(np.log(kappa), np.log(curves.kappa), curves.learnt)
    if np.isnan(risk) or learnt < centre / 2:
        return np.nan
    power, common = curves.floor[-1] - centre, learnt - centre
    own = risk - power + 2 * common
    if not (common > 0 and own > 0):
        return 0.0
    return float(min(common**2 / (own * power), 1 - np.finfo(float).eps))


@dataclass(frozen=True, eq=False)
class Line:
    """log d' = a + b·log θ.

    Attributes:
        guesses: What errs.
        means: a and b.
        covariance: Their covariance (2, 2).
    """

    guesses: Guesses
    means: Float64[np.ndarray, " 2"]
    covariance: Float64[np.ndarray, "2 2"]

    @classmethod
    def fitted(
        cls,
        guesses: Guesses,
        errors: Float64[np.ndarray, " k"],
        covariance: Float64[np.ndarray, "k k"],
        separations: Float64[np.ndarray, " k"],
    ) -> "Line":
        """The line through errors with a covariance, at their θ.

        Those with θ = 0 do not count.
        """
        seen = np.flatnonzero(separations > 0)
        index = np.maximum(guesses.index(errors[seen]), LEAST)
        scale = 1 / (index * guesses.slope(index))
        noise = covariance[np.ix_(seen, seen)] * np.outer(scale, scale)
        noise = noise + ROUGHNESS**2 * np.eye(len(seen))
        design = np.stack([np.ones(len(seen)), np.log(separations[seen])], axis=1)
        weights = np.linalg.solve(noise, design).T
        prior = np.diag(PRIOR_SPREAD**-2.0)
        known = np.linalg.inv(weights @ design + prior)
        return cls(guesses, known @ (weights @ np.log(index) + prior @ PRIOR), known)

    def errors(self, separations: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """The errors at θ ≥ 0."""
        return self.guesses.error(np.exp(self.means[0]) * separations ** self.means[1])

    def spread(self, separation: float) -> float:
        """Its standard error at a known θ."""
        if separation == 0:
            return 0.0
        place = np.array([1.0, np.log(separation)])
        index = np.exp([place @ self.means])
        deviation = np.sqrt(place @ self.covariance @ place + ROUGHNESS**2)
        return float(-self.guesses.slope(index)[0] * index[0] * deviation)
