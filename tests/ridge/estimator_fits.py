"""What the tests of `KernelRidgeGCV` share: the fit of a case, and a noisy problem."""

import numpy as np
import pytest
from cases import CASES, POWER_LAW, REPEATED, WIDE

from rmtgen.ridge.estimator import KernelRidgeGCV

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
kernels = pytest.mark.parametrize("kernel", ["linear", "precomputed"])

DEFINITE = (WIDE, REPEATED, POWER_LAW)


def blocks(case, kernel):
    """What `fit` and `predict` take of a case."""
    return (
        (case.features, case.test_features) if kernel == "linear" else (case.gram, case.test_gram)
    )


def at(ridge, case, kernel, intercept=True):
    """The fit at one ridge."""
    return KernelRidgeGCV([ridge], kernel=kernel, fit_intercept=intercept).fit(
        blocks(case, kernel)[0], case.targets
    )


def noisy(n=60, p=8, outputs=(), seed=0):
    """A problem with a best ridge inside the default grid."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -1.0 + 3.0
    slopes = rng.standard_normal((p, *outputs))
    return features, features @ slopes + 4 * rng.standard_normal((n, *outputs))
