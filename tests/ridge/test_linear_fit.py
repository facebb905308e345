"""The weights of a fit against the normal equations in plain NumPy."""

import numpy as np
import pytest
import torch

from rmtgen.linalg.rows import gathered
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.linear_fit import linear_fit
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import coded_targets


def planted(n, p, coding, scale=1.0):
    rng = np.random.default_rng([n, p])
    features = (scale * rng.standard_normal((n, p)) + scale / 3).astype(np.float32)
    targets = coded_targets(rng.integers(0, 4, n), 4, coding)
    return features, targets


def fitted(features, targets, ridge):
    kernel = FeatureKernel.checked(features, None)
    values, intercept = targets.values, targets.intercept
    problem = Problem.checked(kernel, values, None, loo=False, intercept=intercept)
    return linear_fit(problem, ridge)


def by_normal_equations(features, targets, ridge):
    """(XᵀX + nλI)w = XᵀY, of centred X and Y where there is an intercept; the mean solves for b."""
    x, y = features.astype(np.float64), targets.values[:].numpy()
    means = (x.mean(axis=0), y.mean(axis=0)) if targets.intercept else (0.0, 0.0)
    n, p = x.shape
    x, y = x - means[0], y - means[1]
    weights = np.linalg.solve(x.T @ x + n * ridge * np.eye(p), x.T @ y)
    return weights, means[1] - means[0] @ weights if targets.intercept else np.zeros(4)


@pytest.mark.parametrize("coding", ["onehot", "centered", "intercept"])
@pytest.mark.parametrize(("n", "p"), [(60, 9), (20, 50), (30, 30), (31, 30), (5000, 6)])
def test_weights_solve_the_normal_equations(n, p, coding):
    features, targets = planted(n, p, coding)
    weights, offset = fitted(features, targets, 0.01)
    expected = by_normal_equations(features, targets, 0.01)
    assert weights.dtype == offset.dtype == torch.float64
    assert weights.numpy() == pytest.approx(expected[0], rel=1e-9, abs=1e-12)
    assert offset.numpy() == pytest.approx(expected[1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "p"), [(60, 9), (20, 50)])
def test_without_a_ridge_it_is_the_shortest_interpolant(n, p):
    features, targets = planted(n, p, "onehot")
    weights, _ = fitted(features, targets, 0.0)
    expected = np.linalg.pinv(features.astype(np.float64)) @ targets.values[:].numpy()
    assert weights.numpy() == pytest.approx(expected, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(("n", "p"), [(60, 9), (20, 50)])
@pytest.mark.parametrize("scale", [1e-35, 1e35])
def test_features_far_from_1_are_fitted_alike(n, p, scale):
    features, targets = planted(n, p, "intercept", scale)
    weights, offset = fitted(features, targets, 0.01 * scale**2)
    plain = features.astype(np.float64) / scale
    expected = by_normal_equations(plain, targets, 0.01)
    assert scale * weights.numpy() == pytest.approx(expected[0], rel=1e-9)
    assert offset.numpy() == pytest.approx(expected[1], rel=1e-9, abs=1e-12)


def test_rows_in_another_order_are_the_same_fit():
    features, targets = planted(60, 9, "centered")
    order = torch.from_numpy(np.random.default_rng(0).permutation(60))
    rows = FeatureKernel(gathered(torch.from_numpy(features), order), None)
    problem = Problem.checked(
        rows, targets.values.chosen(order), None, loo=False, intercept=targets.intercept
    )
    weights, _ = linear_fit(problem, 0.01)
    assert weights.numpy() == pytest.approx(fitted(features, targets, 0.01)[0].numpy(), rel=1e-9)
