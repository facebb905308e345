"""Detectors that name samples: against plain NumPy, and on samples that were planted."""

import numpy as np
import pytest
import torch
from failures import FAILURES, Draw, clean
from populations import populations
from scipy import stats
from sklearn.datasets import load_digits
from trust_cases import N, gaussian, linear, one_dimension, power_law, relu, report, tripped

from rmtgen.theory import suspects
from rmtgen.theory.diagnostics import trust_report
from rmtgen.theory.suspects import Neighbours


def kernel(features):
    return torch.from_numpy(features @ features.T)


def neighbours(features):
    return Neighbours.of(kernel(features))


def trips(found):
    return found.value > found.threshold


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_every_copy_is_counted_and_named_whatever_the_mean(offset):
    rng = np.random.default_rng(7)
    features = gaussian(N, rng, 0.7)
    features[:20] = features[20:40]
    features[40:45] = features[45] + 1e-3
    found = suspects.near_duplicates(neighbours(features + offset))
    assert found.value == pytest.approx(46 / N)
    assert trips(found) and found.samples == tuple(range(46))


@pytest.mark.parametrize("classes", [10, 30])
@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
def test_tight_classes_are_not_copies(classes, spread):
    rng = np.random.default_rng(23)
    features = gaussian(classes, rng)[rng.integers(0, classes, N)] + spread * gaussian(N, rng)
    assert not trips(suspects.near_duplicates(neighbours(features)))


@pytest.mark.parametrize("copies", [2, 5, 8, 11, 40])
def test_copies_of_every_sample_are_copies_however_many(copies):
    features = np.repeat(gaussian(440 // copies, np.random.default_rng(8)), copies, axis=0)[:N]
    assert suspects.near_duplicates(neighbours(features)).value == 1


def test_the_neighbours_are_those_of_all_distances():
    features = gaussian(300, np.random.default_rng(1), 0.7, p=30)
    found = neighbours(features)
    distances = np.square(features[:, None] - features).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :15], rtol=1e-9)
    assert found.positions.tolist() == distances.argmin(axis=1).tolist()


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
def test_exact_copies_are_those_up_to_rounding(single):
    rng = np.random.default_rng(2)
    features = gaussian(N, rng, 0.7) + 1
    features[[3, 7]] = features[[50, 60]]
    features[9] = features[70] * (1 + 1e-2)
    gram = features @ features.T
    gram = gram.astype(np.float32).astype(float) if single else gram
    found = suspects.exact_duplicates(Neighbours.of(torch.from_numpy(gram)), single=single)
    assert found.samples == (3, 7, 50, 60)
    assert found.value == 4 / N and trips(found)


def test_tests_that_are_training_samples_are_named_with_these():
    rng = np.random.default_rng(3)
    features = gaussian(N + 100, rng, 0.7)
    features[N + np.arange(10)] = features[np.arange(20, 30)]
    gram = features @ features[:N].T
    found = suspects.shared_samples(*map(torch.from_numpy, (gram[:N], gram[N:])))
    assert found.value == 0.1 and trips(found)
    assert found.samples == tuple(range(20, 30))
    assert found.test_samples == tuple(range(10))


def test_the_gap_of_outliers_is_that_of_spacings():
    """One sample ten times as far as the next: the spacing over the mean of the later ones."""
    rng = np.random.default_rng(4)
    features = gaussian(N, rng)
    mean = features.mean(axis=0)
    features[17] = mean + 10 * (features[17] - mean)
    found = suspects.outliers(kernel(features))
    x = np.sort(np.linalg.norm(features - features.mean(axis=0), axis=1))[::-1][:23]
    spacings = np.arange(1, 23) * np.log(x[:-1] / x[1:])
    assert found.value == pytest.approx(spacings[0] / spacings[1:].mean(), rel=1e-9)
    assert found.threshold == pytest.approx(stats.f.isf(2e-4, 2, 42), rel=1e-12)
    assert found.samples == (17,)


def test_several_outliers_are_named_together():
    features = gaussian(N, np.random.default_rng(5))
    features[[4, 90, 120]] *= 6
    found = suspects.outliers(kernel(features))
    assert trips(found) and found.samples == (4, 90, 120)


def test_a_pareto_tail_has_no_outliers():
    """Orthogonal samples; more than 6 alarms in 1,000 draws would have a probability below .001."""
    rng, alarms = np.random.default_rng(6), 0
    for _ in range(1000):
        x = np.sort(rng.pareto(2.0, 120) + 1)[::-1]
        alarms += trips(suspects.outliers(torch.from_numpy(np.diag(x**2))))
    assert alarms <= 6


