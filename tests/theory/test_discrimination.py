"""Errors from the share of the targets that fits explain: the pieces, and pools against fits."""

import numpy as np
import pytest
from accuracy_cases import Labelled, influence_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from rmtgen.theory.accuracy import predicted_error
from rmtgen.theory.curves import Curves
from rmtgen.theory.discrimination import (
    PRIOR,
    PRIOR_SPREAD,
    ROUGHNESS,
    Guesses,
    Line,
    explained,
    separation,
)
from rmtgen.theory.errors_beyond import Beyond, covariance
from rmtgen.theory.errors_within import Within
from rmtgen.theory.forecast import Forecasts

EVEN = np.full(5, 20)


def known_curves(spectrum, power, noise):
    """Those of a population, at κ from far above to far below its spectrum."""
    kappa = np.geomspace(1e-6, 1e7, 3_000)
    shrunk = spectrum / (spectrum + kappa[:, None])
    floor = noise + ((1 - shrunk) ** 2 * power).sum(1)
    return Curves(kappa, shrunk.sum(1), (shrunk**2).sum(1), floor, trusted=0.0, taken=0)


# --- guesses


def test_two_classes_err_as_the_difference_of_two_normal_numbers():
    index = np.linspace(0, 6, 25)
    found = Guesses(2, 1, 0.5).error(index)
    np.testing.assert_allclose(found, norm.sf(index / 2**0.5), rtol=1e-4)


@pytest.mark.parametrize(("classes", "top"), [(4, 1), (4, 2), (30, 5)])
def test_guesses_err_as_often_as_others_are_larger(classes, top):
    """200,000 draws: three standard errors are 0.0034."""
    draws = np.random.default_rng(0).standard_normal((200_000, classes))
    guesses = Guesses.of(np.full(classes, 10), top)
    for index in (0.0, 0.7, 2.2):
        larger = (draws[:, 1:] > draws[:, :1] + index).sum(1)
        found = guesses.error(np.array([index]))[0]
        assert found == pytest.approx((larger >= top).mean(), abs=0.0035)
    assert guesses.chance == pytest.approx(1 - top / classes)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 200), st.floats(0.01, 6.0), st.floats(0.2, 1.0))
def test_an_error_has_one_index(classes, index, share):
    guesses = Guesses(classes, 1, share * (1 - 1 / classes))
    error = guesses.error(np.array([index]))
    assert guesses.index(error)[0] == pytest.approx(index, abs=1e-3)
    near = guesses.error(index + np.array([-0.01, 0.01]))
    assert guesses.slope(np.array([index]))[0] == pytest.approx(np.ptp(near) / -0.02, rel=0.02)
    assert guesses.index(np.array([1.0]))[0] == 0


def test_chance_is_that_of_the_largest_classes_if_they_are_larger_than_by_chance():
    uneven = np.array([600, 200, 100, 100])
    assert Guesses.of(uneven, 1).chance == pytest.approx(0.4, abs=0.002)
    assert Guesses.of(uneven, 2).chance == pytest.approx(0.2, abs=0.002)
    drawn = np.random.default_rng(1).multinomial(500, np.full(100, 0.01))
    assert drawn.max() > 9
    assert Guesses.of(drawn, 1).chance == pytest.approx(0.99, abs=0.003)
    assert Guesses.of(np.array([7, 0]), 1).chance == pytest.approx(0.0)


# --- what is explained


def test_the_mean_fit_and_the_targets_have_the_learnt_part_in_common():
    rng = np.random.default_rng(2)
    spectrum, power = rng.exponential(1, 50) ** 3, rng.exponential(1, 50)
    curves = known_curves(spectrum, power, 0.7)
    known = (power * spectrum / (spectrum + curves.kappa[:, None])).sum(1)
    inside = (curves.kappa > 1e-4) & (curves.kappa < 1e3)
    np.testing.assert_allclose(curves.learnt[inside], known[inside], rtol=1e-3)


