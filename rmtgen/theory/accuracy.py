"""0-1 errors at every sample size and ridge from one pool, and the calibration of its scores.

Those of n ≤ N samples follow from the leave-one-out scores of the pool (`errors_within`), those of
more from its forecasts (`errors_beyond`). Intervals are those of Wilson for as many independent
samples as have the standard error.

References: Wilson 1927 (intervals of a share); Guo, Pleiss, Sun & Weinberger 2017, arXiv 1706.04599
(temperatures).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_number
from rmtgen.entrance import public
from rmtgen.ridge.shares import wilson as interval
from rmtgen.scalars import whole_number
from rmtgen.theory.errors_beyond import Beyond, Extrapolation
from rmtgen.theory.errors_within import Fit, Within, error_within, fits_within, loo_scores
from rmtgen.theory.forecast import Forecasts, forecast, sizes_and_ridges
from rmtgen.theory.influence import Influence

BINS = 15
"""Number of bins of a calibration error, of as many samples each."""
TEMPERATURES = (1e-4, 1e3)
"""Range of the temperature, relative to the deviation of the scores."""
HALVINGS = 50
"""Number of halvings of that range."""


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
        where the forecast does not reach λ, and beyond the pool where fits have not learnt the mean
        of the targets.

    Raises:
        UsageError: Targets that encode no classes, n < 2, a negative ridge, or as many guesses as
            classes.
        NumericalError: A pool too small to forecast from.
    """
    most = loo_scores(influence).classes - 1
    top = whole_number(top, "top", least=1, most=most, cure="Take fewer guesses than classes.")
    pairs = sizes_and_ridges(sizes, ridges)
    return errors_foreseen(influence, Forecasts.of(influence), pairs, top)


def errors_foreseen(
    influence: Influence,
    found: Forecasts,
    pairs: Sequence[tuple[float, float | None]],
    top: int,
    whole: Within | None = None,
) -> pd.DataFrame:
    """The rows of `predicted_error` at pairs of `sizes_and_ridges`, from forecasts that are there.

    Args:
        influence: Influence of a pool.
        found: Its forecasts.
        pairs: Sizes and ridges.
        top: Number of guesses.
        whole: As of `Extrapolation.of`, where all pairs are of one ridge or of the best ones.

    Raises:
        UsageError: Targets that encode no classes.
        NumericalError: A pool too small to forecast from.
    """
    return pd.DataFrame([_row(*one) for one in _predictions(influence, found, pairs, top, whole)])


def _predictions(
    influence: Influence,
    forecasts: Forecasts,
    pairs: Sequence[tuple[float, float | None]],
    top: int,
    whole: Within | None = None,
) -> Iterator[tuple[Within | Beyond, bool]]:
    """The errors at every pair of a size and a ridge, or the best ridge of the size, in turn.

    Each with whether its forecast rests on an extrapolation.
    """
    lines: dict[float | None, Extrapolation] = {}
    for n, ridge in pairs:
        chosen, _, kappa = forecasts.point.fit(n, ridge)
        if n > influence.pool.n and ridge not in lines:
            lines[ridge] = Extrapolation.of(influence, forecasts, ridge, top, whole)
        is_within = n <= influence.pool.n
        found = error_within(influence, n, chosen, top) if is_within else lines[ridge].error(n)
        yield found, not is_within and kappa < forecasts.point.trusted


def _row(found: Within | Beyond, extrapolated: bool) -> dict[str, float]:
    low, high = interval(found.error, found.spread, len(found.chances))
    return {
        "n": found.n,
        "ridge": found.ridge,
        "predicted_error": found.error,
        "predicted_error_se": found.spread,
        "low": low,
        "high": high,
        "extrapolated": extrapolated,
    }


@public
def class_errors(influence: Influence, n: int, *, ridge: float | None = None) -> pd.DataFrame:
    """0-1 error of each class at one size, with 95 % intervals.

    Args:
        influence: Influence of a pool of labelled samples, from `pool_influence`.
        n: Sample size, ≥ 2.
        ridge: λ ≥ 0, or None for the ridge of smallest risk.

    Returns:
        One row per class: `class samples predicted_error low high`, `samples` the number of the
        pool, of which the interval is Wilson's; NaN for a class that the pool lacks.

    Raises:
        UsageError: Targets that encode no classes, n < 2, or a negative ridge.
        NumericalError: A pool too small to forecast from.
    """
    classes, n = loo_scores(influence).classes, whole_number(n, "n", least=2)
    ridge = None if ridge is None else real_number(ridge, "ridge")
    pairs = sizes_and_ridges([n], ridge)
    found, _ = next(_predictions(influence, Forecasts.of(influence), pairs, 1))
    chances, labels = found.chances, loo_scores(influence).labels.cpu().numpy()
    rows = []
    for number in range(classes):
        own = chances[labels == number]
        row = {"class": number, "samples": len(own)}
        if len(own):
            error = own.mean()
            low, high = interval(error, (error * (1 - error) / len(own)) ** 0.5, len(own))
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
