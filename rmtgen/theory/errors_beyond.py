"""0-1 errors of fits of more samples than a pool has, from those within it and its forecasts.

They lie on a line (`discrimination`) through the errors at N, N/2 and N/4, at the share of the
targets that the curves of the pool explain: all at one ridge, or each at its best ridge. The
standard error is that of the line, and of what the curves of resampled pools explain. The error at
N, leave-one-out's, need not lie on the line; at the best ridge no larger size has more than it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rmtgen.ridge.interval import LEAST_SAMPLES
from rmtgen.theory.curves import Curves
from rmtgen.theory.discrimination import Guesses, Line, explained, separation
from rmtgen.theory.errors_within import Within, error_within, loo_scores
from rmtgen.theory.forecast import FEWEST, Forecasts
from rmtgen.theory.influence import Influence
from rmtgen.theory.loo_scores import LooScores

PARTS = (1, 1 / 2, 1 / 4)
"""Shares of the pool whose errors the line goes through."""


@dataclass(frozen=True, eq=False)
class Beyond:
    """The error of a fit of more samples than the pool has.

    Attributes:
        n: Sample size.
        ridge: λ.
        error: The error.
        spread: Its standard error; NaN for a pool below 8 samples.
        whole: The error of a fit of N samples.
    """

    n: int
    ridge: float
    error: float
    spread: float
    whole: Within

    @property
    def chances(self) -> Float64[np.ndarray, " N"]:
        """Chance of each sample of the pool of being wrong.

        Its share of the errors at N samples, or of what was right there if more are wrong.
        """
        known = self.whole.error
        if self.error > known:
            return 1 - (1 - self.whole.chances) * (1 - self.error) / (1 - known)
        return self.whole.chances * (self.error / known) if known else self.whole.chances


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """Errors beyond a pool, all at one ridge or each at its best ridge.

    Attributes:
        forecasts: What the risks of the pool are read from.
        source: What the errors within it follow from.
        ridge: λ; None for the best one of each size.
        whole: The error of a fit of N samples.
        line: The line that errors lie on.
    """

    forecasts: Forecasts
    source: LooScores
    ridge: float | None
    whole: Within
    line: Line

    @classmethod
    def of(
        cls,
        influence: Influence,
        forecasts: Forecasts,
        ridge: float | None,
        top: int,
        whole: Within | None = None,
    ) -> "Extrapolation":
        """Those of `top` guesses that go on from a pool.

        Args:
            influence: Influence of the pool.
            forecasts: Those of its risk.
            ridge: λ; None for the best one of each size.
            top: Number of guesses.
            whole: The error of a fit of N samples at λ, or near its best ridge, where it is known.

        Raises:
            UsageError: Targets that encode no classes.
            NumericalError: A pool too small to forecast from.
        """
        source, curves, count = loo_scores(influence), forecasts.point, influence.pool.n
        sizes = sorted({max(FEWEST, round(part * count)) for part in PARTS}, reverse=True)
        known = [] if whole is None or _beyond(curves, whole) else [whole]
        for n in sizes[len(known) :]:
            known.append(error_within(influence, n, curves.fit(n, ridge)[0], top))
        seen = [one for one in known if np.isfinite(one.spread)]
        line = Line.fitted(
            Guesses.of(source.counts.cpu().numpy(), top),
            np.array([max(one.error, 1 / (2 * count)) for one in seen]),
            covariance(np.array([one.moves for one in seen]).reshape(-1, count))
            + np.diag([one.doubt**2 for one in seen]),
            np.array([_separation(curves, one.n, one.ridge, source) for one in seen]),
        )
        return cls(forecasts, source, ridge, known[0], line)

    def error(self, n: float) -> Beyond:
        """The error of a fit of n samples."""
        point, draws = self.forecasts.point, self.forecasts.draws
        known = _separation(point, n, self.ridge, self.source)
        drawn = np.array([_separation(one, n, self.ridge, self.source) for one in draws])
        errors = self.line.errors(drawn[np.isfinite(drawn)])
        enough = len(self.whole.chances) >= LEAST_SAMPLES and 2 * errors.size > len(draws)
        spread = np.hypot(self.line.spread(known), errors.std()) if enough else np.nan
        ridge = point.fit(n, self.ridge)[0]
        error = float(self.line.errors(np.array([known]))[0])
        if self.ridge is None:
            error = min(error, self.whole.error)
        # chance is known from the pool's shares alone
        spread = max(spread, (error * (1 - error) / len(self.whole.chances)) ** 0.5)
        return Beyond(int(n), ridge, error, float(spread), self.whole)


def _beyond(curves: Curves, fit: Within) -> bool:
    """Whether the curves do not reach the ridge of a fit."""
    return not np.isfinite(curves.fit(fit.n, fit.ridge)[1])


def covariance(moves: Float64[np.ndarray, "k N"]) -> Float64[np.ndarray, "k k"]:
    """That of errors by the jackknife, plus one sample: of none wrong it knows nothing."""
    count = moves.shape[1]
    centred = moves - moves.mean(axis=1, keepdims=True)
    return (count - 1) / count * centred @ centred.T + np.eye(len(moves)) / count**2


def _separation(curves: Curves, n: float, ridge: float | None, source: LooScores) -> float:
    """θ of fits of n samples; NaN where the curves do not reach λ."""
    _, risk, kappa = curves.fit(n, ridge)
    return separation(source.classes, explained(curves, kappa, risk, source.centre))
