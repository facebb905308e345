"""0-1 errors at every sample size and ridge from one pool, and the calibration of its scores.

The leave-one-out scores of a pool of N samples at the effective ridge κ of (n, λ), with the noise
that n ≤ N samples add, say how often a fit of n samples is wrong (`loo_scores`). The ratio of the
risks is κ'_n/κ'_N (`transport`).

Beyond the pool errors follow the risk R of the forecast by a power law through those that the pool
predicts at N and at N/4,

    log E_n = log E_N + (log E_{N/4} − log E_N)·log(R_n/R_N)/log(R_{N/4}/R_N),

all at one ridge, or at the best ridge of each size.

Intervals are those of Wilson for as many independent samples as have the standard error of the
jackknife. Beyond the pool that of the forecast is a part of it.

References: Wilson 1927 (intervals of a share); Guo, Pleiss, Sun & Weinberger 2017, arXiv 1706.04599
(temperatures).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_number
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.ridge.interval import LEAST_SAMPLES, NORMAL_QUANTILE
from rmtgen.scalars import instance, whole_number
from rmtgen.theory.forecast import FEWEST, forecast
from rmtgen.theory.influence import Influence
from rmtgen.theory.loo_scores import LooScores, Scores
from rmtgen.theory.transport import at_delta, transported

PART = 1 / 4
"""Share of the pool whose error shows, beside that of the pool, how errors follow risks."""
LEAST_FALL = 1.001
"""Ratio of the risks of both below which they show nothing."""
TINY = 1e-9
"""Smallest standard error of an interval."""
BINS = 15
"""Number of bins of a calibration error, of as many samples each."""
TEMPERATURES = (1e-4, 1e3)
"""Range of the temperature, relative to the deviation of the scores."""
HALVINGS = 50
"""Number of halvings of that range."""

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
        risk: Its risk.
        scores: Scores of the pool at its κ.
        ratio: The risk relative to theirs.
    """

    n: int
    ridge: float
    risk: float
    scores: Scores
    ratio: float

    def predicted(self, top: int = 1) -> "Predicted":
        """The error of `top` guesses."""
        chances = self.scores.wrong(self.ratio, top).cpu().numpy()
        count, moves = len(chances), np.full(len(chances), np.nan)
        if count >= LEAST_SAMPLES and np.isfinite(self.ratio):
            learnt = self.scores.learnt(self.scores.slopes(self.ratio, top)).cpu().numpy()
            moves = learnt / count - (chances - chances.mean()) / (count - 1)
        return Predicted(self.n, self.ridge, self.risk, chances, moves)


@dataclass(frozen=True, eq=False)
class Predicted:
    """The error of a fit of n samples, and what it rests on.

    Attributes:
        n: Sample size.
        ridge: λ.
        risk: Its risk.
        chances: Chance of each sample of the pool of being wrong.
        moves: Change of the error when each sample leaves the pool; NaN where that is not known,
            for a risk of ∞ and for a pool that is too small.
        forecast: Standard error that the forecast of the risk adds.
        extrapolated: Whether the forecast rests on an extrapolation.
    """

    n: int
    ridge: float
    risk: float
    chances: Float64[np.ndarray, " N"]
    moves: Float64[np.ndarray, " N"]
    forecast: float = 0.0
    extrapolated: bool = False

    @property
    def error(self) -> float:
        """The error."""
        return float(self.chances.mean())

    @property
    def spread(self) -> float:
        """Its standard error."""
        return float(np.hypot((len(self.moves) - 1) ** 0.5 * self.moves.std(), self.forecast))


def fits_within(influence: Influence, ridges: np.ndarray, sizes: np.ndarray) -> Iterator[Fit]:
    """The fits at pairs of λ and n ≤ N, in turn.

    Raises:
        UsageError: Targets that encode no classes, or as `transported`.
    """
    source, pool = loo_scores(influence), influence.pool
    predicted = transported(pool, ridges, sizes)
    whole = at_delta(pool, predicted.delta, np.full(len(sizes), pool.n), sizes.shape)
    ratios = np.maximum(1.0, predicted.risk / whole.risk)
    for place, (n, ridge) in enumerate(zip(sizes, ridges, strict=True)):
        scores = source.at(predicted.delta[place])
        yield Fit(int(n), ridge, predicted.risk[place], scores, ratios[place])


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


