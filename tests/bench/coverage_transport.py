"""How often transport from a pool holds the risk of fits to fewer samples, by population.

`make bench BENCH=coverage_transport`: pools of 300 samples of each population, `REPLICATES` of them
(20), predict n = 240; risks are means over fits to other samples. Nominal is .95.
"""

import os

import numpy as np

from rmtgen import feature_modes, pool_influence, ridge_path_features
from rmtgen.tables import Table
from rmtgen.theory.transport import transported
from tests.populations import populations

N = 300
WITHIN = 240
"""Size that transport predicts."""
RIDGES = (1e-3, 1e-1)
"""λ over tr Σ of transport."""
QUANTILE = 1.959963984540054


def risks(population, n, ridges, fits, seed):
    """Mean risk of fits to n samples at each ridge."""
    found = []
    for number in range(fits):
        features, targets = population.sample(n, np.random.default_rng([seed, n, number]))
        tests, test_targets = population.tests
        path = ridge_path_features(
            features,
            targets,
            ridges=ridges,
            test_features=tests,
            test_targets=test_targets,
            loo=False,
            intercept=population.intercept,
        )
        found.append(path["test_risk"] + population.noise)
    return np.mean(found, axis=0)


def transports(name, population, replicates):
    """Rows of the table of transport: a pool of N predicts n = .8 N."""
    ridges = population.trace * np.array(RIDGES)
    known = risks(population, WITHIN, ridges, 40, 3)
    off, hits = [], []
    for number in range(replicates):
        features, targets = population.sample(N, np.random.default_rng([4, number]))
        modes = feature_modes(features, intercept=population.intercept)
        influence = pool_influence(modes, targets)
        grid = ridges, np.full(len(ridges), float(WITHIN))
        found = transported(influence.pool, *grid)
        plain = np.log(found.risk / known)
        errors = influence.jackknife_errors(found, *grid), influence.standard_errors(found, *grid)
        off.append([plain, plain + np.log(influence.loo_ratios(found.delta))])
        hits.append([np.abs(plain) <= QUANTILE * error for error in errors])
    for place, relative in enumerate(RIDGES):
        medians = 100 * np.median(np.expm1(off), axis=0)[:, place]
        shares = np.mean(hits, axis=0)[:, place]
        yield (
            name,
            f"{relative:.0e}",
            *(f"{value:+.1f}" for value in medians),
            *(f"{value:.2f}" for value in shares),
        )


def main() -> None:
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", 20))
    every = populations().items()
    found = [row for one in every for row in transports(*one, replicates)]
    headings = ("population", "λ/tr Σ", "transport %", "corrected %", "jackknife", "covered")
    print(Table(headings, tuple(found), "<" + ">" * 5).text(), flush=True)
