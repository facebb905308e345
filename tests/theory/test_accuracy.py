"""Errors predicted from a pool against fits to fresh draws, and their calibration."""

import numpy as np
import pytest
import torch
from accuracy_cases import Labelled, influence_of
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.theory.accuracy import (
    calibration,
    calibration_error,
    class_errors,
    interval,
    predicted_error,
)
from rmtgen.theory.errors_within import error_within, fits_within

COLUMNS = ["n", "ridge", "predicted_error", "predicted_error_se", "low", "high", "extrapolated"]


@pytest.fixture(scope="module")
def pool():
    return Labelled(4, 40).influence(160, np.random.default_rng(0))


# --- against populations


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("ridge", [0.003, 0.3])
def test_errors_are_those_of_fits_to_fresh_draws(classes, ridge):
    """The mean of 8 pools, which is known to some .01, at a sixteenth of the pool up to the pool.

    Without the noise of fewer samples the error would be far less.
    """
    population, rng = Labelled(classes, 60), np.random.default_rng(1)
    sizes = [20, 80, 320]
    pools = [population.influence(320, rng) for _ in range(8)]
    frames = [predicted_error(one, sizes, ridges=ridge) for one in pools]
    found = np.mean([frame.predicted_error for frame in frames], axis=0)
    known = [population.errors(size, ridge, 10, rng).mean() for size in sizes]
    np.testing.assert_allclose(found, known, atol=0.03)
    assert known[0] - known[-1] > 0.08


def test_errors_of_several_guesses_are_those_of_fits():
    population, rng = Labelled(6, 60), np.random.default_rng(2)
    pools = [population.influence(200, rng) for _ in range(6)]
    for top in (2, 3):
        frames = [predicted_error(one, [25, 200], ridges=0.1, top=top) for one in pools]
        found = np.mean([frame.predicted_error for frame in frames], axis=0)
        known = [population.errors(size, 0.1, 10, rng, top).mean() for size in (25, 200)]
        np.testing.assert_allclose(found, known, atol=0.03)


def test_beyond_the_pool_errors_are_those_of_fits():
    """Twice and eight times the pool, at the best ridge; that of the pool would be far too much."""
    population, rng = Labelled(4, 300), np.random.default_rng(3)
    sizes = [200, 400, 1600]
    frames = [predicted_error(population.influence(200, rng), sizes) for _ in range(16)]
    found = np.mean([frame.predicted_error for frame in frames], axis=0)
    ridges = np.mean([frame.ridge for frame in frames], axis=0)
    pairs = zip(sizes, ridges, strict=True)
    known = [population.errors(size, ridge, 3, rng).mean() for size, ridge in pairs]
    np.testing.assert_allclose(found, known, atol=0.04)
    assert known[0] - known[-1] > 0.1


@pytest.mark.parametrize(("size", "classes"), [(60, 2), (15, 2)])
def test_intervals_cover(size, classes):
    """The error of fits of that size, of 100 pools of 60: at least .90 where .95 is nominal, and
    intervals of useful width."""
    population, rng = Labelled(classes, 20), np.random.default_rng(4)
    known = population.errors(size, 0.1, 60, rng).mean()
    at = np.array([0.1]), np.array([float(size)])
    pools = [population.influence(60, rng) for _ in range(100)]
    found = [next(fits_within(pool, *at)).predicted() for pool in pools]
    ends = [interval(one.error, one.spread, 60) for one in found]
    assert np.mean([low <= known <= high for low, high in ends]) >= 0.90
    errors, spreads = np.transpose([(one.error, one.spread) for one in found])
    assert 0.7 < spreads.mean() / errors.std() < 1.6


# --- identities


@pytest.mark.parametrize("coding", ["onehot", "centered", "intercept"])
@pytest.mark.parametrize("classes", [2, 4])
def test_at_the_size_of_the_pool_it_is_leave_one_out(classes, coding):
    features, labels = Labelled(classes, 150).sample(60, np.random.default_rng(5))
    influence = influence_of(features, labels, classes, coding)
    targets = rmtgen.encode_targets(labels, classes, coding)
    ridges = [1e-3, 0.1, 2.0]
    path = rmtgen.ridge_path(
        features @ features.T, targets.values, ridges=ridges, intercept=targets.intercept
    )
    found = predicted_error(influence, [60], ridges=ridges)
    assert found.columns.tolist() == COLUMNS
    assert found.predicted_error.tolist() == path.loo_error.tolist()
    assert not found.extrapolated.any()


def test_rows_are_sizes_by_ridges_or_the_best_ridge_of_each_size(pool):
    frame = predicted_error(pool, [20, 300], ridges=[0.1, 1.0])
    assert frame[["n", "ridge"]].to_numpy().tolist() == [
        [20, 0.1],
        [20, 1.0],
        [300, 0.1],
        [300, 1.0],
    ]
    best = predicted_error(pool, [20, 300])
    assert best.ridge.tolist() == rmtgen.forecast(pool, [20, 300]).ridge.tolist()
    assert ((frame.low < frame.predicted_error) & (frame.predicted_error < frame.high)).all()


