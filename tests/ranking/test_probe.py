"""A probe against refits without each sample, and without each pair, written plainly."""

import numpy as np
import pandas as pd
import pytest
import torch

from rmtgen.linalg.modes import feature_modes
from rmtgen.ranking.probe import FIGURES, MULTIPLES, OUTLOOK, PATH, Probe
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory.errors_within import error_within
from rmtgen.theory.forecast import pool_influence

N, CLASSES = 24, 3
RIDGES = (1e-3, 0.1, 1.0, 30.0)


def drawn(p, seed=0, n=N):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.7
    scores = features[:, :CLASSES] + 0.4 * rng.standard_normal((n, CLASSES))
    return features, scores.argmax(axis=1)


def probed(features, labels, *, gram=False, intercept=False, ridges=RIDGES):
    coded = encode_targets(labels, CLASSES, "intercept" if intercept else "centered")
    kernel = (
        GramKernel.checked(features @ features.T, None)
        if gram
        else FeatureKernel.checked(features, None)
    )
    problem = Problem.checked(kernel, coded.values, None, loo=True, intercept=intercept)
    return Probe.of(problem, ridges), coded.values.numpy()


def predicted(features, targets, point, ridge, count, intercept):
    """f(x) of the fit to some samples, at the sum ridge of all of them."""
    means = features.mean(axis=0) * intercept, targets.mean(axis=0) * intercept
    x, y = features - means[0], targets - means[1]
    weights = np.linalg.solve(x.T @ x + count * ridge * np.eye(x.shape[1]), x.T @ y)
    return (point - means[0]) @ weights + means[1]


def left_out(features, targets, ridge, intercept, *also):
    """Losses of each sample of the fit without it, and without the sample `also`."""
    losses = []
    for row in range(len(features)):
        kept = [other for other in range(len(features)) if other not in (row, *also)]
        found = predicted(
            features[kept], targets[kept], features[row], ridge, len(features), intercept
        )
        losses.append(((found - targets[row]) ** 2).sum())
    return np.array(losses)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(("p", "gram"), [(5, False), (5, True), (40, False), (40, True)])
def test_the_ridge_and_the_losses_are_those_of_refits(p, gram, intercept):
    features, labels = drawn(p)
    probe, targets = probed(features, labels, gram=gram, intercept=intercept)
    plain = {ridge: left_out(features, targets, ridge, intercept) for ridge in RIDGES}
    assert list(probe.path) == list(PATH) and probe.n == N
    assert probe.path["ridge"].tolist() == list(RIDGES)
    found = probe.path["loo"].to_numpy()
    known = np.isfinite(found)
    assert found[known] == pytest.approx(
        np.array([plain[ridge].mean() for ridge in RIDGES])[known], rel=1e-6
    )
    chosen = min(RIDGES, key=lambda ridge: plain[ridge].mean())
    assert probe.best["ridge"] == chosen
    assert probe.losses == pytest.approx(plain[chosen], rel=1e-6)
    for also in (0, 7):
        others = [row for row in range(N) if row != also]
        change = left_out(features, targets, chosen, intercept, also) - plain[chosen]
        assert probe.changes[others, also] == pytest.approx(change[others], rel=1e-5, abs=1e-9)


def test_the_error_at_all_samples_is_that_of_leave_one_out():
    features, labels = drawn(8, n=120)
    probe, _ = probed(features, labels)
    assert set(probe.figures) == set(FIGURES)
    assert probe.figures["error"] == pytest.approx(probe.best["loo_error"], abs=1e-12)
    assert probe.figures["error_low"] < probe.figures["error"] < probe.figures["error_high"]
    assert list(probe.outlook) == list(OUTLOOK)
    assert probe.outlook["n"].tolist() == [round(120 * times) for times in MULTIPLES]
    assert probe.outlook["predicted_risk"].is_monotonic_decreasing
    assert probe.moves.shape == (120,) and np.isfinite(probe.moves).all()


@pytest.mark.parametrize("intercept", [False, True])
def test_the_error_moves_as_that_of_a_fit_to_all_samples(intercept):
    features, labels = drawn(8, n=120)
    probe, targets = probed(features, labels, intercept=intercept)
    modes = feature_modes(features, intercept=intercept)
    whole = error_within(pool_influence(modes, targets), 120, float(probe.best["ridge"]), 1)
    assert probe.moves == pytest.approx(whole.moves, rel=1e-9, abs=1e-12)
    assert probe.figures["error"] == pytest.approx(whole.error, abs=1e-12)


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**120])
def test_the_scale_of_the_features_changes_nothing_but_the_ridge(scale):
    features, labels = drawn(6)
    probe, _ = probed(features, labels)
    other, _ = probed(scale * features, labels, ridges=[ridge * scale**2 for ridge in RIDGES])
    assert other.losses.tolist() == pytest.approx(probe.losses.tolist(), rel=1e-12)
    assert other.best["ridge"] == probe.best["ridge"] * scale**2


def test_a_ridge_below_rounding_leaves_no_doubts_and_all_else():
    features, labels = drawn(60, n=24)
    features[1] = features[0]
    probe, _ = probed(features, labels, ridges=(1e-18,))
    assert probe.doubts == () and np.isfinite(probe.best["loo"])


def test_regression_targets_have_no_accuracy():
    features, _ = drawn(6, n=60)
    targets = torch.from_numpy(features[:, :2] + np.random.default_rng(1).standard_normal((60, 2)))
    kernel = FeatureKernel.checked(features, None)
    problem = Problem.checked(kernel, targets, None, loo=True, intercept=False)
    probe = Probe.of(problem, RIDGES)
    assert np.isnan([probe.figures[name] for name in FIGURES[2:]]).all()
    assert np.isnan(probe.moves).all() and probe.outlook["predicted_error"].isna().all()
    assert probe.outlook["predicted_risk"].notna().all()


def test_few_samples_have_no_interval_and_a_ridge_all_the_same():
    features, labels = drawn(5, n=6)
    probe, _ = probed(features, labels)
    assert probe.changes.shape == (1, 1) and np.isnan(probe.changes).all()
    assert np.isfinite(probe.best["loo"])


def test_a_tie_is_given_to_the_largest_ridge():
    path = pd.DataFrame({"ridge": [1.0, 3.0, 2.0, 4.0], "loo": [0.5, 0.5, np.nan, 0.6]})
    probe = Probe(path, np.ones(4), np.ones((4, 4)), np.zeros(4), pd.DataFrame(), {})
    assert probe.best["ridge"] == 3.0


def test_what_the_data_claim_is_doubted_where_they_are_copies():
    features, labels = drawn(8, n=60)
    probe, _ = probed(features, labels)
    assert probe.doubts == ()
    copied = np.concatenate([features, features[:40] + 1e-9])
    doubted, _ = probed(copied, np.concatenate([labels, labels[:40]]))
    assert any("copy among the others" in message for message in doubted.doubts)
    ridgeless, _ = probed(copied, np.concatenate([labels, labels[:40]]), ridges=(0.0,))
    assert ridgeless.doubts == ()
