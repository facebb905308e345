"""How well scores order representations: weighted τ, regret, and intervals over tasks."""

import numpy as np
from scipy.stats import weightedtau

DRAWS = 10_000
"""Resamples of a bootstrap."""


def tau(truth: np.ndarray, scores: np.ndarray) -> float:
    """Weighted Kendall τ of scores with a truth of which more is better; the first places count
    most. A score that is not known is the worst. Scores that are all alike, or one alone, order
    nothing: 0."""
    if len(truth) < 2:
        return 0.0
    known = np.where(np.isnan(scores), -np.inf, scores)
    places = np.unique(known, return_inverse=True)[1].astype(float)
    found = weightedtau(truth, places).statistic
    return 0.0 if np.isnan(found) else float(found)


def regret(accuracy: np.ndarray, scores: np.ndarray) -> float:
    """Accuracy of the best less that of the chosen; the mean over those that are tied for it."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    return float(accuracy.max() - accuracy[known == known.max()].mean())


def within(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """The mean of τ within each group of two or more."""
    kept = [
        groups == group
        for group, count in zip(*np.unique(groups, return_counts=True), strict=True)
        if count > 1
    ]
    return float(np.mean([tau(truth[own], scores[own]) for own in kept]))


def over_tasks(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """The mean over tasks, and its 95 % interval by a bootstrap that resamples tasks."""
    values = np.asarray(values, float)
    rows = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