def test_a_scale_of_the_kernel_changes_nothing():
    features, labels = Labelled(3, 30).sample(50, np.random.default_rng(6))
    plain, scaled = (influence_of(unit * features, labels, 3) for unit in (1, 8))
    found = predicted_error(plain, [10, 50, 200], ridges=[0.1, 1.0])
    other = predicted_error(scaled, [10, 50, 200], ridges=[6.4, 64.0])
    for name in COLUMNS[2:-1]:
        np.testing.assert_allclose(found[name], other[name], atol=1e-6)


def test_more_samples_err_less_and_join_at_the_pool(pool):
    frame = predicted_error(pool, [10, 40, 159, 160, 161, 600, 10**6])
    errors = frame.predicted_error.to_numpy()
    assert (np.diff(errors) < 0.02).all()
    assert errors[0] > errors[3] + 0.1
    assert np.ptp(errors[2:5]) < 0.03  # one curve on both sides of the pool's size
    assert errors[-1] < errors[3]


def test_where_a_fit_begins_to_interpolate_errors_are_those_of_noise():
    """Of 30 features 30 samples at λ = 0 have a risk of ∞: chance, and no standard error."""
    features, labels = Labelled(2, 30).sample(60, np.random.default_rng(12))
    influence = influence_of(features, labels, 2)
    row = predicted_error(influence, [30], ridges=0.0).iloc[0]
    assert row.predicted_error == pytest.approx(0.5)
    assert np.isnan(row[["predicted_error_se", "low", "high"]].astype(float)).all()
    assert calibration(influence, [30], ridges=0.0).temperature.isna().all()


def test_where_the_forecast_does_not_reach_nothing_is_said():
    influence = Labelled(3, 400).influence(100, np.random.default_rng(13))
    assert rmtgen.forecast(influence, [10**10], ridges=0.0).predicted_risk.isna().all()
    frame = predicted_error(influence, [10**10], ridges=0.0)
    assert frame[["predicted_error", "predicted_error_se", "low", "high"]].isna().all(axis=None)
    assert class_errors(influence, 10**10, ridge=0.0).predicted_error.isna().all()


def test_classes_add_up_to_the_whole(pool):
    for n in (30, 160, 500):
        rows, whole = class_errors(pool, n, ridge=0.1), predicted_error(pool, [n], ridges=0.1)
        share = (rows.samples * rows.predicted_error).sum() / rows.samples.sum()
        assert share == pytest.approx(whole.predicted_error[0], abs=1e-12)
        assert ((rows.low <= rows.predicted_error) & (rows.predicted_error <= rows.high)).all()
    assert rows["class"].tolist() == [0, 1, 2, 3]
    assert rows.samples.sum() == 160


def test_a_class_has_the_interval_of_its_samples(pool):
    """Also where all of them have one chance, whose scatter says nothing."""
    for n in (30, 500):
        for row in class_errors(pool, n).itertuples():
            centre, count, reach = row.predicted_error, row.samples, 1.959963984540054**2
            half = (reach * (centre * (1 - centre) / count + reach / count**2 / 4)) ** 0.5
            ends = [(centre + reach / count / 2 + sign * half) for sign in (-1, 1)]
            assert [row.low, row.high] == pytest.approx(
                [end / (1 + reach / count) for end in ends], rel=1e-9
            )


