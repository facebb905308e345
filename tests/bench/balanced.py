"""How often intervals of balanced risk and accuracy, and paired ones, hold what they are about.

`make bench BENCH=balanced`: `REPLICATES` draws (200) of `N` samples (400) of `CLASSES` (5), the
largest of which has eight times the smallest; the rarer, the wider. Three representations are
probed, every class counting the same: two sets of directions, one within the other, and random ReLU
features. The ridge of each is chosen by leave-one-out, in each draw anew. Balanced risk and error
of the fits are measured on 20,000 other samples, as many of each class. Nominal is .95; "all as
one" has the variance of the weighted losses over all samples in place of that within classes. SE is
the median that is stated, SD that of the draws.
"""

import itertools
import os

import numpy as np

from rmtgen import encode_targets
from rmtgen.ranking.balanced import balanced_probe
from rmtgen.ranking.paired import error_difference, risk_difference
from rmtgen.ridge.interval import NORMAL_QUANTILE, bounds
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Problem
from rmtgen.tables import Table

N, CLASSES = int(os.environ.get("N", "400")), int(os.environ.get("CLASSES", "5"))
SHARES = np.geomspace(8, 1, CLASSES) / np.geomspace(8, 1, CLASSES).sum()
TESTS, DIRECTIONS = 20_000 // CLASSES, 80
RELATIVE = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""λ over tr K/n."""


class Population:
    """Classes of a power law of directions about their centres, and their representations."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.scale = np.arange(1, DIRECTIONS + 1) ** -0.6
        self.mixing = rng.standard_normal((DIRECTIONS, 120))
        self.centres = 0.5 * rng.standard_normal((CLASSES, DIRECTIONS)) * self.scale
        self.spread = np.linspace(0.7, 1.6, CLASSES)

    def shown(self, labels, rng):
        """Representations by name, of new samples of these classes."""
        noise = rng.standard_normal((len(labels), DIRECTIONS)) * self.scale
        x = self.centres[labels] + self.spread[labels, None] * noise
        return {
            "55 directions": x[:, 5:60],
            "45 of them": x[:, 5:50],
            "ReLU features": np.maximum(x @ self.mixing, 0),
        }


def probed(features, labels):
    """The probe, and the weights of its fit, which are made from what a weight is."""
    targets = encode_targets(labels, CLASSES, "centered").values
    kernel = FeatureKernel.checked(features, None)
    problem = Problem.checked(kernel, targets, None, loo=True, intercept=False)
    ridges = resolve_ridges(RELATIVE, kernel.diagonal().sum().item(), N)
    probe = balanced_probe(problem, ridges)
    counted = features.T * (N / CLASSES / np.bincount(labels, minlength=CLASSES)[labels])
    shift = N * probe.best["ridge"] * np.eye(features.shape[1])
    return probe, np.linalg.solve(counted @ features + shift, counted @ targets.numpy())


def drawn(population, number):
    """Of each representation and of each pair: what is off, standard errors, and what holds."""
    rng = np.random.default_rng([1, number])
    labels, truth = rng.choice(CLASSES, N, p=SHARES), np.repeat(np.arange(CLASSES), TESTS)
    shown, tests = population.shown(labels, rng), population.shown(truth, rng)
    wanted = encode_targets(truth, CLASSES, "centered").values.numpy()
    probes, risks, errors, rows = {}, {}, {}, []
    for name, features in shown.items():
        probe, weights = probed(features, labels)
        predictions = tests[name] @ weights
        probes[name] = probe
        risk = risks[name] = ((predictions - wanted) ** 2).sum(axis=1).mean()
        error = errors[name] = (predictions.argmax(axis=1) != truth).mean()
        best, figures = probe.best, probe.figures
        within, whole = probe.strata.variance(probe.losses), probe.losses.var(ddof=1) / N
        low, high = bounds(best["loo"], (best["loo_se"] ** 2 - within + whole) ** 0.5)
        holds = best["loo_low"] <= risk <= best["loo_high"], low <= risk <= high
        held = figures["error_low"] <= error <= figures["error_high"]
        rows.append((best["loo"] - risk, best["loo_se"], *holds, figures["error"] - error, held))
    for one, other in itertools.combinations(shown, 2):
        first, second = probes[one], probes[other]
        risk, error = risk_difference(first, second), error_difference(first, second)
        apart = first.losses - second.losses
        whole = (risk.se**2 - first.strata.variance(apart) + apart.var(ddof=1) / N) ** 0.5
        off = risk.value - risks[one] + risks[other], error.value - errors[one] + errors[other]
        holds = (abs(off[0]) <= NORMAL_QUANTILE * se for se in (risk.se, whole))
        held = abs(off[1]) <= NORMAL_QUANTILE * error.se
        rows.append((off[0], risk.se, *holds, off[1], held))
    return rows


def main():
    """Print the table."""
    replicates, population = int(os.environ.get("REPLICATES", "200")), Population()
    draws = np.array([drawn(population, number) for number in range(replicates)], dtype=float)
    names = list(population.shown(np.arange(1), np.random.default_rng(0)))
    pairs = [" against ".join(pair) for pair in itertools.combinations(names, 2)]
    rows = []
    for name, found in zip((*names, *pairs), draws.swapaxes(0, 1), strict=True):
        off, se, within, whole, wrong, held = found.T
        shares = (f"{share.mean():.3f}" for share in (within, whole, held))
        sizes = (f"{size:.2g}" for size in (np.median(se), off.std(), off.mean(), wrong.mean()))
        rows.append((name, *shares, *sizes))
    headings = ("representations", "risk", "all as one", "accuracy", "SE", "SD", "bias", "bias acc")
    print(Table(headings, tuple(rows)).text())