def _predictions(
    influence: Influence, sizes: ArrayLike, ridges: ArrayLike | None, top: int
) -> Iterator[Predicted]:
    """The errors at every size and ridge, or at the best ridge of each size, sizes outer."""
    pool, known = influence.pool, {}
    anchors = pool.n, max(FEWEST, round(PART * pool.n))
    rows = forecast(influence, sizes, ridges=ridges)
    best = forecast(influence, anchors)["ridge"] if ridges is None else None

    def within(n: int, ridge: float) -> Predicted:
        (fit,) = fits_within(influence, np.array([ridge]), np.array([float(n)]))
        return fit.predicted(top)

    for row in rows.itertuples():
        if row.n <= pool.n:
            yield within(row.n, row.ridge)
            continue
        at = (row.ridge, row.ridge) if best is None else tuple(best)
        if at not in known:
            known[at] = [within(n, ridge) for n, ridge in zip(anchors, at, strict=True)]
        yield _beyond(row, *known[at])


def _beyond(row: Any, whole: Predicted, part: Predicted) -> Predicted:
    """The error at a row of the forecast, from those of N samples and of a part of them."""
    log_risk, spread = np.log(row.predicted_risk / whole.risk), np.log(row.high / row.low)
    power, moves = 0.0, whole.moves
    if part.risk > LEAST_FALL * whole.risk and part.error > whole.error > 0:
        fall = np.log(part.risk / whole.risk)
        power, reach = np.log(part.error / whole.error) / fall, log_risk / fall
        moves = (1 - reach) * moves + reach * whole.error / part.error * part.moves
    factor = np.exp(power * log_risk)
    return Predicted(
        row.n,
        row.ridge,
        row.predicted_risk,
        factor * whole.chances,
        factor * moves,
        forecast=factor * whole.error * power * spread / (2 * NORMAL_QUANTILE),
        extrapolated=row.extrapolated,
    )


@public
def predicted_error(
    influence: Influence, sizes: ArrayLike, *, ridges: ArrayLike | None = None, top: int = 1
) -> pd.DataFrame:
    """0-1 error at sizes of any magnitude, with 95 % intervals.

    Args:
        influence: Influence of a pool of labelled samples, from `pool_influence`.
        sizes: Sample sizes n ≥ 2.
        ridges: λ ≥ 0, or None for the ridge of smallest risk at each size.
        top: Number of guesses: a sample is wrong where so many other classes score higher.

    Returns:
        One row per (n, λ): `n ridge predicted_error predicted_error_se low high extrapolated`. At
        n = N the error is that of leave-one-out. The interval is about the error of a fit, for the
        draw of the pool; NaN for a pool below 8 samples, whose variance says nothing. NaN also
        where the forecast does not reach λ.

    Raises:
        UsageError: Targets that encode no classes, n < 2, a negative ridge, or as many guesses as
            classes.
        NumericalError: A pool too small to forecast from.
    """
    most = loo_scores(influence).classes - 1
    top = whole_number(top, "top", least=1, most=most, cure="Take fewer guesses than classes.")
    return pd.DataFrame([_row(one) for one in _predictions(influence, sizes, ridges, top)])


def _row(found: Predicted) -> dict[str, float]:
    low, high = interval(found.error, found.spread, len(found.chances))
    return {
        "n": found.n,
        "ridge": found.ridge,
        "predicted_error": found.error,
        "predicted_error_se": found.spread,
        "low": low,
        "high": high,
        "extrapolated": found.extrapolated,
    }


def interval(share: float, spread: float, count: int) -> tuple[float, float]:
    """Wilson's interval of a share with a standard error; NaN where that is.

    It is that of as many independent samples as have the standard error, one at least; of `count`
    where none or all are wrong.
    """
    variance = share * (1 - share)
    size = count if variance == 0 else max(1.0, variance / max(spread, TINY) ** 2)
    reach = NORMAL_QUANTILE**2 / (np.nan if np.isnan(spread) else size)
    half = np.sqrt(reach * (variance + reach / 4))
    return (share + reach / 2 - half) / (1 + reach), (share + reach / 2 + half) / (1 + reach)


