"""Whether the detectors trip on planted failures, and not on samples that are i.i.d."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel
from trust_cases import (
    CONTROLS,
    TESTS,
    N,
    controls,
    elliptical,
    gaussian,
    intercepts,
    linear,
    report,
    tripped,
    value,
)

from rmtgen.ridge import ridge_path
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory.diagnostics import trust_report
from rmtgen.theory.observed import ENOUGH

DRAWS = 32


@pytest.fixture(scope="module")
def alarms():
    """Draws of each control, half of them with an intercept or classes, at relative ridges 1e-4 and
    1e-2: what tripped."""
    found = {}
    for draw in CONTROLS:
        rng, found[draw] = np.random.default_rng(11), []
        for count in range(DRAWS):
            features = draw(N + TESTS, rng)
            targets = np.sign(linear(features, rng)) if count & 4 else linear(features, rng)
            relative = (1e-4, 1e-2)[count & 1]
            found[draw].append(
                tripped(
                    report(features, targets, relative, intercept=bool(count & 2), labelled=True)
                )
            )
    return found


@controls
def test_samples_that_are_iid_are_trusted_in_each_family(draw, alarms):
    """At most 5 % false alarms of the whole report: more than 6 of 32 would have a probability
    below .001."""
    counted = sum(map(bool, alarms[draw]))
    assert counted <= binom.ppf(0.999, DRAWS, 0.05), [alarm for alarm in alarms[draw] if alarm]


def test_false_alarms_are_at_most_five_in_a_hundred(alarms):
    every = [alarm for found in alarms.values() for alarm in found]
    assert np.mean([bool(alarm) for alarm in every]) <= 0.05
    for detector in set().union(*every):
        assert np.mean([detector in alarm for alarm in every]) <= 0.025, detector


@pytest.mark.parametrize(("n", "m"), [(300, 60), (150, 900)])
def test_other_numbers_of_test_samples_raise_no_more_alarms(n, m):
    rng, alarms = np.random.default_rng(12), []
    for count in range(20):
        features = CONTROLS[count % 4](n + m, rng)
        alarms.append(tripped(report(features, linear(features, rng), n=n, labelled=True)))
    assert sum(map(bool, alarms)) <= binom.ppf(0.999, 20, 0.05), alarms


def autoregressive(draws, count, memory=0.9):
    draws = draws.copy()
    for row in range(1, count):
        draws[row] = memory * draws[row - 1] + np.sqrt(1 - memory**2) * draws[row]
    return draws


def copied(rng, decay=0.0):
    features = gaussian(N, rng, decay)
    targets, order = linear(features, rng), rng.permutation(N)
    copies, sources = order[: int(0.3 * N)], rng.choice(order[int(0.3 * N) :], int(0.3 * N))
    noise = 0.05 * features.std(axis=0) * rng.standard_normal((len(copies), features.shape[1]))
    features[copies], targets[copies] = features[sources] + noise, targets[sources]
    return features, targets


def correlated(rng, decay=0.0):
    features = autoregressive(gaussian(N, rng, decay), N)
    return features, linear(features, rng)


def rescaled(rng, decay=0.0):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] *= 1.5
    return features, linear(features, rng)


def rotated(rng, decay=0.7):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] = features[N:, rng.permutation(features.shape[1])]
    return features, linear(features, rng)


def displaced(rng, decay=0.0):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] += 0.5 * features.std(axis=0)
    return features, linear(features, rng)


def sorted_classes(rng):
    labels = np.sort(rng.integers(0, 10, N))
    features = gaussian(N, rng, 0.7) + 0.3 * rng.standard_normal((10, 2 * N))[labels]
    return features, np.eye(10)[labels]


def noise_in_order(rng):
    features = gaussian(N, rng, p=80)
    noise = autoregressive(rng.standard_normal((N, 1)), N)[:, 0]
    return features, linear(features, rng, noise=0) + noise


def other_shares(rng):
    """Ten classes in training; the tests are of the first five four times as often."""
    train, test = rng.integers(0, 10, N), rng.integers(0, 25, TESTS)
    test = np.where(test < 20, test % 5, test - 15)
    labels = np.concatenate([train, test])
    features = gaussian(N + TESTS, rng, 0.7) + 0.3 * rng.standard_normal((10, 2 * N))[labels]
    return features, np.eye(10)[labels]


def wrong_labels(rng):
    features = gaussian(N + TESTS, rng, 1.2)
    targets = np.sign(linear(features, rng))
    targets[N : N + TESTS // 2] *= -1
    return features, targets


def power_law_of(plant):
    def decaying(rng):
        return plant(rng, 1.5)

    decaying.__name__ = f"{plant.__name__}-power_law"
    return decaying


FAILURES = [
    (elliptical, "leverage"),
    (power_law_of(elliptical), "leverage"),
    (elliptical, "gcv_loo_gap"),
    (copied, "near_duplicates"),
    (power_law_of(copied), "near_duplicates"),
    (correlated, "correlated_samples"),
    (power_law_of(correlated), "correlated_samples"),
    (rescaled, "covariate_shift"),
    (power_law_of(rescaled), "covariate_shift"),
    (rotated, "covariate_shift"),
    (displaced, "mean_shift"),
    (power_law_of(displaced), "mean_shift"),
    (sorted_classes, "ordered_classes"),
    (sorted_classes, "correlated_samples"),
    (noise_in_order, "successive_residuals"),
    (other_shares, "class_counts"),
    (wrong_labels, "test_population"),
]


@pytest.mark.parametrize(
    ("plant", "detector"), FAILURES, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_planted_failure_is_caught_in_nine_draws_of_ten(plant, detector):
    rng = np.random.default_rng(21)
    caught = [
        report(
            *(drawn := plant(rng)),
            relative=(1e-4, 1e-2)[draw % 2],
            intercept=draw % 4 > 1,
            labelled=len(drawn[0]) > N,
        )
        for draw in range(10)
    ]
    assert sum(detector in tripped(found) for found in caught) >= 9
    for found in caught:
        assert all(
            f"is {finding.value:.4g} against" in finding.message for finding in found.findings
        )


def test_what_trips_is_where_gcv_is_wrong():
    """GCV against the test risk: off by more than a quarter for elliptical features, where LOO is
    not, and right for Gaussian ones."""
    rng, ratios = np.random.default_rng(5), []
    for scale in (np.ones(2000), 1 / np.sqrt(rng.chisquare(3, 2000) / 3)):
        features = gaussian(2000, rng, p=600) * scale[:, None]
        targets, gram = linear(features, rng), features @ features[:300].T
        frame = ridge_path(
            gram[:300],
            targets[:300],
            ridges=[0.06],
            test_gram=gram[300:],
            test_targets=targets[300:],
        )
        ratios.append(
            (
                frame.gcv[0] / frame.test_risk[0],
                "leverage" in tripped(report(features, targets, 1e-4, n=300)),
            )
        )
    (right, quiet), (wrong, loud) = ratios
    assert not quiet and loud
    assert abs(np.log(right)) < 0.2 < abs(np.log(wrong))


@pytest.mark.parametrize(("kernel", "right"), [("linear", True), ("rbf", False)])
def test_handwritten_digits_are_trusted_with_the_kernel_whose_gcv_is_right(kernel, right):
    """At λ = 1e-4·tr K/n a narrow RBF kernel leaves some digits alone in the world; GCV is off by
    half, LOO right."""
    digits, labels = load_digits(return_X_y=True)
    gram = digits @ digits.T if kernel == "linear" else rbf_kernel(digits, gamma=1e-3)
    train, test = np.split(np.random.default_rng(0).permutation(len(labels))[:900], [200])
    onehot = encode_targets(labels, 10, "onehot").values.numpy()
    block, test_block = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    ridge = 1e-4 * np.trace(block) / len(train)
    frame = ridge_path(
        block, onehot[train], ridges=[ridge], test_gram=test_block, test_targets=onehot[test]
    )
    found = trust_report(block, onehot[train], ridge=ridge, test_gram=test_block)
    assert tripped(found) == (set() if right else {"leverage", "gcv_loo_gap"})
    assert (frame.gcv[0] > 0.9 * frame.test_risk[0]) == right
    assert frame.loo[0] == pytest.approx(frame.test_risk[0], rel=0.15)


@pytest.mark.parametrize("n", [12, 40, 99, 100])
def test_fewer_than_a_hundred_samples_are_few(n):
    rng = np.random.default_rng(n)
    features = gaussian(n, rng, p=50)
    found = report(features, linear(features, rng), n=n)
    assert ("small_sample" in tripped(found)) == (n < 100)
    assert (len(found.findings) == 1) == (n < ENOUGH)


def test_float32_trips_where_it_resolves_nothing():
    rng = np.random.default_rng(3)
    features = gaussian(N, rng, 3.0)
    gram, targets = features @ features.T, linear(features, rng)
    ridge = 1e-9 * np.trace(gram) / N
    single = trust_report((gram + 1e-7 * np.eye(N)).astype(np.float32), targets, ridge=4e3 * ridge)
    assert not tripped(single) & {"float32_df", "float32_ridge"}
    single = trust_report((gram + 1e-5 * np.eye(N)).astype(np.float32), targets, ridge=ridge)
    assert "float32_ridge" in tripped(single)
    assert value(single, "float32_ridge") == pytest.approx(N * ridge, rel=1e-4)
    rounding = next(
        found.threshold for found in single.findings if found.detector == "float32_ridge"
    )
    assert rounding == pytest.approx(10 * 2**-23 * np.linalg.eigvalsh(gram)[-1], rel=1e-3)
    double = trust_report(gram, targets, ridge=ridge)
    assert not {finding.detector for finding in double.findings} & {"float32_df", "float32_ridge"}


@intercepts
def test_float32_trips_near_interpolation(intercept):
    rng = np.random.default_rng(4)
    features, targets = gaussian(N, rng), rng.standard_normal(N)
    gram = (features @ features.T).astype(np.float32)
    for ridge, full in ((1e-3, True), (1.0, False)):
        found = trust_report(gram, targets, ridge=ridge, intercept=intercept)
        assert ("float32_df" in tripped(found)) == full
        frame = ridge_path(gram.astype(float), targets, ridges=[ridge], intercept=intercept)
        assert value(found, "float32_df") == pytest.approx(frame.df[0] / N, rel=1e-9)
