"""How often transport and forecasts hold the risk, by population and on the features of a run.

`make bench BENCH=coverage_forecast`: pools of 300 samples of each population, `REPLICATES` of them
(20); risks are means over fits to other samples. `FEATURES=RUN` adds pools of a run's features,
whose other samples measure the risk. Nominal is .95.
"""

import os
from pathlib import Path

import numpy as np

from rmtgen import encode_targets, feature_modes, forecast, pool_influence, ridge_path_features
from rmtgen.store.feature_store import FeatureStore
from rmtgen.tables import Table
from rmtgen.theory.transport import transported
from tests.populations import populations

N = 300
WITHIN = 240
"""Size that transport predicts."""
RIDGES = (1e-3, 1e-1)
"""λ over tr Σ of transport."""
BEYOND = (2, 4, 16)
"""Sizes that forecasts predict, over N."""
BEST = np.geomspace(1e-7, 10, 33)
"""λ over tr Σ among which the best is looked for."""
POOLS, SIZES = (200, 400), (400, 800, 1600, 3200)
"""Sizes of pools of a run's features, and sizes that they predict."""
FITS = 4
"""Number of fits whose mean risk is the truth."""
SPLITS = ("train", "test")
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


def scored(name, frames, known):
    """Rows of the table of forecasts, from one table of each pool."""
    for place, (n, risk) in enumerate(zip(frames[0]["n"], known, strict=True)):
        rows = np.array([frame.drop(columns="extrapolated").to_numpy()[place] for frame in frames])
        predicted, low, high, least, most = rows[:, 2:].T
        shares = [np.mean((a <= risk) & (risk <= b)) for a, b in ((low, high), (least, most))]
        widths = [np.median(b - a) / risk for a, b in ((low, high), (least, most))]
        yield (
            name,
            f"{n:,.0f}",
            f"{risk:.4f}",
            f"{100 * (np.median(predicted) / risk - 1):+.1f}",
            *(f"{value:.2f}" for value in (shares[0], widths[0], shares[1], widths[1])),
        )


def forecasts(name, population, replicates):
    """Rows of the table of forecasts: a pool of N predicts 2, 4 and 16 N."""
    sizes = [N * factor for factor in BEYOND]
    known = [risks(population, n, population.trace * BEST, FITS, 5).min() for n in sizes]
    frames = []
    for number in range(replicates):
        features, targets = population.sample(N, np.random.default_rng([6, number]))
        modes = feature_modes(features, intercept=population.intercept)
        frames.append(forecast(pool_influence(modes, targets), sizes))
    return scored(name, frames, known)


def of_run(run, replicates):
    """Rows of the table of forecasts, from subsets of the features of a run."""
    store = FeatureStore.open(Path(run))
    pool = np.concatenate([store.read(split) for split in SPLITS]).astype(float)
    labels = np.concatenate([store.layout.labels(split) for split in SPLITS])
    values = encode_targets(labels, len(store.layout.classes), "centered").values[:].numpy()
    ridges = BEST * np.square(pool).sum() / len(pool)

    def truth(n):
        means = []
        for draw in range(FITS):
            order = np.random.default_rng([7, draw]).permutation(len(pool))
            own, others = order[:n], order[n:]
            path = ridge_path_features(
                pool[own],
                values[own],
                ridges=ridges,
                test_features=pool[others],
                test_targets=values[others],
                loo=False,
            )
            means.append(path["test_risk"])
        return np.mean(means, axis=0).min()

    known = {n: truth(n) for n in SIZES}
    for size in POOLS:
        frames = []
        for draw in range(replicates):
            own = np.random.default_rng([8, draw]).permutation(len(pool))[:size]
            influence = pool_influence(feature_modes(pool[own]), values[own])
            frames.append(forecast(influence, [n for n in SIZES if n > size]))
        yield from scored(f"run, N = {size}", frames, [known[n] for n in SIZES if n > size])


def main() -> None:
    """Print the tables."""
    replicates = int(os.environ.get("REPLICATES", 20))
    every = populations().items()
    found = [row for one in every for row in transports(*one, replicates)]
    headings = ("population", "λ/tr Σ", "transport %", "corrected %", "jackknife", "covered")
    print(Table(headings, tuple(found), "<" + ">" * 5).text(), flush=True)
    found = [row for one in every for row in forecasts(*one, replicates)]
    if run := os.environ.get("FEATURES"):
        found += of_run(run, replicates)
    headings = ("pool", "n", "risk", "error %", "covered", "width", "bracket", "width")
    print(f"\n{Table(headings, tuple(found), '<' + '>' * 7).text()}")