@pytest.mark.parametrize("ridge", [1e-3, 1e-1])
def test_a_share_is_that_of_the_best_factor_of_fits(ridge):
    """Twelve fits to fresh samples, each scaled as is best on the test; the pool does not know."""
    population, rng = Labelled(3, 40), np.random.default_rng(3)
    tests, labels = population.sample(4_000, rng)
    target, shares = population.coded(labels), []
    for _ in range(12):
        features, drawn = population.sample(60, rng)
        gram = features.T @ features + 60 * ridge * np.eye(40)
        scores = tests @ np.linalg.solve(gram, features.T @ population.coded(drawn))
        common, own = (target * scores).sum(), (scores**2).sum()
        shares.append(common**2 / own / (target**2).sum())
    pools = [population.influence(400, rng) for _ in range(4)]
    found = []
    for pool in pools:
        curves = Forecasts.of(pool).point
        _, risk, kappa = curves.fit(60, ridge)
        found.append(explained(curves, kappa, risk, pool.scores.centre))
    assert np.mean(found) == pytest.approx(np.mean(shares), rel=0.12)


def test_a_constant_in_the_targets_explains_nothing():
    """A code of zeros and ones, with a feature of ones, and the centred code without it."""
    features, labels = Labelled(4, 30).sample(200, np.random.default_rng(4))
    labels[:60] = 0
    with_ones = np.concatenate([features, np.full((200, 1), 30.0)], axis=1)
    coded, centred = (
        influence_of(with_ones, labels, 4, coding) for coding in ("onehot", "intercept")
    )
    found = [predicted_error(one, [400], ridges=0.1).predicted_error[0] for one in (coded, centred)]
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert coded.scores.centre > 0.2
    assert centred.scores.centre == 0


def test_nothing_explained_is_chance_and_no_risk_is_no_share():
    curves = known_curves(np.ones(3), np.ones(3), 1.0)
    assert explained(curves, 1e6, curves.floor[-1] * 1.2, 0.0) < 1e-5
    assert np.isnan(explained(curves, 1.0, np.nan, 0.0))
    line = Line(Guesses.of(EVEN, 1), PRIOR, np.diag(PRIOR_SPREAD**2))
    assert line.errors(np.array([0.0]))[0] == pytest.approx(0.8)
    assert line.spread(0.0) == 0


def test_where_the_mean_of_the_targets_is_not_learnt_nothing_is_said():
    """59 of 60 samples of one class, features without a constant: far from chance, so no number."""
    rng = np.random.default_rng(12)
    features, labels = rng.standard_normal((60, 80)), np.arange(60) // 59
    frame = predicted_error(influence_of(features, labels, 2), [60, 240], ridges=[1e3])
    assert frame.predicted_error[0] > 0.2
    assert frame[["predicted_error", "low", "high"]].iloc[1].isna().all()


def test_an_error_of_chance_is_as_sure_as_the_shares_of_the_pool():
    rng = np.random.default_rng(13)
    features, labels = rng.standard_normal((100, 120)), np.arange(100) % 4
    row = predicted_error(influence_of(features, labels, 4), [400], ridges=[1e4]).iloc[0]
    least = (row.predicted_error * (1 - row.predicted_error) / 100) ** 0.5
    assert row.predicted_error > 0.6
    assert row.predicted_error_se >= least


# --- the line


def test_the_line_is_that_of_least_squares_with_the_prior_as_two_more_rows():
    guesses, rng = Guesses.of(EVEN, 1), np.random.default_rng(5)
    errors, separations = np.array([0.31, 0.42, 0.6]), np.array([2.0, 1.4, 0.8])
    root = 0.02 * rng.standard_normal((3, 3))
    line = Line.fitted(guesses, errors, root @ root.T, separations)
    index = guesses.index(errors)
    jacobian = 1 / (index * guesses.slope(index))
    noise = jacobian[:, None] * (root @ root.T) * jacobian + ROUGHNESS**2 * np.eye(3)
    whiten = np.linalg.inv(np.linalg.cholesky(noise))
    rows = np.concatenate(
        [whiten @ np.stack([np.ones(3), np.log(separations)], 1), np.diag(1 / PRIOR_SPREAD)]
    )
    known = np.concatenate([whiten @ np.log(index), PRIOR / PRIOR_SPREAD])
    np.testing.assert_allclose(line.means, np.linalg.lstsq(rows, known)[0], rtol=1e-9)
    np.testing.assert_allclose(line.covariance, np.linalg.inv(rows.T @ rows), rtol=1e-9)


