"""Changes of scale, order and basis change what they should, and known limits are reached."""

import numpy as np
import pytest
from case_paths import assert_frames_close
from cases import (
    orthonormal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.ridge import COLUMNS, ridge_path, ridge_path_features

problems = st.tuples(
    st.integers(2, 10), st.integers(1, 10), st.integers(0, 2**32 - 1), st.booleans()
)
UNSCALED = ["n", "df", "kappa_prime", "train_error", "loo_error", "test_error"]
RISKS = ["train_risk", "gcv", "loo", "test_risk", "test_risk_se"]


def random_problem(n, p, seed):
    """Integer-free features of full rank, one-hot targets of three classes, and as many test
    samples."""
    rng = np.random.default_rng(seed)
    features, labels = rng.standard_normal((2 * n, p)), rng.integers(0, 3, 2 * n)
    return features, np.eye(3)[labels], rng


def solve_features(features, targets, ridges, intercept):
    n = len(features) // 2
    tests = {"test_features": features[n:], "test_targets": targets[n:]}
    return ridge_path_features(
        features[:n], targets[:n], ridges=ridges, intercept=intercept, **tests
    )


@settings(max_examples=25)
@given(problems, st.floats(-6, 6))
def test_scaling_kernel_and_ridge_together_changes_nothing_but_kappa(problem, log_scale):
    n, p, seed, intercept = problem
    features, targets, _ = random_problem(n, p, seed)
    gram, test_gram = features[:n] @ features[:n].T, features[n:] @ features[:n].T
    scale, ridges = 10**log_scale, np.array([1e-2, 1.0])
    known, found = (
        ridge_path(
            k * gram,
            targets[:n],
            ridges=k * ridges,
            test_gram=k * test_gram,
            test_targets=targets[n:],
            intercept=intercept,
        )
        for k in (1.0, scale)
    )
    assert_frames_close(found[UNSCALED + RISKS], known[UNSCALED + RISKS], rtol=1e-8, atol=1e-20)
    np.testing.assert_allclose(found.kappa, scale * known.kappa, rtol=1e-9)
    np.testing.assert_allclose(found.norm2, known.norm2 / scale, rtol=1e-8, atol=1e-20 / scale)


@settings(max_examples=25)
@given(problems, st.floats(-6, 6))
def test_risks_scale_with_the_square_of_the_targets(problem, log_scale):
    n, p, seed, intercept = problem
    features, targets, _ = random_problem(n, p, seed)
    scale, ridges = 10**log_scale, [0.0, 1e-2, 1.0]
    known, found = (solve_features(features, k * targets, ridges, intercept) for k in (1.0, scale))
    assert_frames_close(found[UNSCALED[:3]], known[UNSCALED[:3]])
    assert_frames_close(found[[*RISKS, "norm2"]] / scale**2, known[[*RISKS, "norm2"]], atol=1e-20)


@settings(max_examples=25)
@given(problems)
def test_sample_order_and_feature_rotation_do_not_matter(problem):
    n, p, seed, intercept = problem
    features, targets, rng = random_problem(n, p, seed)
    ridges = [1e-2, 1.0]
    known = solve_features(features, targets, ridges, intercept)
    order = np.concatenate([rng.permutation(n), n + rng.permutation(n)])
    smooth = [
        column for column in COLUMNS if not column.endswith("error")
    ]  # an argmax tie may fall either way
    assert_frames_close(
        solve_features(features[order], targets[order], ridges, intercept)[smooth],
        known[smooth],
        atol=1e-20,
    )
    rotation = orthonormal(p, p, rng)
    assert_frames_close(
        solve_features(features @ rotation, targets, ridges, intercept)[smooth],
        known[smooth],
        atol=1e-20,
    )


def gaussian(n, p, m, rng, noise):
    """Isotropic features, ‖β‖² = 1, so that E y² = 1 + noise."""
    features, beta = rng.standard_normal((n + m, p)), rng.standard_normal(p)
    targets = features @ beta / np.linalg.norm(beta) + noise**0.5 * rng.standard_normal(n + m)
    return (features[:n], targets[:n]), {"test_features": features[n:], "test_targets": targets[n:]}


@pytest.mark.parametrize(
    ("gamma", "ridge", "risk"),
    [
        (0.5, 0.0, 0.5),
        (0.5, 0.5, 0.508883),
        (2, 0.0, 1.0),
        (2, 0.5, 0.890388),
        (4, 0.0, 1.083333),
        (4, 0.5, 1.062926),
    ],
)
def test_isotropic_gaussian_limit(gamma, ridge, risk):
    train, tests = gaussian(400, int(400 * gamma), 2000, np.random.default_rng(1), noise=0.25)
    found = ridge_path_features(*train, ridges=[ridge], **tests).iloc[0]
    shifted = ridge + gamma - 1
    assert found.kappa == pytest.approx(
        (shifted + np.sqrt(shifted**2 + 4 * ridge)) / 2, rel=0.02, abs=1e-12
    )
    assert found.gcv == pytest.approx(
        risk, rel=0.15
    )  # relative sd of GCV at n = 400 is about sqrt(2 / 400) = .07
    assert found.loo == pytest.approx(found.gcv, rel=0.05)
    assert found.test_risk == pytest.approx(risk, abs=3 * found.test_risk_se + 0.05)


@pytest.mark.parametrize(
    ("n", "p", "excess"), [(20, 50, 1 - 20 / 50 + 0.5 * 20 / 29), (40, 15, 0.5 * 15 / 24)]
)
def test_exact_finite_sample_gaussian_risk(n, p, excess):
    """Ridgeless excess risk r²(1 − n/p)₊ + noise·min(n, p)/(|n − p| − 1), and E tr K⁻¹ = n/(p − n −
    1), at any n."""
    rng, draws = np.random.default_rng(2), 400
    frames = []
    for _ in range(draws):
        train, tests = gaussian(n, p, 30, rng, noise=0.5)
        frames.append(ridge_path_features(*train, ridges=[0.0], **tests).iloc[0])
    risks = np.array([frame.test_risk for frame in frames])
    assert risks.mean() == pytest.approx(0.5 + excess, abs=3.5 * risks.std() / draws**0.5)
    if p > n:
        traces = np.array([1 / frame.kappa for frame in frames])
        assert traces.mean() == pytest.approx(n / (p - n - 1), abs=3.5 * traces.std() / draws**0.5)