@public
def class_errors(influence: Influence, n: int, *, ridge: float | None = None) -> pd.DataFrame:
    """0-1 error of each class at one size, with 95 % intervals.

    Args:
        influence: Influence of a pool of labelled samples, from `pool_influence`.
        n: Sample size, ≥ 2.
        ridge: λ ≥ 0, or None for the ridge of smallest risk.

    Returns:
        One row per class: `class samples predicted_error low high`, `samples` the number of the
        pool; NaN for a class that the pool lacks.

    Raises:
        UsageError: Targets that encode no classes, n < 2, or a negative ridge.
        NumericalError: A pool too small to forecast from.
    """
    classes, n = loo_scores(influence).classes, whole_number(n, "n", least=2)
    ridge = None if ridge is None else real_number(ridge, "ridge")
    found = next(_predictions(influence, [n], ridge, 1))
    chances, labels = found.chances, loo_scores(influence).labels.cpu().numpy()
    rows = []
    for number in range(classes):
        own = chances[labels == number]
        row = {"class": number, "samples": len(own)}
        if len(own):
            error, spread = own.mean(), own.std() / len(own) ** 0.5
            low, high = interval(error, spread, len(own))
        else:
            error = low = high = np.nan
        rows.append(row | {"predicted_error": error, "low": low, "high": high})
    return pd.DataFrame(rows)


@public
def calibration(
    influence: Influence, sizes: ArrayLike, *, ridges: ArrayLike | None = None
) -> pd.DataFrame:
    """Temperature of the scores of fits, and how well the probabilities then say how often it errs.

    The probability of a class is the softmax of the scores over one temperature, that of the least
    logarithmic loss on leave-one-out scores.

    Args:
        influence: Influence of a pool of labelled samples, from `pool_influence`.
        sizes: Sample sizes n ≤ N, beyond which no scores are known.
        ridges: λ ≥ 0, or None for the ridge of smallest risk at each size.

    Returns:
        One row per (n, λ): `n ridge temperature log_loss calibration_error`; the last is the mean
        absolute difference of confidence and accuracy over 15 bins of as many samples each. NaN
        where the risk is ∞.

    Raises:
        UsageError: Targets that encode no classes, n < 2 or beyond the pool, or a negative ridge.
        NumericalError: A pool too small to forecast from.
    """
    loo_scores(influence)
    rows = forecast(influence, sizes, ridges=ridges)
    pairs = np.array([(row.ridge, row.n) for row in rows.itertuples()], dtype=float).reshape(-1, 2)
    return pd.DataFrame([_calibrated(fit) for fit in fits_within(influence, *pairs.T)])


def _calibrated(fit: Fit) -> dict[str, float]:
    found = dict.fromkeys(("temperature", "log_loss", "calibration_error"), np.nan)
    if np.isfinite(fit.ratio):
        values, labels = fit.scores.moved(fit.ratio), fit.scores.labels
        temperature = _temperature(values, labels)
        logs = torch.log_softmax(values / temperature, dim=1)
        found = {
            "temperature": temperature,
            "log_loss": -logs.gather(1, labels[:, None]).mean().item(),
            "calibration_error": calibration_error(logs, labels),
        }
    return {"n": fit.n, "ridge": fit.ridge} | found


def _temperature(values: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> float:
    """The temperature of least logarithmic loss, which is convex in its inverse: by bisection."""
    own = values.gather(1, labels[:, None])[:, 0]
    unit = values.std().item()
    low, high = (limit * unit for limit in TEMPERATURES)
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        shares = torch.softmax(values / middle, dim=1)
        too_sharp = ((shares * values).sum(dim=1) - own).mean() > 0
        low, high = (middle, high) if too_sharp else (low, middle)
    return (low * high) ** 0.5


def calibration_error(logs: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> float:
    """Mean absolute difference of confidence and accuracy over bins of as many samples each."""
    confidence, guesses = logs.max(dim=1)
    order = confidence.argsort(stable=True)
    gaps = (confidence.exp() - (guesses == labels).double())[order].tensor_split(BINS)
    return sum(gap.sum().abs().item() for gap in gaps) / len(labels)