def test_of_a_class_that_the_pool_lacks_nothing_is_known():
    features, labels = Labelled(3, 30).sample(50, np.random.default_rng(7))
    influence = influence_of(features, 2 * labels // 2 + (labels > 0), 4)
    rows = class_errors(influence, 50, ridge=0.1)
    assert rows.samples.tolist()[1] == 0
    assert rows.loc[1, ["predicted_error", "low", "high"]].isna().all()
    assert rows.drop(index=1).notna().all(axis=None)
    assert predicted_error(influence, [10, 200], ridges=0.1).notna().all(axis=None)


@settings(max_examples=40)
@given(st.floats(0, 1), st.floats(0.001, 0.2), st.integers(8, 10**5))
def test_an_interval_holds_its_share_within_zero_and_one(share, spread, count):
    low, high = interval(share, spread, count)
    assert -1e-12 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1 + 1e-12


def test_the_interval_of_independent_samples_is_wilsons():
    """8 of 20: (.2188, .6134), by the formula of Wilson (1927)."""
    found = interval(0.4, (0.4 * 0.6 / 20) ** 0.5, 20)
    assert found == pytest.approx((0.21880, 0.61342), abs=1e-5)
    assert interval(0.0, 0.0, 20) == pytest.approx((0.0, 0.16113), abs=1e-5)


def test_classes_that_a_fit_lacks_widen_its_interval():
    """Fits of 4 of 60 samples lack a class of p with (1 − p)⁴; those of 60, as the pool, none."""
    influence = Labelled(6, 30).influence(60, np.random.default_rng(14))
    shares = np.bincount(influence.scores.labels.numpy(), minlength=6) / 60
    known = (shares * ((1 - shares) ** 4 - (1 - shares) ** 60)).sum()
    few, whole = (error_within(influence, n, 0.1, 1) for n in (4, 60))
    assert few.unseen == pytest.approx(known, rel=1e-12)
    jackknife = 59**0.5 * few.moves.std()
    assert few.spread == pytest.approx(np.hypot(jackknife, known * (1 - few.error) / 2), rel=1e-9)
    assert whole.unseen == 0
    assert whole.spread == pytest.approx(59**0.5 * whole.moves.std(), rel=1e-12)


# --- calibration


def test_the_temperature_has_the_least_logarithmic_loss(pool):
    for row in calibration(pool, [160], ridges=[0.01, 1.0]).itertuples():
        features, labels = Labelled(4, 40).sample(160, np.random.default_rng(0))
        inverse = np.linalg.inv(features @ features.T + 160 * row.ridge * np.eye(160))
        coded = Labelled(4, 40).coded(labels)
        scores = coded - inverse @ coded / np.diag(inverse)[:, None]

        def loss(temperature, scores=scores, labels=labels):
            logits = scores / temperature
            own = logits[np.arange(160), labels]
            return (np.log(np.exp(logits).sum(1)) - own).mean()

        assert row.log_loss == pytest.approx(loss(row.temperature), rel=1e-9)
        around = row.temperature * np.array([0.99, 1.01])
        assert row.log_loss < min(loss(one) for one in around)


def test_the_calibration_error_is_the_gap_in_bins():
    rng = np.random.default_rng(8)
    logits, labels = rng.standard_normal((300, 3)), rng.integers(0, 3, 300)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = shares.max(1).argsort()
    gaps = [
        abs((shares[part].max(1) - (shares[part].argmax(1) == labels[part])).sum())
        for part in np.array_split(order, 15)
    ]
    logs = torch.log_softmax(torch.from_numpy(logits), dim=1)
    found = calibration_error(logs, torch.from_numpy(labels))
    assert found == pytest.approx(sum(gaps) / 300, rel=1e-12)


def test_a_temperature_from_the_pool_calibrates_fits_to_fresh_draws():
    population, rng = Labelled(4, 40), np.random.default_rng(9)
    influence = population.influence(400, rng)
    for n in (50, 400):
        row = calibration(influence, [n], ridges=0.1).iloc[0]
        features, labels = population.sample(n, rng)
        tests, known = population.sample(4000, rng)
        gram = features.T @ features + n * 0.1 * np.eye(40)
        scores = tests @ np.linalg.solve(gram, features.T @ population.coded(labels))
        gaps = [
            calibration_error(
                torch.log_softmax(torch.from_numpy(scores / (stretch * row.temperature)), dim=1),
                torch.from_numpy(known),
            )
            for stretch in (1.0, 0.4, 2.5)
        ]
        assert gaps[0] < 0.06 < min(gaps[1:])


# --- bad input


def test_targets_without_classes_have_no_errors():
    rng = np.random.default_rng(10)
    features = rng.standard_normal((20, 30))
    modes = rmtgen.gram_modes(features @ features.T)
    influence = rmtgen.pool_influence(modes, rng.standard_normal(20))
    for call in (
        lambda: predicted_error(influence, [10]),
        lambda: class_errors(influence, 10),
        lambda: calibration(influence, [10]),
    ):
        with pytest.raises(UsageError, match="targets that encode classes: got .* encode_targets"):
            call()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top": 4}, r"top must be a whole number in \[1, 3\]: got 4. Take fewer guesses"),
        ({"top": 0}, "top must be a whole number"),
        ({"sizes": [1]}, "sizes must be finite and >= 2: got 1"),
        ({"ridges": [-1.0]}, "ridges must be >= 0: got -1"),
        ({"influence": 3}, "influence must be a Influence: got int 3. Compute it"),
    ],
)
def test_bad_input_is_refused_with_its_values(pool, wrong, message):
    arguments = {"influence": pool, "sizes": [20], "ridges": [0.1]} | wrong
    with pytest.raises(UsageError, match=message):
        predicted_error(arguments.pop("influence"), arguments.pop("sizes"), **arguments)


def test_a_pool_below_eight_samples_has_no_interval():
    features, labels = Labelled(2, 3).sample(7, np.random.default_rng(11))
    frame = predicted_error(influence_of(features, labels, 2), [4, 7, 100], ridges=[0.1])
    assert frame.predicted_error.notna().all()
    assert frame[["predicted_error_se", "low", "high"]].isna().all(axis=None)
