"""The quantity of each detector, against its definition in plain NumPy."""

from itertools import permutations

import numpy as np
import pytest
import reference
import torch
from scipy.stats import chi2_contingency, ks_2samp, norm, rankdata
from trust_cases import (
    TESTS,
    N,
    both,
    gaussian,
    intercepts,
    linear,
    report,
    small,
    tripped,
    value,
)

from rmtgen.ridge import ridge_path
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory import detectors
from rmtgen.theory.diagnostics import trust_report


def test_differences_in_the_last_digit_are_no_shift():
    """Orthogonal samples: every fit explains the same of each, up to rounding."""
    found = trust_report(3 * np.eye(60), np.arange(60.0), test_gram=np.zeros((40, 60)), ridge=0.7)
    assert value(found, "covariate_shift") == 0


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


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_z_score_of_successive_residuals_is_that_of_shuffles(outputs):
    rng = np.random.default_rng(30)
    features, targets = gaussian(80, rng, 0.7), rng.standard_normal((80, outputs))
    gram, delta = features @ features.T, 5.0
    found = detectors.successive_residuals(
        *(lambda plain: (plain, plain.times(torch.from_numpy(targets))))(both(gram, delta)[0])
    )
    residuals = targets - reference.refit_loo(gram, targets, delta, False)
    orders = [rng.permutation(80) for _ in range(20_000)]
    drawn = [(residuals[order[1:]] * residuals[order[:-1]]).sum() for order in orders]
    known = ((residuals[1:] * residuals[:-1]).sum() - np.mean(drawn)) / np.std(drawn)
    assert found.value == pytest.approx(known, abs=0.05)


@intercepts
def test_the_distance_from_the_test_risk_is_in_standard_errors_of_both(intercept):
    rng = np.random.default_rng(31)
    features = gaussian(90, rng, 0.7, p=60) + 1
    targets = np.stack([linear(features, rng), linear(features, rng)], axis=1)
    gram, n = features @ features[:50].T, 50
    options = {"ridge": 0.1, "test_gram": gram[n:], "test_targets": targets[n:]}
    found = trust_report(gram[:n], targets[:n], intercept=intercept, **options)
    left = reference.refit_loo(gram[:n], targets[:n], 5.0, intercept) - targets[:n]
    losses = (left**2).sum(axis=1)
    error = reference.interval(gram[:n], targets[:n], 5.0, intercept, losses)["loo_se"]
    fitted = reference.predict(gram[:n], targets[:n], 5.0, intercept, gram[n:])
    tested = ((fitted - targets[n:]) ** 2).sum(axis=1)
    spread = np.hypot(error / losses.mean(), tested.std(ddof=1) / 40**0.5 / tested.mean())
    known = abs(np.log(losses.mean() / tested.mean())) / spread
    assert value(found, "test_population") == pytest.approx(known, rel=1e-7)


def test_a_sample_that_is_there_twice_leaves_no_distance_to_the_test_risk():
    rng = np.random.default_rng(32)
    features = gaussian(90, rng, p=200)
    targets = linear(features, rng)
    features[1], targets[1] = features[0], targets[0]
    found = report(features, targets, 1e-13, n=50, labelled=True)
    assert value(found, "test_population") == 0


def test_the_z_score_of_class_counts_is_that_of_pearsons_test():
    rng = np.random.default_rng(33)
    train = torch.from_numpy(rng.choice(4, 400, p=[0.4, 0.3, 0.2, 0.1]))
    for shares in ([0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.3, 0.1]):
        test = torch.from_numpy(rng.choice(4, 300, p=shares))
        counts = [np.bincount(part, minlength=4) for part in (train, test)]
        known = norm.isf(chi2_contingency(counts).pvalue)
        assert detectors.class_counts(train, test).value == pytest.approx(known, abs=0.03)


def test_rare_classes_count_as_one():
    train = torch.tensor([0] * 50 + [1] * 50 + [2, 3, 4])
    test = torch.tensor([0] * 40 + [1] * 60 + [5])
    found = detectors.class_counts(train, test)
    known = chi2_contingency([[50, 50, 3], [40, 60, 1]]).pvalue
    assert found.value == pytest.approx(norm.isf(known), abs=0.05)
    assert found.numbers == {"classes": 3}
    assert detectors.class_counts(torch.zeros(30).long(), torch.zeros(20).long()).value == 0


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


