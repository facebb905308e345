"""One ridge an output beside one ridge for all: seconds in one run, and their ratio.

`make bench BENCH=per_target`. Both have leave-one-out, GCV and the interval at every ridge they
choose, from one decomposition.
"""

import numpy as np

from rmtgen import feature_modes, gram_modes, per_target_path, ridge_path, ridge_path_features
from tests.bench.figures import record, seconds

BENCH = "per_target"
CASES = ((400, 1000, 300), (1500, 300, 500), (1000, 1000, 100))
"""Samples, features and outputs."""
RIDGES = np.logspace(-5, 1, 20)


def main() -> None:
    """Record every ratio, of features and of their Gram matrix."""
    for n, p, outputs in CASES:
        features, targets = problem(n, p, outputs)
        case = f"n = {n}, p = {p}, {outputs} outputs"
        compare(case, features, targets, feature_modes, ridge_path_features)
        compare(f"{case}, Gram matrix", features @ features.T, targets, gram_modes, ridge_path)


def problem(n, p, outputs):
    """Features whose variances fall as 1/k, and outputs with noise between little and much."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    weights = rng.standard_normal((p, outputs))
    noise = np.geomspace(0.1, 30, outputs)
    return features, features @ weights + noise * rng.standard_normal((n, outputs))


def compare(case, kernel, targets, modes_of, path_of):
    """Record the seconds of the fastest path at one ridge for all, and at one an output."""
    ridges = RIDGES * (
        np.square(kernel).sum() if path_of is ridge_path_features else np.trace(kernel)
    )
    ridges = ridges / len(kernel)
    shared = seconds(lambda: path_of(kernel, targets, ridges=ridges, intercept=True))
    own = seconds(lambda: per_target_path(modes_of(kernel, intercept=True), targets, ridges=ridges))
    record(BENCH, case, "one ridge for all", shared, "s")
    record(BENCH, case, "one ridge an output", own, "s")
    record(BENCH, case, "ratio", own / shared, "")


if __name__ == "__main__":
    main()
