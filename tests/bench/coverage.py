"""How often the interval of leave-one-out covers the risk of the fit, beside the naive one.

`make bench BENCH=coverage`: 300 samples of each of eight populations, `REPLICATES` times (200). The
risk of each fit is known (`tests/populations.py`). `FEATURES=RUN` adds subsets of the features of a
run, whose other samples measure the risk. Nominal is .95; naive takes the losses for independent.
`MATRIX_FREE` populations come once more by that solver, in the least memory that it takes: it looks
at some of the samples, and guesses the leverage of the others.
Labelled is the share of draws in which the kurtosis of the errors doubts the interval.
"""

import os
from pathlib import Path

import numpy as np

from rmtgen import encode_targets, ridge_path_features
from rmtgen.store.feature_store import FeatureStore
from rmtgen.tables import Table
from rmtgen.theory.fit_checks import fit_checks
from tests.bench import coverage_transport, forecast
from tests.populations import populations

N = 300
RELATIVE = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""λ over tr Σ."""
SIZES, DRAWS, HELD_OUT = (100, 300, 1000, 3000), 200, 20_000
"""Sizes, draws of each, and samples that measure the risk, of the features of a run."""
REAL = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ over the mean of K_ii there."""
MATRIX_FREE = ("isotropic, p = n/2", "isotropic, p = 2n", "imbalanced classes")
LEAST = 1_342_902
"""Bytes for them: hardly more than their right-hand sides take."""
SPLITS = ("train", "test")
QUANTILE = 1.959963984540054


def covered(path, risk, error):
    """Whether both intervals hold the risk, which is known up to an error; the relative widths."""
    distance = np.abs(np.log(path["loo"] / risk))
    known = error / risk
    naive = path["naive"] / path["loo"]
    own = path["loo_se"] / path["loo"]
    allowed = [QUANTILE * np.hypot(one, known) for one in (naive, own)]
    return np.array([distance <= one for one in allowed]), np.array([naive, own])


def path(features, targets, tests, test_targets, ridges, *, intercept, **options):
    """The ridge path, with the standard error of independent losses as `naive`."""
    options |= {"ridges": ridges, "intercept": intercept}
    found = ridge_path_features(
        features, targets, test_features=tests, test_targets=test_targets, **options
    )
    sum_ridges = len(targets) * np.asarray(ridges)
    return found.assign(naive=list(naive_errors(features, targets, sum_ridges, intercept)))


def naive_errors(features, targets, sum_ridges, intercept):
    """√(var ℓ/n) at every sum ridge, from the definition."""
    features = features - intercept * features.mean(axis=0)
    targets = targets - intercept * targets.mean(axis=0)
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    kept = values > 1e-12 * values[0]
    left, squares = left[:, kept], values[kept] ** 2
    rest = 1 - intercept / len(features) - (left**2).sum(axis=1)
    coefficients = left.T @ targets
    beside = targets - left @ coefficients
    for sum_ridge in sum_ridges:
        weights = sum_ridge / (squares + sum_ridge)
        dual = left @ (weights[:, None] * coefficients) + beside
        losses = ((dual / (left**2 @ weights + rest)[:, None]) ** 2).sum(axis=1)
        yield losses.std(ddof=1) / len(losses) ** 0.5


def replicated(population, replicates, **options):
    """One row per ridge: coverage of both, medians of their widths, and the true one."""
    ridges = [relative * population.trace for relative in RELATIVE]
    hits, widths, off, labelled = [], [], [], []
    for number in range(replicates):
        features, targets = population.sample(N, np.random.default_rng([1, number]))
        options["intercept"] = population.intercept
        found = path(features, targets, *population.tests, ridges, **options)
        risk = found["test_risk"] + population.noise
        error = 0 * risk if population.noise else found["test_risk_se"]
        hit, width = covered(found, risk, error)
        hits.append(hit)
        widths.append(width)
        off.append(np.log(found[["loo", "gcv"]].to_numpy() / risk.to_numpy()[:, None]))
        labelled.append(fit_checks(found.assign(trial=0))["interval_doubted"])
    shares = np.mean(labelled, axis=0)
    return np.mean(hits, axis=0), np.median(widths, axis=0), np.array(off), shares


def subsets(run):
    """As `replicated`, of features of a run: one table row per size."""
    store = FeatureStore.open(Path(run))
    pool = np.concatenate([store.read(split) for split in SPLITS])
    labels = np.concatenate([store.layout.labels(split) for split in SPLITS])
    values = encode_targets(labels, len(store.layout.classes), "centered").values
    ridges = np.array(REAL) * np.square(pool, dtype=float).sum() / len(pool)
    for n in SIZES:
        hits, widths, off, labelled = [], [], [], []
        for draw in range(DRAWS):
            order = np.random.default_rng([2, draw]).permutation(len(pool))
            own, others = order[:n], order[n : n + HELD_OUT]
            features, tests = pool[own].astype(float), pool[others].astype(float)
            found = path(
                features,
                values[own].numpy(),
                tests,
                values[others].numpy(),
                ridges,
                intercept=False,
            )
            hit, width = covered(found, found["test_risk"], found["test_risk_se"])
            hits.append(hit)
            widths.append(width)
            off.append(np.log(found[["loo", "gcv"]] / found[["test_risk"]].to_numpy()).to_numpy())
            labelled.append(fit_checks(found.assign(trial=0))["interval_doubted"])
        means, middle = np.mean(hits, axis=0), np.median(widths, axis=0)
        yield f"run, n = {n}", (means, middle, np.array(off), np.mean(labelled, axis=0))


def rows(name, results, relatives=RELATIVE):
    """Rows of the table."""
    (naive, own), (narrow, wide), off, labelled = results
    spread = off[:, :, 0].std(axis=0)
    bias = np.median(np.expm1(off), axis=0)
    for number, relative in enumerate(relatives):
        numbers = (naive[number], own[number], narrow[number], wide[number], spread[number])
        biases = (f"{100 * value:+.1f}" for value in bias[number])
        texts = (f"{value:.3f}" for value in numbers)
        yield (name, f"{relative:.0e}", *texts, *biases, f"{labelled[number]:.2f}")


def main() -> None:
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", 200))
    found = [
        row
        for name, population in populations().items()
        for row in rows(name, replicated(population, replicates))
    ]
    for name in MATRIX_FREE:
        results = replicated(populations()[name], replicates, solver="matrix_free", memory=LEAST)
        found += rows(f"{name}, matrix_free", results)
    for run in filter(None, os.environ.get("FEATURES", "").split(",")):
        found += [row for name, results in subsets(run) for row in rows(name, results, REAL)]
    headings = ("population", "λ/tr Σ", "naive", "covered", "SE/LOO naive", "SE/LOO", "true")
    headings += ("LOO %", "GCV %", "labelled")
    print(Table(headings, tuple(found), "<" + ">" * 9).text(), flush=True)
    for other in (coverage_transport, forecast):
        print(f"\n{other.__doc__.splitlines()[0]}\n", flush=True)
        other.main()
