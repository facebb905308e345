"""LogME against the dense log evidence, maximised without anything that LogME knows."""

import itertools

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_clouds import clouds

from rmtgen.ranking.rivals.evidence import logme

SHAPES = [(12, 3), (40, 6), (30, 30), (20, 50), (15, 200)]


def dense_evidence(features, targets, log_a, log_b):
    """log p(y | X, a, b)/n: y is normal with the covariance I/b + XXᵀ/a."""
    n = len(features)
    covariance = np.eye(n) / np.exp(log_b) + features @ features.T / np.exp(log_a)
    _, logdet = np.linalg.slogdet(covariance)
    energy = targets @ np.linalg.solve(covariance, targets)
    return -(n * np.log(2 * np.pi) + logdet + energy) / (2 * n)


def brute_force(features, labels):
    """The mean over classes of the largest evidence: a grid, and simplex searches from its best."""
    grid = list(itertools.product(np.arange(-15.0, 16, 3), repeat=2))
    return np.mean([searched(features, (labels == k) * 1.0, grid) for k in np.unique(labels)])


def searched(features, targets, grid):
    def negative(point):
        return -dense_evidence(features, targets, *point)

    options = {"xatol": 1e-8, "fatol": 1e-13, "maxiter": 2000}
    bounds = [(-20, 20), (-20, 20)]
    return -min(
        scipy.optimize.minimize(
            negative, start, method="Nelder-Mead", bounds=bounds, options=options
        ).fun
        for start in sorted(grid, key=negative)[:4]
    )


def iterated(features, targets, steps=2000):
    """The fixed point of the paper from a = b = 1: a, b, evidence, last move of log a."""
    (n, p), a, b, move = features.shape, 1.0, 1.0, np.inf
    eigenvalues = np.linalg.eigvalsh(features.T @ features).clip(0)
    for _ in range(steps):
        mean = b * np.linalg.solve(a * np.eye(p) + b * features.T @ features, features.T @ targets)
        gamma = (b * eigenvalues / (a + b * eigenvalues)).sum()
        before, a = a, gamma / (mean @ mean)
        b = (n - gamma) / ((targets - features @ mean) ** 2).sum()
        move = np.log(a / before)
        if abs(move) < 1e-13:
            break
    return a, b, dense_evidence(features, targets, np.log(a), np.log(b)), move


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_it_is_the_largest_dense_evidence(n, p, apart):
    features, labels = clouds(n, p, apart=apart)
    assert logme(features, labels) == pytest.approx(brute_force(features, labels), abs=1e-6)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (60, 25), (60, 80)])
def test_it_is_the_fixed_point_of_the_paper_where_that_converges(n, p):
    features, labels = clouds(n, p, apart=3.0)
    ends = [iterated(features, (labels == k).astype(float)) for k in range(3)]
    assert all(abs(move) < 1e-13 for *_, move in ends)
    known = np.mean([evidence for _, _, evidence, _ in ends])
    assert logme(features, labels) == pytest.approx(known, abs=1e-10)


def test_features_that_are_no_use_have_the_evidence_of_noise():
    """The paper's iteration runs away by one factor a step: the maximum is at a = ∞, w = 0."""
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], 10)
    classes = np.eye(2)[labels]
    features = rng.standard_normal((20, 2))
    features -= classes @ np.linalg.lstsq(classes, features, rcond=None)[0]
    features += 0.02 * classes @ rng.standard_normal((2, 2))
    (early, *_, move), (late, *_, again) = (
        iterated(features, classes[:, 0], steps) for steps in (10, 20)
    )
    assert move == pytest.approx(again) and late == pytest.approx(early * np.exp(10 * move))
    assert move > 1
    noise = -(np.log(2 * np.pi) + 1 + np.log(0.5)) / 2
    assert logme(features, labels) == pytest.approx(noise, abs=1e-12)
    assert brute_force(features, labels) == pytest.approx(noise, abs=1e-6)


def test_orthogonal_features_have_the_evidence_of_noise():
    features, labels = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([0, 0, 1, 1])
    assert logme(features, labels) == pytest.approx(
        -(np.log(2 * np.pi) + 1 + np.log(0.5)) / 2, abs=1e-14
    )


def test_features_of_full_rank_may_leave_no_noise():
    """The maximum is at a/b = 0, the interpolant: y ~ N(0, K/a) with a = n/yᵀK⁻¹y."""
    features, labels = clouds(8, 20, classes=2)
    evidences = []
    for k in range(2):
        targets, gram = (labels == k).astype(float), features @ features.T
        energy = targets @ np.linalg.solve(gram, targets)
        logdet = np.linalg.slogdet(gram)[1]
        evidences.append(-(np.log(2 * np.pi) + 1 + np.log(energy / 8) + logdet / 8) / 2)
    assert logme(features, labels) == pytest.approx(np.mean(evidences), abs=1e-12)
    assert brute_force(features, labels) == pytest.approx(np.mean(evidences), abs=1e-6)


def test_the_larger_of_two_maxima_is_found():
    """One feature has the label with much noise, and one of many a thousand times smaller with
    little. The iteration of the paper stays at the first."""
    rng, labels = np.random.default_rng(1), np.arange(30) % 2
    weak = rng.standard_normal((30, 14))
    weak[:, 0] = labels + 0.01 * weak[:, 0]
    features = np.c_[labels + 0.5 * rng.standard_normal(30), 1e-3 * weak]
    _, _, stopped, move = iterated(features, (labels == 1).astype(float))
    assert abs(move) < 1e-12 and stopped < -0.4
    known = brute_force(features, labels)
    assert known > -0.3
    assert logme(features, labels) == pytest.approx(known, abs=1e-6)


def test_labels_among_the_features_have_no_bound():
    """With the noise the density of the labels grows without bound, though not without rank."""
    labels = np.repeat([0, 1, 2], 10)
    features = np.eye(3)[labels] @ np.random.default_rng(0).standard_normal((3, 7))
    assert logme(features, labels) == np.inf
    assert logme(features.astype(np.float32), labels) == np.inf


def test_labels_that_are_nearly_among_the_features_have_one():
    labels = np.repeat([0, 1], 10)
    noise = np.random.default_rng(0).standard_normal((20, 2))
    scores = [logme(np.eye(2)[labels] + size * noise, labels) for size in (1e-3, 1e-6, 1e-9)]
    # -(n − r)/n log(noise) of the evidence, r = 2
    np.testing.assert_allclose(np.diff(scores), 0.9 * np.log(1e3), rtol=1e-2)


@settings(max_examples=40)
@given(
    st.integers(4, 25),
    st.integers(1, 30),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.integers(0, 10**6),
)
def test_no_evidence_is_larger(n, p, log_a, log_b, seed):
    features, labels = clouds(n, p, classes=2, seed=seed)
    evidences = [
        dense_evidence(features, (labels == k).astype(float), log_a, log_b) for k in (0, 1)
    ]
    assert logme(features, labels) >= np.mean(evidences) - 1e-12
