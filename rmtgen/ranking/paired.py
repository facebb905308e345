"""Which of two representations of the same samples is better, and how surely.

Both are judged on the same samples, so that most of what varies between draws of them cancels in
the difference. With d_i the difference of the two leave-one-out losses of sample i, and η that of
the two centred changes of `rmtgen.ridge.interval`, which are linear in the losses,

    SE² = var(d)/n + (1/n²) Σ_{i≠j} η_ij η_ji.

The difference of 0-1 errors has the standard error of the jackknife of its own moves, and that of
AUCs the one of `rmtgen.ranking.areas`, of the differences of what it is made from.

Where every class counts the same, those of risks and errors are those of means over classes
(`rmtgen.ridge.strata`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from rmtgen.errors import UsageError
from rmtgen.ranking.areas import area_error
from rmtgen.ranking.probe import Probe
from rmtgen.ridge.interval import LEAST_SAMPLES, NORMAL_QUANTILE, centred_covariance


@dataclass(frozen=True)
class Difference:
    """A difference with its standard error, NaN where that is not known.

    Attributes:
        value: The difference, the first less the second.
        se: Its standard error.
    """

    value: float
    se: float

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 %."""
        reach = NORMAL_QUANTILE * self.se
        return self.value - reach, self.value + reach

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out; without one nothing is."""
        return abs(self.value) > NORMAL_QUANTILE * self.se


def risk_difference(first: Probe, second: Probe) -> Difference:
    """The difference of the leave-one-out risks of two representations of the same samples.

    Raises:
        UsageError: They are of different numbers of samples, or classes count the same in one of
            them.
    """
    _check_same(first, second)
    apart = first.losses - second.losses
    n = len(apart)
    if n < LEAST_SAMPLES or not np.isfinite([first.changes.sum(), second.changes.sum()]).all():
        return Difference(float(apart.mean()), np.nan)
    covariance = _covariance(first.changes - second.changes)
    variance = first.strata.variance(apart) + (n - 1) / n * max(covariance, 0.0)
    return Difference(float(apart.mean()), float(variance**0.5))


def _covariance(change: Float64[np.ndarray, "m m"]) -> float:
    matrix = torch.from_numpy(change)
    return centred_covariance(matrix, spare=torch.empty_like(matrix))


def error_difference(first: Probe, second: Probe) -> Difference:
    """The difference of the leave-one-out 0-1 errors of two representations of the same samples.

    Raises:
        UsageError: As `risk_difference`.
    """
    _check_same(first, second)
    moves = first.moves - second.moves
    value = first.figures["error"] - second.figures["error"]
    return Difference(float(value), first.strata.spread(moves))


def area_difference(first: Probe, second: Probe) -> Difference:
    """The difference of the mean AUCs over labels of two representations of the same samples.

    Raises:
        UsageError: They are of different numbers of samples.
    """
    _check_same(first, second)
    if first.explained is None or second.explained is None:
        return Difference(np.nan, np.nan)
    one, other = first.explained.area, second.explained.area
    return Difference(
        one.value - other.value,
        area_error(one.moves - other.moves, one.changes - other.changes),
    )


def _check_same(first: Probe, second: Probe) -> None:
    if first.n != second.n:
        raise UsageError(
            f"a paired comparison needs the same samples: got {first.n} and {second.n}. Probe both"
            " on one set."
        )
    if first.balanced != second.balanced:
        raise UsageError(
            "a paired comparison is of one risk: got one in which every class counts the same, and"
            " one in which every image does. Probe both with balanced=True, or neither."
        )