def test_errors_have_the_covariance_of_the_jackknife_and_of_one_sample():
    """Of means, the sample covariance over N: a mean loses (x_i − mean)/(N − 1) with sample i."""
    values = np.random.default_rng(11).standard_normal((2, 50))
    moves = -(values - values.mean(1, keepdims=True)) / 49
    known = np.cov(values) / 50 + np.eye(2) / 50**2
    np.testing.assert_allclose(covariance(moves), known, rtol=1e-12)


def test_errors_that_say_nothing_leave_the_prior():
    none = Line.fitted(Guesses.of(EVEN, 1), np.array([0.5]), np.zeros((1, 1)), np.array([0.0]))
    np.testing.assert_allclose(none.means, PRIOR)
    np.testing.assert_allclose(none.covariance, np.diag(PRIOR_SPREAD**2))


def test_a_spread_is_that_of_errors_under_draws_of_the_line():
    guesses, rng = Guesses.of(EVEN, 1), np.random.default_rng(6)
    line = Line(guesses, PRIOR, np.diag([0.02, 0.03]) ** 2)
    draws = rng.multivariate_normal(PRIOR, line.covariance, 4_000)
    logs = draws @ [1, np.log(1.7)] + ROUGHNESS * rng.standard_normal(4_000)
    assert line.spread(1.7) == pytest.approx(guesses.error(np.exp(logs)).std(), rel=0.05)


def test_classes_that_are_alike_and_normal_have_an_index_of_their_separation():
    """Scores around their class, of equal noise: what they explain says how often they err."""
    rng, classes = np.random.default_rng(7), 12
    labels = np.repeat(np.arange(classes), 5_000)
    target = np.eye(classes)[labels] - 1 / classes
    scores = 0.5 * target + 0.4 * (noise := rng.standard_normal(target.shape))
    scores -= 0.4 * noise.mean(1, keepdims=True)
    share = (target * scores).sum() ** 2 / (scores**2).sum() / (target**2).sum()
    index = np.array([separation(classes, share)])
    error = (scores.argmax(1) != labels).mean()
    assert Guesses.of(np.full(classes, 5_000), 1).error(index)[0] == pytest.approx(error, abs=0.01)


# --- pools


def test_at_the_best_ridge_more_samples_do_not_err_more():
    population, rng = Labelled(4, 60), np.random.default_rng(8)
    for _ in range(6):
        errors = predicted_error(population.influence(80, rng), [80, 81, 160, 10**5])
        assert (np.diff(errors.predicted_error) <= 1e-12).all()


def test_intervals_beyond_a_pool_cover():
    """The error of fits of four times the pool, of 24 pools of 80: 21 at least."""
    population, rng = Labelled(5, 100), np.random.default_rng(9)
    rows = [predicted_error(population.influence(80, rng), [320]).iloc[0] for _ in range(24)]
    ridge = np.median([row.ridge for row in rows])
    known = population.errors(320, ridge, 12, rng).mean()
    assert np.mean([row.low <= known <= row.high for row in rows]) >= 21 / 24
    errors, spreads = np.transpose([(row.predicted_error, row.predicted_error_se) for row in rows])
    assert spreads.mean() < 3 * errors.std()


def test_chances_beyond_a_pool_have_the_mean_of_the_error():
    chances = np.array([0.0, 0.2, 0.9, 1.0])
    whole = Within(4, 0.1, chances, np.zeros(4), 0.0)
    for error in (0.1, whole.error, 0.7, 1.0):
        found = Beyond(8, 0.1, error, 0.0, whole).chances
        assert found.mean() == pytest.approx(error)
        assert ((found >= 0) & (found <= 1)).all()
        assert (np.diff(found) >= 0).all()


def test_a_pool_without_a_wrong_sample_still_has_an_interval():
    rng = np.random.default_rng(10)
    labels = np.arange(60) % 3
    features = np.eye(3)[labels] + 0.05 * rng.standard_normal((60, 3))
    row = predicted_error(influence_of(features, labels, 3), [240]).iloc[0]
    assert row.predicted_error == 0
    assert row.low == pytest.approx(0, abs=1e-12)
    assert 0 < row.high < 0.1
