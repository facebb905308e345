"""0-1 errors at every sample size and ridge from one pool, and the calibration of its scores.

The leave-one-out scores of a pool of N samples at the effective ridge κ of (n, λ), with the noise
that n samples add, say how often a fit of n samples is wrong (`loo_scores`). The ratio r of their
risks is κ'_n/κ'_N for n ≤ N (`transport`). Beyond the pool it is the forecast's risk over the
pool's at the same κ, or where the pool does not reach κ, at the smallest κ that it is trusted at
(`forecast`).

Intervals are those of Wilson for as many independent samples as have the standard error of the
jackknife. Beyond the pool that of the forecast is a part of it.

References: Wilson 1927 (intervals of a share); Guo, Pleiss, Sun & Weinberger 2017, arXiv 1706.04599
(temperatures).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_number
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge.interval import LEAST_SAMPLES, NORMAL_QUANTILE
from rmtgen.scalars import instance, whole_number
from rmtgen.theory.forecast import TRUSTED, deltas, forecast
from rmtgen.theory.influence import Influence
from rmtgen.theory.loo_scores import LooScores, Scores
from rmtgen.theory.transport import at_delta, pool_sums, transported

STEP = 1.1
"""Ratio of the risks between which the slope of an error is taken."""
TINY = 1e-9
"""Smallest standard error of an interval."""
BINS = 15
"""Number of bins of a calibration error, of as many samples each."""
TEMPERATURES = (1e-4, 1e3)
"""Range of the temperature, relative to the deviation of the scores."""
HALVINGS = 50
"""Number of halvings of that range."""

_CURE = "Compute it: pool_influence."


@dataclass(frozen=True, eq=False)
class Fit:
    """What the errors of a fit of n samples follow from.

    Attributes:
        n: Sample size.
        ridge: λ.
        source: What the scores of the pool are made from.
        delta: δ of the pool at the κ of the fit.
        scores: The scores there.
        ratio: The risk of the fit relative to theirs.
        spread: Standard error of the logarithm of a forecast risk.
        extrapolated: Whether the risk rests on a tail.
    """

    n: int
    ridge: float
    source: LooScores
    delta: float
    scores: Scores
    ratio: float
    spread: float = 0.0
    extrapolated: bool = False

    def error(self, top: int = 1) -> tuple[float, float]:
        """The error, and its standard error from the draw of the pool; NaN for a risk of NaN.

        The standard error is NaN also for a risk of ∞, and for too small a pool.
        """
        chances = self.scores.wrong(self.ratio, top)
        count, error = len(chances), chances.mean().item()
        if count < LEAST_SAMPLES or not np.isfinite(self.ratio):
            return error, np.nan
        slopes = self.scores.slopes(self.ratio, top)
        learnt = self.source.learnt(self.scores, self.delta, slopes) / count
        moves = learnt - (chances - error) / (count - 1)
        spread = (count - 1) ** 0.5 * moves.std(correction=0).item()
        if self.spread:
            more = self.scores.wrong(STEP * self.ratio, top).mean().item()
            spread = float(np.hypot(spread, self.spread * (more - error) / np.log(STEP)))
        return error, spread


def fits_within(influence: Influence, ridges: np.ndarray, sizes: np.ndarray) -> Iterator[Fit]:
    """The fits at pairs of λ and n ≤ N, in turn.

    Raises:
        UsageError: Targets that encode no classes, or as `transported`.
    """
    source, pool = loo_scores(influence), influence.pool
    predicted = transported(pool, ridges, sizes)
    whole = at_delta(pool, predicted.delta, np.full(len(sizes), pool.n), sizes.shape)
    ratios = np.maximum(1.0, predicted.risk / whole.risk)
    for n, ridge, delta, ratio in zip(sizes, ridges, predicted.delta, ratios, strict=True):
        yield Fit(int(n), ridge, source, delta, source.at(delta), ratio)


def _fits(influence: Influence, sizes: ArrayLike, ridges: ArrayLike | None) -> Iterator[Fit]:
    """The fits at every size and ridge, or at the best ridge of each size, sizes outer."""
    source, pool, made = loo_scores(influence), influence.pool, {}
    for row in forecast(influence, sizes, ridges=ridges).itertuples():
        if row.n <= pool.n:
            yield next(fits_within(influence, np.array([row.ridge]), np.array([float(row.n)])))
            continue
        delta, risk = _reached(pool, row.n, row.ridge)
        if delta not in made:
            made[delta] = source.at(delta)
        spread = np.log(row.high / row.low) / (2 * NORMAL_QUANTILE)
        ratio = row.predicted_risk / risk
        scores = made[delta]
        yield Fit(row.n, row.ridge, source, delta, scores, ratio, spread, row.extrapolated)


def _reached(pool: Spectrum, n: int, ridge: float) -> tuple[float, float]:
    """δ of the pool at the κ of n > N samples, or at the smallest κ trusted, and its risk there."""
    grid = deltas(pool)
    sums = pool_sums(pool, grid)
    measured = (
        grid if pool.null_dim else grid[pool.directions - sums.s1 <= TRUSTED * pool.directions]
    )
    with np.errstate(divide="ignore"):
        wanted = np.log(n * ridge)
    log_delta = np.interp(wanted, np.log(grid + (n - pool.n) * sums.kappa), np.log(grid))
    log_delta = max(log_delta, np.log(measured[0]))
    risks = pool.n * sums.energy / np.square(sums.s1)
    return float(np.exp(log_delta)), float(
        np.exp(np.interp(log_delta, np.log(grid), np.log(risks)))
    )


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
    return pd.DataFrame([_row(fit, top) for fit in _fits(influence, sizes, ridges)])


def _row(fit: Fit, top: int) -> dict[str, float]:
    error, spread = fit.error(top)
    low, high = interval(error, spread, len(fit.scores.labels))
    return {
        "n": fit.n,
        "ridge": fit.ridge,
        "predicted_error": error,
        "predicted_error_se": spread,
        "low": low,
        "high": high,
        "extrapolated": fit.extrapolated,
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
    fit = next(_fits(influence, [n], ridge))
    chances, labels = fit.scores.wrong(fit.ratio).cpu().numpy(), fit.scores.labels.cpu().numpy()
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
        sizes: Sample sizes n ≥ 2.
        ridges: λ ≥ 0, or None for the ridge of smallest risk at each size.

    Returns:
        One row per (n, λ): `n ridge temperature log_loss calibration_error`; the last is the mean
        absolute difference of confidence and accuracy over 15 bins of as many samples each. NaN
        where the forecast does not reach λ, or the risk is ∞.

    Raises:
        UsageError: Targets that encode no classes, n < 2, or a negative ridge.
        NumericalError: A pool too small to forecast from.
    """
    return pd.DataFrame([_calibrated(fit) for fit in _fits(influence, sizes, ridges)])


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
