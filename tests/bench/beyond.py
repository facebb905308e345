"""Estimates of the risk of ensembles, of early-stopped descent, and of learned weights of kernels.

`make bench BENCH=beyond`: 300 samples of each of eight populations (`tests/populations.py`),
`REPLICATES` times (40). An entry is the median of estimate over risk, which is known. Weights are
learned for eight groups of independent features of which one matters; there it is the mean.
"""

import os

import numpy as np

from rmtgen import descent_path, ensemble_path, learn_weights
from rmtgen.tables import Table
from tests.populations import populations

N = 300
SUBSAMPLE, MEMBERS, RELATIVE = 200, 5, (1e-6, 1e-2)
TIMES = (1, 5, 20, 100, 1000)
GROUPS, WIDTHS, WEIGHED = 8, (4, 20), (60, 120)


def drawn(population, replicates):
    """Gram matrices, targets, and the test set of each replicate."""
    tests, test_targets = population.tests
    for number in range(replicates):
        features, targets = population.sample(N, np.random.default_rng([3, number]))
        yield {
            "gram": features @ features.T,
            "targets": targets,
            "test_gram": tests @ features.T,
            "test_targets": test_targets,
            "intercept": population.intercept,
        }


def ratios_of(frames, columns, noise):
    """Estimates over risks, their median over the replicates."""
    ratios = []
    for frame in frames:
        risks = {"limit": "test_limit"}
        ratios.append(
            [frame[name] / (frame[risks.get(name[-5:], "test_risk")] + noise) for name in columns]
        )
    return np.median(ratios, axis=0).T


def ensembles(name, population, replicates):
    """Rows of the table of ensembles: one per ridge."""
    columns = ("gcv", "gcv_corrected", "loo", "gcv_limit", "loo_limit")
    options = {"subsample": SUBSAMPLE, "members": MEMBERS}
    ridges = [relative * population.trace for relative in RELATIVE]
    frames = (
        ensemble_path(**problem, ridges=ridges, seed=number, **options)
        for number, problem in enumerate(drawn(population, replicates))
    )
    found = ratios_of(frames, columns, population.noise)
    for relative, ratios in zip(RELATIVE, found, strict=True):
        yield (name, f"{relative:.0e}", *(f"{ratio:.2f}" for ratio in ratios))


def descents(name, population, replicates):
    """A row of the table of descent: GCV and LOO after each number of steps."""
    frames = (descent_path(**one, times=TIMES) for one in drawn(population, replicates))
    found = ratios_of(frames, ("gcv", "loo"), population.noise)
    return name, *(f"{gcv:.2f} {loo:.2f}" for gcv, loo in found)


def weights(n, width, replicates):
    """A row of the table of learned weights: estimates at the optimum over the risk."""
    ratios, won = [], []
    truth = np.repeat(np.arange(GROUPS) == 0, width) / width**0.5
    for number in range(replicates):
        rng = np.random.default_rng([4, number])
        features = rng.standard_normal((n, GROUPS * width))
        targets = features @ truth + 0.7 * rng.standard_normal(n)
        groups = np.split(features, GROUPS, axis=1)
        kernels = {str(place): group @ group.T for place, group in enumerate(groups)}
        learned = learn_weights(kernels, targets)
        risks = [
            0.49 + ((slopes(groups, targets, *fit) - truth) ** 2).sum()
            for fit in (
                (list(learned.weights.values()), learned.ridge),
                ([1.0] * GROUPS, learned.plain_ridge),
            )
        ]
        ratios.append(
            [learned.loo / risks[0], learned.corrected / risks[0], learned.plain_loo / risks[1]]
        )
        won.append(risks[0] / risks[1])
    means, errors = np.mean(ratios, axis=0), np.std(ratios, axis=0, ddof=1) / replicates**0.5
    shown = (f"{mean:.2f} ±{error:.2f}" for mean, error in zip(means, errors, strict=True))
    return str(n), str(width), *shown, f"{np.mean(won):.2f}"


def slopes(groups, targets, weights, ridge):
    """Slopes of the fit on all features."""
    gram = sum(weight * group @ group.T for weight, group in zip(weights, groups, strict=True))
    dual = np.linalg.solve(gram + len(gram) * ridge * np.eye(len(gram)), targets)
    return np.concatenate(
        [weight * group.T @ dual for weight, group in zip(weights, groups, strict=True)]
    )


def main() -> None:
    """Print the three tables."""
    replicates = int(os.environ.get("REPLICATES", 40))
    everyone = populations().items()
    found = [row for one in everyone for row in ensembles(*one, replicates)]
    headings = ("population", "λ/tr Σ", "GCV", "corrected", "LOO", "GCV, M=∞", "LOO, M=∞")
    print(f"{MEMBERS} members of {SUBSAMPLE} samples")
    print(Table(headings, tuple(found), "<" + ">" * 6).text())
    found = [descents(*one, replicates) for one in everyone]
    headings = ("population", *(f"t = {time}" for time in TIMES))
    print("\ndescent with η = 1/s_max: GCV and LOO")
    print(Table(headings, tuple(found), "<" + ">" * len(TIMES)).text())
    found = [weights(n, width, replicates) for n in WEIGHED for width in WIDTHS]
    headings = ("n", "features", "LOO", "corrected", "LOO, equal", "risk/equal")
    print(f"\nweights of {GROUPS} kernels")
    print(Table(headings, tuple(found), ">" * 6).text())
