"""How often the intervals of R² and AUC hold those of the fit, for labels and regression targets.

`make bench BENCH=explained`: `REPLICATES` draws (200) of each problem, whose labels or targets are
two directions of a power law, with noise. The ridge is chosen by leave-one-out, in each draw anew,
and R² and AUC of the fit are measured on 20,000 other samples. Nominal is .95. *without* takes the
fits of all pairs for one, as DeLong's interval does. *behind* is the difference of the mean AUC to
that of half of the features. SE is the median that is stated, over the spread of the errors.
"""

import os
import sys

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from rmtgen.ranking.areas import area_error
from rmtgen.ranking.best_ridge import best_ridge
from rmtgen.ranking.explained import Explained
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.outputs import split_targets
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.shares import wilson
from rmtgen.tables import Table

TESTS = 20_000
RELATIVE = tuple(10.0 ** (power / 2) for power in range(-10, 3))
"""λ over tr K/n."""
PROBLEMS = (
    ("values", 50, 6, 1.0, (0.5, 0.5)),
    ("values", 100, 300, 0.5, (0.5, 0.5)),
    ("labels", 50, 6, 1.0, (0.5, 0.2)),
    ("labels", 50, 100, 1.0, (0.5, 0.2)),
    ("labels", 100, 6, 0.3, (0.3, 0.1)),
    ("labels", 100, 300, 0.3, (0.3, 0.1)),
    ("labels", 400, 40, 1.0, (0.5, 0.05)),
)
"""Task, n, features, noise over signal, and the share of the samples with each label."""


class Problems:
    """Samples of one population."""

    def __init__(self, task, features, noise, shares):
        rng = np.random.default_rng(7)
        self.task, self.noise = task, noise
        self.scale = np.arange(1, features + 1) ** -0.6
        slopes = rng.standard_normal((features, 2))
        self.slopes = slopes / np.linalg.norm(self.scale[:, None] * slopes, axis=0)
        self.least = (1 + noise**2) ** 0.5 * ndtri(1 - np.array(shares))

    def sample(self, count, rng):
        """Features, and what they are labelled with."""
        features = rng.standard_normal((count, len(self.scale))) * self.scale
        values = features @ self.slopes + self.noise * rng.standard_normal((count, 2))
        return features, values > self.least if self.task == "labels" else values


def fitted(features, labels, task, tests):
    """What a probe explains, and the predictions of its fit."""
    targets, _ = split_targets(labels, labels[:0], labels.shape[1], "intercept")
    kernel, n = FeatureKernel.checked(features, None), len(features)
    ridges = resolve_ridges(RELATIVE, kernel.diagonal().sum().item(), n)
    problem = Problem.checked(kernel, targets.values, None, loo=True, intercept=True)
    pairs = Grid.checked(ridges, None).at(n)
    best = best_ridge(problem, pairs)
    delta = pairs[best.place][1]
    centred, mean = features - features.mean(axis=0), labels.mean(axis=0)
    inner = centred @ centred.T + delta * np.eye(n)
    weights = centred.T @ np.linalg.solve(inner, labels - mean)
    return (
        Explained.of(best.fits.at(delta), delta, task),
        (tests - features.mean(axis=0)) @ weights + mean,
    )


def area(scores, has):
    """The AUC of scores."""
    count = has.sum()
    ranks = rankdata(scores)[has].sum()
    return (ranks - count * (count + 1) / 2) / (count * (len(has) - count))


def holds(ends, value):
    """Whether an interval holds a value."""
    return ends[0] <= value <= ends[1]


def drawn(population, n, number):
    """Which intervals hold, by name; and the error of the mean AUC with what is stated of it."""
    rng = np.random.default_rng([2, number])
    (features, labels), (tests, truth) = population.sample(n, rng), population.sample(TESTS, rng)
    known, predicted = fitted(features, labels, population.task, tests)
    ratios = ((predicted - truth) ** 2).mean(axis=0) / truth.var(axis=0)
    weights = truth.var(axis=0) if population.task == "labels" else np.ones(2)
    outputs = known.outputs
    held = {
        "R²": holds((known.low, known.high), 1 - np.average(ratios, weights=weights)),
        "R² of each": [
            holds(ends, 1 - ratio)
            for ends, ratio in zip(outputs[["r2_low", "r2_high"]].to_numpy(), ratios, strict=True)
        ],
    }
    if population.task == "values":
        return held, None
    real = [area(predicted[:, place], truth[:, place]) for place in (0, 1)]
    half = features.shape[1] // 2
    other, guessed = fitted(features[:, :half], labels, "labels", tests[:, :half])
    behind = np.mean([area(guessed[:, place], truth[:, place]) for place in (0, 1)])
    found = known.area
    plain = np.linalg.norm(found.moves)
    rarer = np.minimum(labels.sum(axis=0), n - labels.sum(axis=0)).min()
    gap = found.value - other.area.value
    reach = 1.959963984540054 * area_error(
        found.moves - other.area.moves, found.changes - other.area.changes
    )
    held |= {
        "AUC": holds((found.low, found.high), np.mean(real)),
        "AUC of each": [
            holds(ends, one)
            for ends, one in zip(outputs[["auc_low", "auc_high"]].to_numpy(), real, strict=True)
        ],
        "without": holds(wilson(found.value, plain, rarer), np.mean(real)),
        "behind": holds((gap - reach, gap + reach), np.mean(real) - behind),
    }
    return held, (found.value - np.mean(real), area_error(found.moves, found.changes))


def main():
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", "200"))
    names = ("R²", "R² of each", "AUC", "AUC of each", "without", "behind")
    rows = []
    for task, n, features, noise, shares in PROBLEMS:
        population = Problems(task, features, noise, shares)
        found = [drawn(population, n, number) for number in range(replicates)]
        held = [one for one, _ in found]
        cells = [
            f"{np.mean([one[name] for one in held]):.3f}" if name in held[0] else "–"
            for name in names
        ]
        ratio = "–"
        if found[0][1] is not None:
            errors = np.array([one for _, one in found])
            ratio = f"{np.median(errors[:, 1]) / errors[:, 0].std():.2f}"
        said = f", {', '.join(f'{share:.2f}' for share in shares)}" if task == "labels" else ""
        rows.append((f"{task}{said}", f"{n}", f"{features}", *cells, ratio))
        print(f"{task}, {n} of {features}", file=sys.stderr, flush=True)
    headings = ("two", "n", "features", *names, "SE")
    print(Table(headings, tuple(rows)).text())
