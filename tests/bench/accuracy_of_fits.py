"""How near the 0-1 error predicted from one pool is to that of fits, within the pool and beyond.

`make bench BENCH=accuracy_of_fits`: pools of classes with noisy linear scores; `FEATURES=RUN` takes
the features of a run instead. Each of `REPLICATES` pools (6) of `POOL` samples (500) predicts the
error at sizes and ridges within it, and at the best ridge at 2, 4 and 8 times its size. Fits to
other subsets, of that size, are measured on samples that no fit or pool has.
"""

import os
from pathlib import Path

import numpy as np
import torch

from rmtgen import encode_targets, feature_modes, pool_influence, predicted_error
from rmtgen.store.feature_store import FeatureStore
from rmtgen.tables import Table

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""Sizes within the pool, relative to it."""
RELATIVE = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ over the mean squared norm of the features."""
HORIZONS = (2, 4, 8)
"""Sizes beyond the pool, relative to it."""
REFITS = 4
"""Fits of each size within the pool, whose mean error is compared."""
HELD_OUT = 1000
"""Largest number of samples that measure an error."""


def features_of(run):
    """Features and labels of both splits of a run, and the number of classes."""
    store = FeatureStore.open(Path(run))
    splits = ("train", "test")
    pool = np.concatenate([store.read(split) for split in splits]).astype(float)
    labels = np.concatenate([store.layout.labels(split) for split in splits])
    return pool, labels, len(store.layout.classes)


def drawn(count, classes=10, width=600):
    """Features with a power law and labels of their noisy linear scores."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, width)) * np.arange(1, width + 1) ** -0.6
    scores = features @ rng.standard_normal((width, classes))
    return features, (scores + rng.standard_normal(scores.shape)).argmax(axis=1), classes


def measured(train, ridges, tests):
    """Test error at each ridge of fits to one set of features with their labels and classes."""
    features, labels, classes = train
    left, singular, right = np.linalg.svd(features, full_matrices=False)
    targets = np.eye(classes)[labels] - 1 / classes
    rotated, projected = left.T @ targets, tests[0] @ right.T
    shrunk = (singular / (singular**2 + len(labels) * ridge) for ridge in ridges)
    scores = (projected @ (weights[:, None] * rotated) for weights in shrunk)
    return [(score.argmax(axis=1) != tests[1]).mean() for score in scores]


def one_pool(data, size, seed):
    """Rows (horizon, predicted, low, high, measured) of one pool."""
    features, labels, classes = data
    order = np.random.default_rng([4, seed]).permutation(len(labels))
    held = order[: min(HELD_OUT, len(order) - HORIZONS[-1] * size)]
    rest = order[len(held) :]
    tests = features[held], labels[held]
    ridges = np.array(RELATIVE) * np.square(features).sum() / len(features)

    def fit(chosen, at):
        return measured((features[chosen], labels[chosen], classes), at, tests)

    own = rest[:size]
    targets = encode_targets(torch.from_numpy(labels[own]), classes, "centered").values
    influence = pool_influence(feature_modes(features[own]), targets)
    sizes = [round(size * share) for share in SHARES]
    within = predicted_error(influence, sizes, ridges=ridges)
    known = []
    for n in sizes:
        subsets = [
            np.random.default_rng([5, seed, n, t]).permutation(rest)[:n] for t in range(REFITS)
        ]
        known += list(np.mean([fit(subset, ridges) for subset in subsets], axis=0))
    rows = [(1, *row) for row in zip(*_columns(within), known, strict=True)]
    beyond = predicted_error(influence, [size * horizon for horizon in HORIZONS])
    for horizon, row in zip(HORIZONS, beyond.itertuples(), strict=True):
        (error,) = fit(rest[: row.n], [row.ridge])
        rows.append((horizon, row.predicted_error, row.low, row.high, error))
    return rows


def _columns(frame):
    return (frame[name] for name in ("predicted_error", "low", "high"))


def main() -> None:
    """Print the table."""
    size, replicates = (
        int(os.environ.get(name, n)) for name, n in (("POOL", 500), ("REPLICATES", 6))
    )
    run = os.environ.get("FEATURES")
    data = features_of(run) if run else drawn(HORIZONS[-1] * size + HELD_OUT)
    found = np.array([row for seed in range(replicates) for row in one_pool(data, size, seed)])
    rows = []
    for horizon in (1, *HORIZONS):
        part = found[found[:, 0] == horizon]
        off = part[:, 1] - part[:, 4]
        inside = (part[:, 2] <= part[:, 4]) & (part[:, 4] <= part[:, 3])
        numbers = (
            part[:, 4].mean(),
            np.median(abs(off)),
            abs(off).max(),
            off.mean(),
            inside.mean(),
        )
        name = "n <= N" if horizon == 1 else f"{horizon} N"
        rows.append((name, str(len(part)), *(f"{number:.3f}" for number in numbers)))
    headings = ("size", "fits", "error", "median |off|", "largest", "mean off", "covered")
    print(Table(headings, tuple(rows), "<" + ">" * 6).text())
