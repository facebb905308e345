"""The quantity of each detector, against its definition in plain NumPy."""

from itertools import permutations

import numpy as np
import pytest
import reference
import torch
from scipy.stats import ks_2samp
from trust_cases import TESTS, N, gaussian, intercepts, linear, report, small, tripped, value

from rmtgen.ridge import ridge_path
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory import detectors
from rmtgen.theory.diagnostics import trust_report


def test_differences_in_the_last_digit_are_no_shift():
    """Orthogonal samples: every fit explains the same of each, up to rounding."""
    found = trust_report(3 * np.eye(60), np.arange(60.0), test_gram=np.zeros((40, 60)), ridge=0.7)
    assert found.findings[-2].detector == "covariate_shift"
    assert found.findings[-2].value == 0


@intercepts
def test_leverage_and_gap_are_those_of_the_ridge_path(intercept):
    rng = np.random.default_rng(6)
    features = gaussian(N, rng, 0.7)
    targets, gram = linear(features, rng), features @ features.T
    frame = ridge_path(gram, targets, ridges=[0.05], intercept=intercept)
    found = trust_report(gram, targets, ridge=0.05, intercept=intercept)
    diagonal = reference.resolvent(gram, 0.05 * N, intercept).diagonal()
    gap = abs(np.log(frame.gcv[0] / frame.loo[0]))
    assert value(found, "gcv_loo_gap") == pytest.approx(gap, rel=1e-6)
    known = (
        diagonal.std() / diagonal.mean() / np.sqrt(2 * (found_kappa_prime(gram, intercept) - 1) / N)
    )
    assert value(found, "leverage") == pytest.approx(known, rel=1e-8)
    assert 0.8 < known < 1.2


def found_kappa_prime(gram, intercept):
    known = reference.resolvent(gram, 0.05 * N, intercept)
    return (N - intercept) * np.trace(known @ known) / np.trace(known) ** 2


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_every_copy_is_counted_whatever_the_mean(offset):
    rng = np.random.default_rng(7)
    features = gaussian(N, rng, 0.7)
    features[:20] = features[20:40]
    features[40:45] = features[45] + 1e-3
    found = detectors.near_duplicates(torch.from_numpy((features + offset) @ (features + offset).T))
    assert found.value == pytest.approx(46 / N)
    assert found.value > found.threshold


@pytest.mark.parametrize("classes", [10, 30])
@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
def test_tight_classes_are_not_copies(classes, spread):
    rng = np.random.default_rng(23)
    features = gaussian(classes, rng)[rng.integers(0, classes, N)] + spread * gaussian(N, rng)
    found = detectors.near_duplicates(torch.from_numpy(features @ features.T))
    assert found.value <= found.threshold


@pytest.mark.parametrize("copies", [2, 5, 8, 11, 40])
def test_copies_of_every_sample_are_copies_however_many(copies):
    features = np.repeat(gaussian(440 // copies, np.random.default_rng(8)), copies, axis=0)[:N]
    assert detectors.near_duplicates(torch.from_numpy(features @ features.T)).value == 1


def test_the_z_score_of_ordered_classes_is_that_of_every_order():
    labels = [0, 0, 0, 1, 1, 2]
    pairs = [np.sum(np.diff(order) == 0) for order in permutations(labels)]
    found = detectors.ordered_classes(torch.tensor(labels))
    assert found.value == pytest.approx((3 - np.mean(pairs)) / np.std(pairs), rel=1e-12)


def test_one_class_alone_is_ordered_and_an_alternation_is_not():
    onehot = encode_targets(np.zeros(N, dtype=int), 10, "onehot").values
    rng = np.random.default_rng(9)
    gram = (lambda features: features @ features.T)(gaussian(N, rng))
    assert "ordered_classes" in tripped(trust_report(gram, onehot))
    assert detectors.ordered_classes(torch.arange(N) % 2).value < 0
    assert detectors.ordered_classes(torch.arange(N)).value == 0
    assert "ordered_classes" not in {
        found.detector for found in trust_report(gram, rng.standard_normal(N)).findings
    }


def test_rare_classes_raise_no_alarm():
    rng = np.random.default_rng(10)
    features = gaussian(N + TESTS, rng, 0.7)
    onehot = np.eye(3)[rng.choice(3, N + TESTS, p=[0.96, 0.03, 0.01])]
    assert report(features, onehot, intercept=True).trusted


def test_the_distance_of_distributions_is_kolmogorovs():
    rng = np.random.default_rng(13)
    first, second = rng.standard_normal(150), rng.standard_normal(90) + 0.3
    found = detectors.covariate_shift(torch.from_numpy(first), torch.from_numpy(second))
    assert found.value == pytest.approx(ks_2samp(first, second).statistic, rel=1e-12)


def test_the_distance_of_means_is_that_of_explicit_splits(monkeypatch):
    monkeypatch.setattr(detectors, "SPLITS", 5)
    train, tests, _ = small(n=14, m=6)
    pool, n = np.vstack([train, tests]), 14
    kernel, tested = pool @ train.T, detectors.memberships(14, 6).numpy().astype(bool)
    energies = []
    for row in tested:
        gap = np.array(
            [
                np.mean([kernel[i, j] for i in np.flatnonzero(row) if i != j])
                - np.mean([kernel[i, j] for i in np.flatnonzero(~row) if i != j])
                for j in range(n)
            ]
        )
        energies.append(((gap - gap.mean()) ** 2).sum())
    found = detectors.mean_shift(torch.from_numpy(kernel[:n]), torch.from_numpy(kernel[n:]))
    assert found.value == pytest.approx(energies[0] / np.mean(energies[1:]), rel=1e-10)
    assert tested[0].tolist() == [False] * 14 + [True] * 6
    assert (tested.sum(axis=1) == 6).all()
