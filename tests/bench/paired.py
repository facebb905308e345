"""How often the paired interval of two representations holds the difference of their risks.

`make bench BENCH=paired`: `REPLICATES` draws (200) of 300 samples of a population of five classes.
Three representations of them are compared: two sets of its directions, one within the other, and
random ReLU features. The ridge of each is chosen by leave-one-out, in each draw anew. The risks of
the fits, and their 0-1 errors, are measured on 20,000 other samples. Nominal is .95; naive takes
the differences of losses for independent. SE is the median that is stated, beside that of the first
representation alone.
"""

import itertools
import os

import numpy as np

from rmtgen import encode_targets
from rmtgen.ranking.paired import error_difference, risk_difference
from rmtgen.ranking.probe import Probe
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Problem
from rmtgen.tables import Table

N, TESTS, CLASSES, DIRECTIONS = 300, 20_000, 5, 80
RELATIVE = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""λ over tr K/n."""
QUANTILE = 1.959963984540054


class Population:
    """Samples of a power law of directions, with noisy classes, and their representations."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.scale = np.arange(1, DIRECTIONS + 1) ** -0.6
        self.weights = rng.standard_normal((DIRECTIONS, 120))
        self.slopes = rng.standard_normal((DIRECTIONS, CLASSES)) * self.scale[:, None] ** 0.5

    def sample(self, count, rng):
        """Representations by name, and labels."""
        x = rng.standard_normal((count, DIRECTIONS)) * self.scale
        noise = 0.8 * rng.standard_normal((count, CLASSES))
        labels = (x @ self.slopes + noise).argmax(axis=1)
        shown = {
            "55 directions": x[:, 5:60],
            "45 of them": x[:, 5:50],
            "ReLU features": np.maximum(x @ self.weights, 0),
        }
        return shown, labels


def probed(features, targets):
    """The probe, and the weights of its fit."""
    kernel = FeatureKernel.checked(features, None)
    problem = Problem.checked(kernel, targets, None, loo=True, intercept=False)
    probe = Probe.of(problem, resolve_ridges(RELATIVE, kernel.diagonal().sum().item(), N))
    shift = N * probe.best["ridge"] * np.eye(features.shape[1])
    return probe, np.linalg.solve(features.T @ features + shift, features.T @ targets)


def compared(population, number):
    """Per pair: differences of risk and error as estimated and as measured, and standard errors."""
    rng = np.random.default_rng([1, number])
    (shown, labels), (tests, truth) = population.sample(N, rng), population.sample(TESTS, rng)
    targets, wanted = (
        encode_targets(some, CLASSES, "centered").values.numpy() for some in (labels, truth)
    )
    probes, risks, errors = {}, {}, {}
    for name, features in shown.items():
        probes[name], weights = probed(features, targets)
        predictions = tests[name] @ weights
        risks[name] = ((predictions - wanted) ** 2).sum(axis=1).mean()
        errors[name] = (predictions.argmax(axis=1) != truth).mean()
    for one, other in itertools.combinations(shown, 2):
        first, second = probes[one], probes[other]
        risk, error = risk_difference(first, second), error_difference(first, second)
        naive = (first.losses - second.losses).std(ddof=1) / N**0.5
        off = risk.value - risks[one] + risks[other], error.value - errors[one] + errors[other]
        yield *off, risk.se, error.se, naive, first.best["loo_se"]


def main():
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", "200"))
    population = Population()
    draws = np.array([list(compared(population, number)) for number in range(replicates)])
    names = list(population.sample(1, np.random.default_rng(0))[0])
    rows = []
    for pair, found in zip(itertools.combinations(names, 2), draws.swapaxes(0, 1), strict=True):
        risk_off, error_off, risk_se, error_se, naive, alone = found.T
        shares = [
            (np.abs(off) <= QUANTILE * se).mean()
            for off, se in ((risk_off, risk_se), (risk_off, naive), (error_off, error_se))
        ]
        errors = np.median(risk_se), np.median(alone)
        rows.append(
            (
                " against ".join(pair),
                *(f"{share:.3f}" for share in shares),
                *(f"{error:.2g}" for error in errors),
            )
        )
    headings = ("representations", "risk", "naive", "0-1 error", "SE", "SE alone")
    print(Table(headings, tuple(rows)).text())
