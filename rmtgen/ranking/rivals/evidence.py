"""LogME: the largest log evidence of a Bayesian linear model of the labels.

Notation: n images, p features, c classes; K = XXᵀ = U diag(s) Uᵀ with r positive s; for one class,
y is 1 at its images and 0 elsewhere, z = Uᵀy, and z₀² = ‖y‖² − ‖z‖² lies outside the span.

The model is y = Xw + noise, w ~ N(0, I/a) and noise ~ N(0, I/b), so that y ~ N(0, I/b + K/a). With
t = a/b the best b is n/S, and the evidence is a function of t alone:

    L(t) = −(n/2)(log 2π + 1 + log(S/n)) − ½ Σ log(1 + s/t),    S = z₀² + Σ z² t/(t + s).

The paper iterates a ← γ/‖m‖², b ← (n − γ)/‖Xm − y‖², m the posterior mean of w and
γ = Σ s/(t + s). In t this rests where γ/n = Q/S, Q = Σ z² ts/(t + s)², which is L′ = 0, and it
always moves uphill in L. Started at one place it may stop at the lesser of two maxima, and where L
grows up to t = 0 or t = ∞ it runs away until its arithmetic fails. Here every maximum is bracketed
on a grid of t and found by root finding, and both limits are compared with it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.optimize
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.linalg.modes import EPS64, feature_modes
from rmtgen.ranking.rivals.inputs import Labelled, labelled_features

STEP = 2**0.5
"""Ratio of neighbouring t on the grid. In log t no factor of L turns within less than 1."""
BEYOND = 1e8
"""How far the grid goes beyond the eigenvalues, as a factor. L is within n·1e-16 of its limits
there."""


@public
def logme(features: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """LogME: max over (a, b) of log p(y | X, a, b)/n, the mean over classes.

    It does not depend on the unit or the basis of the features, but on their origin: the model has
    no intercept. All comes from one singular value decomposition.

    Args:
        features: X (n, p), float32 or float64; computed in float64.
        labels: (n,) integers.

    Returns:
        The score; larger is better. ∞ where the features reproduce the labels of a class exactly
        although their rank is below n: the evidence grows without bound as the noise vanishes.

    Raises:
        UsageError: Not a matrix and a vector of integers of one length; fewer than two images or
            classes; equal features for all images.
        NumericalError: NaN or infinite entries, or a failed decomposition.

    References:
        You, Liu, Wang & Long, LogME: practical assessment of pre-trained models for transfer
        learning, ICML 2021.
    """
    data = labelled_features(features, labels)
    return float(_evidence(data).largest().mean()) / len(data.labels)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """L(t) of every class.

    Attributes:
        n: Number of images.
        values: s over the largest, which moves t and leaves L as it is.
        inside: z² of each class.
        outside: z₀² of each class.
    """

    n: int
    values: Float64[np.ndarray, " r"]
    inside: Float64[np.ndarray, "r c"]
    outside: Float64[np.ndarray, " c"]

    def largest(self) -> Float64[np.ndarray, " c"]:
        """The supremum of L over t in (0, ∞)."""
        grid, best = self._grid(), np.maximum(self._at_zero(), self._at_infinity())
        slopes = self._slopes(grid)
        for place, k in np.argwhere((slopes[:-1] > 0) & (slopes[1:] <= 0)):
            one = replace(self, inside=self.inside[:, [k]], outside=self.outside[[k]])
            peak = scipy.optimize.brentq(one._slope, grid[place], grid[place + 1])
            best[k] = max(best[k], one._at(math.exp(peak)))
        return best

    def _at(self, t: float) -> float:
        """L(t) of the only class."""
        spread = self.outside + (t / (t + self.values)) @ self.inside
        return self._of(spread).item() - np.log1p(self.values / t).sum() / 2

    def _slope(self, log_t: float) -> float:
        return self._slopes(np.array([log_t])).item()

    def _slopes(self, log_t: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, "g c"]:
        """(2/n) dL/d log t = γ/n − Q/S."""
        t = np.exp(log_t)[:, None]
        kept, shrunk = t / (t + self.values), self.values / (t + self.values)
        spread = self.outside + kept @ self.inside
        return shrunk.sum(axis=1, keepdims=True) / self.n - (kept * shrunk) @ self.inside / spread

    def _at_infinity(self) -> Float64[np.ndarray, " c"]:
        """The limit of L where the features are not used: S = ‖y‖²."""
        return self._of(self.outside + self.inside.sum(axis=0))

    def _at_zero(self) -> Float64[np.ndarray, " c"]:
        """The limit of L where the noise vanishes: finite if X has the rank n, else ±∞."""
        if len(self.values) < self.n:
            return np.where(self.outside > 0, -np.inf, np.inf)
        return self._of((1 / self.values) @ self.inside) - np.log(self.values).sum() / 2

    def _of(self, spread: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
        return -self.n / 2 * (math.log(2 * math.pi) + 1 + np.log(spread / self.n))

    def _grid(self) -> Float64[np.ndarray, " g"]:
        """Values of log t far below and above all s; below also where z₀² and S − z₀² are equal."""
        noisy = (self.outside > 0) & self.inside.any(axis=0)
        equal = self.outside[noisy] / ((1 / self.values) @ self.inside[:, noisy])
        low = min([self.values[-1], *equal])
        return np.arange(math.log(low / BEYOND), math.log(STEP * BEYOND), math.log(STEP))


def _evidence(data: Labelled) -> _Evidence:
    """The quantities of L; of z₀² what rounding may leave is 0."""
    modes = feature_modes(data.rows)
    coefficients, null_parts = modes.split_rows(data.onehot)
    outside = coefficients.new_zeros(len(data.classes))
    for _, part in null_parts:
        outside += part.square().sum(dim=0)
    rounding = (10 * max(data.rows.shape) * EPS64) ** 2 * data.counts
    outside = outside.where(outside > rounding, 0.0)
    arrays = modes.values / modes.values[0], coefficients.square(), outside
    return _Evidence(modes.n, *(array.cpu().numpy() for array in arrays))
