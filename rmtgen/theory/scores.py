"""Scores of a theory: predicted against measured risk over sizes, ridges and representations.

A score has four figures with an interval. Kendall's τ measures whether a theory puts fits in the
right order; the median |log(predicted/measured)| measures its error; the same after division by the
median ratio measures the error of its shape, which is fair to bounds; the median
|predicted/measured − 1| measures the error of an estimate that claims the risk itself.

The fits of one (run, n) share their samples, so intervals come from drawing such blocks with
replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike
from scipy.stats import kendalltau

from rmtgen.errors import UsageError

DRAWS = 200
"""Number of bootstrap draws of an interval."""
QUANTILES = (0.025, 0.975)
"""Ends of an interval."""
CLOSE = 0.1
"""Largest relative error of a pair that counts as close."""
FEWEST = 3
"""Smallest number of finite, positive pairs that a score is taken over."""
FIGURES = ("kendall", "log_error", "shape_error", "relative_error")
"""Figures of a score that have an interval."""


@dataclass(frozen=True)
class Score:
    """Score of one theory; each interval is 95 %.

    Attributes:
        kendall: Kendall's τ of predicted and measured risk.
        kendall_interval: Its interval.
        log_error: Median |log(predicted/measured)|.
        log_error_interval: Its interval.
        shape_error: The same after division by the median ratio.
        shape_error_interval: Its interval.
        relative_error: Median |predicted/measured − 1|.
        relative_error_interval: Its interval.
        worst_error: Largest |predicted/measured − 1|.
        within: Share of pairs of which it is at most `CLOSE`.
        fits: Number of pairs that it is taken over.
        skipped: Number of pairs left out, because one of the two is not finite and positive.
    """

    kendall: float
    kendall_interval: tuple[float, float]
    log_error: float
    log_error_interval: tuple[float, float]
    shape_error: float
    shape_error_interval: tuple[float, float]
    relative_error: float
    relative_error_interval: tuple[float, float]
    worst_error: float
    within: float
    fits: int
    skipped: int


def score(
    predicted: ArrayLike,
    measured: ArrayLike,
    blocks: ArrayLike,
    *,
    seed: int = 0,
) -> Score:
    """Rank correlation and log-error of predictions, with intervals over blocks.

    Args:
        predicted: Predictions of a theory, one per fit.
        measured: Test risks of the same fits.
        blocks: (l,) labels; fits of one label are drawn together.
        seed: Seed of the draws.

    Raises:
        UsageError: Arrays of different lengths, or fewer than three pairs that are finite and
            positive.
    """
    predicted, measured, blocks = (
        np.asarray(predicted, dtype=float),
        np.asarray(measured, dtype=float),
        np.asarray(blocks),
    )
    if not len(predicted) == len(measured) == len(blocks):
        raise UsageError(
            f"a score needs one block per pair: got {len(predicted)} predicted, {len(measured)}"
            f" measured, {len(blocks)} blocks."
        )
    usable = _usable(predicted, measured)
    if usable.sum() < FEWEST:
        raise UsageError(
            f"a score needs at least {FEWEST} finite, positive pairs: got {usable.sum()} of"
            f" {len(usable)}."
        )
    ratio, rest = (
        np.log(predicted[usable] / measured[usable]),
        (predicted[usable], measured[usable]),
    )
    members = [
        np.flatnonzero(blocks[usable] == name) for name in pd.unique(pd.Series(blocks[usable]))
    ]
    generator = np.random.default_rng(seed)
    drawn = [
        np.concatenate([members[k] for k in generator.integers(len(members), size=len(members))])
        for _ in range(DRAWS)
    ]
    figures = np.array([_figures(ratio[rows], *(part[rows] for part in rest)) for rows in drawn])
    low, high = (
        pd.DataFrame(figures).quantile(QUANTILES).to_numpy()
        if len(members) > 1
        else np.full((2, len(FIGURES)), np.nan)
    )
    intervals = (f"{name}_interval" for name in FIGURES)
    off = np.abs(np.expm1(ratio))
    return Score(
        **dict(zip(FIGURES, _figures(ratio, *rest), strict=True)),
        **dict(zip(intervals, zip(low, high, strict=True), strict=True)),
        worst_error=float(off.max()),
        within=float((off <= CLOSE).mean()),
        fits=int(usable.sum()),
        skipped=int((~usable).sum()),
    )


def score_table(
    fits: pd.DataFrame, theories: Sequence[str], blocks: ArrayLike, measured: str = "test_risk"
) -> pd.DataFrame:
    """The score of each theory over a table of predictions.

    Args:
        fits: One row per fit, with the column of the measured risk and one per theory.
        theories: Columns of the predictions.
        blocks: (l,) labels; fits of one label are drawn together.
        measured: Column of the measured risk.

    Returns:
        One row per theory with at least `FEWEST` usable pairs: `theory` and the fields of `Score`.
    """
    risks = fits[measured].to_numpy(dtype=float)
    columns = {name: fits[name].to_numpy(dtype=float) for name in theories}
    rows = [
        {"theory": name, **vars(score(predicted, risks, blocks))}
        for name, predicted in columns.items()
        if _usable(predicted, risks).sum() >= FEWEST
    ]
    return pd.DataFrame(rows, columns=["theory", *(field.name for field in fields(Score))])


def _usable(
    predicted: Float64[np.ndarray, " l"], measured: Float64[np.ndarray, " l"]
) -> Bool[np.ndarray, " l"]:
    with np.errstate(invalid="ignore"):
        return np.isfinite(predicted) & np.isfinite(measured) & (predicted > 0) & (measured > 0)


def _figures(
    ratio: np.ndarray, predicted: np.ndarray, measured: np.ndarray
) -> tuple[float, float, float, float]:
    """`FIGURES`, from the logarithms of the ratios of some pairs, and the pairs."""
    kendall = (
        kendalltau(predicted, measured).statistic
        if np.ptp(predicted) > 0 and np.ptp(measured) > 0
        else np.nan
    )
    return (
        float(kendall),
        float(np.median(np.abs(ratio))),
        float(np.median(np.abs(ratio - np.median(ratio)))),
        float(np.median(np.abs(np.expm1(ratio)))),
    )