def test_the_tail_of_features_is_hills_estimate():
    features = gaussian(N, np.random.default_rng(9), 0.7)
    found = suspects.heavy_features(kernel(features))
    x = np.sort(np.linalg.norm(features - features.mean(axis=0), axis=1))[::-1]
    assert found.value == pytest.approx(np.log(x[:22] / x[22]).mean(), rel=1e-9)


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("draw", [gaussian, power_law, one_dimension, relu])
def test_features_with_a_fourth_moment_have_no_heavy_tail(draw, n):
    rng = np.random.default_rng(10)
    found = [suspects.heavy_features(kernel(draw(n, rng))) for _ in range(30)]
    assert sum(map(trips, found)) <= 1


def test_the_threshold_of_one_dimension_is_that_of_normal_numbers():
    rng = np.random.default_rng(11)
    heights = np.sort(np.abs(rng.standard_normal((4000, 200))), axis=1)[:, ::-1]
    drawn = np.log(heights[:, :20] / heights[:, 20:21]).mean(axis=1)
    known = np.quantile(drawn, 0.999)
    assert suspects._gaussian_tail(200, 20, 1.0)[0] == pytest.approx(known, rel=0.05)


def test_students_features_have_a_heavy_tail():
    draws = populations()["t3 features"].sample
    found = [
        suspects.heavy_features(kernel(draws(200, np.random.default_rng([12, seed]))[0]))
        for seed in range(20)
    ]
    assert sum(map(trips, found)) >= 18
    assert np.mean([one.value for one in found]) == pytest.approx(1 / 3, abs=0.05)


def test_the_kurtosis_of_losses_names_those_that_carry_half_of_the_risk():
    losses = torch.tensor([1.0, 4.0, 1.0, 30.0, 1.0, 1.0, 20.0, 2.0], dtype=torch.float64)
    found = suspects.heavy_losses(losses)
    assert found.value == pytest.approx(float((losses**2).mean() / losses.mean() ** 2))
    assert found.samples == (3,) and found.numbers["share"] == pytest.approx(50)
    assert found.numbers["count"] == 1 and found.numbers["n"] == 8


def test_students_noise_is_told_from_normal_noise_and_classes_are_not_asked():
    heavy, normal = (populations()[name] for name in ("t3 noise", "isotropic, p = 2n"))
    seen = {}
    for population in (heavy, normal):
        draws = [population.sample(300, np.random.default_rng([13, seed])) for seed in range(15)]
        found = [report(*draw, 1e-2 * len(draw[0]) / 300, n=300) for draw in draws]
        seen[population] = sum("heavy_losses" in tripped(one) for one in found)
    assert seen[heavy] >= 11 and seen[normal] == 0
    rng = np.random.default_rng(14)
    features = gaussian(N, rng)
    coded = report(features, np.sign(linear(features, rng)))
    assert "heavy_losses" not in {finding.detector for finding in coded.findings}


HIDDEN = {"class_prior", "heteroscedastic_noise", "t3_noise"}
"""Failures that digits show in fewer than nine draws of ten (`make bench BENCH=alarms`)."""


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.mark.parametrize(
    "fail", [one for one in FAILURES if one.__name__ not in HIDDEN], ids=lambda one: one.__name__
)
def test_a_planted_failure_of_digits_is_found(fail, digits):
    about = "fit" if fail.__name__ == "float32_rounding" else "data"
    for seed in range(2):
        rng = np.random.default_rng([15, seed])
        draw = fail(clean(digits, 400, 400, rng), rng)
        assert isinstance(draw, Draw)
        found = [one for one in draw.report(trust_report).findings if one.tripped]
        named = {at for one in found for at in one.samples}
        tests = {at for one in found for at in one.test_samples}
        assert any(one.about == about for one in found)
        assert len(named.intersection(draw.planted.tolist())) >= 0.9 * len(draw.planted)
        assert tests.issuperset(draw.planted_tests.tolist())


@pytest.mark.parametrize("n", [100, 300])
def test_clean_digits_raise_no_alarm(n, digits):
    alarms = []
    for seed in range(6):
        draw = clean(digits, n, 300, np.random.default_rng([16, seed]))
        alarms.append(not draw.report(trust_report).clean)
    assert sum(alarms) <= 1