def test_a_hundred_classes_in_random_order_raise_no_more_alarms_than_two():
    """Few pairs of equal class are expected, so that six of them are no rare event."""
    rng = np.random.default_rng(34)
    ordered, successive = [], []
    for _ in range(400):
        labels = torch.from_numpy(rng.integers(0, 100, 150))
        found = detectors.ordered_classes(labels)
        ordered.append(found.value > found.threshold)
        onehot = torch.nn.functional.one_hot(labels, 100).double()
        plain, _ = both(np.zeros((150, 150)), 1.0)
        found = detectors.successive_residuals(plain, onehot)
        successive.append(found.value > found.threshold)
    assert max(np.mean(ordered), np.mean(successive)) <= 0.005
    assert detectors.skewed(4.0, 0.6) == 4 + 0.6 * 15 / 6
    assert detectors.skewed(4.0, -0.6) == 4


def shuffled(statistic, rng, count=4000):
    """Mean and standard deviation of a statistic of an order of 60 samples."""
    drawn = [statistic(rng.permutation(60)) for _ in range(count)]
    return np.mean(drawn), np.std(drawn)


def test_the_z_score_of_successive_features_is_that_of_shuffled_cosines():
    rng = np.random.default_rng(40)
    features = gaussian(60, rng, 0.7) + 2
    centred = features - features.mean(axis=0)
    cosines = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    found = detectors.successive_features(torch.from_numpy(features @ features.T))

    def neighbours(order):
        return cosines[order[1:], order[:-1]].sum()

    mean, spread = shuffled(neighbours, rng)
    assert found.value == pytest.approx((neighbours(np.arange(60)) - mean) / spread, abs=0.15)


def test_the_z_score_of_successive_scales_is_that_of_shuffled_ranks():
    rng = np.random.default_rng(41)
    features = gaussian(60, rng) * np.linspace(1, 1.1, 60)[:, None]
    ranks = rankdata(np.linalg.norm(features - features.mean(axis=0), axis=1))
    found = detectors.successive_scales(torch.from_numpy(features @ features.T))

    def neighbours(order):
        return np.corrcoef(ranks[order[1:]], ranks[order[:-1]])[0, 1]

    mean, spread = shuffled(neighbours, rng)
    assert found.value == pytest.approx((neighbours(np.arange(60)) - mean) / spread, rel=0.1)
    assert found.value > 3


def test_the_drift_of_residuals_is_that_of_their_sums_over_eighths():
    rng = np.random.default_rng(42)
    residuals = rng.standard_normal((80, 2)) + np.linspace(0, 2.5, 80)[:, None]
    plain, _ = both(np.zeros((80, 80)), 1.0)
    found = detectors.drifting_residuals(plain, torch.from_numpy(residuals))
    centred = residuals - residuals.mean(axis=0)

    def energy(order):
        return np.square(centred[order].reshape(8, 10, 2).sum(axis=1)).sum()

    drawn = [energy(rng.permutation(80)) for _ in range(4000)]
    assert found.value == pytest.approx(energy(np.arange(80)) / np.mean(drawn), rel=0.1)
    assert found.threshold == pytest.approx(np.quantile(drawn, 0.9995) / np.mean(drawn), rel=0.2)
    assert found.value > found.threshold


def test_the_order_of_clean_samples_raises_no_alarm():
    """Of 300 draws in which rare alarms are of probability .0005 each."""
    rng = np.random.default_rng(43)
    alarms = 0
    for _ in range(300):
        gram = torch.from_numpy((lambda features: features @ features.T)(gaussian(60, rng, 1.0)))
        plain, _ = both(np.zeros((60, 60)), 1.0)
        residuals = torch.from_numpy(rng.standard_normal((60, 1)))
        found = (
            detectors.successive_features(gram),
            detectors.successive_scales(gram),
            detectors.drifting_residuals(plain, residuals),
        )
        alarms += sum(one.value > one.threshold for one in found)
    assert alarms <= 3
