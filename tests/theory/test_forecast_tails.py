"""The curves that forecasts rest on: their tails, and resampled pools."""

import numpy as np
import pytest
from forecast_cases import drawn, influence_of
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.curves import Curves, deltas
from rmtgen.theory.extrapolation import curves, resampled_curves
from rmtgen.theory.tails import EXPONENTS, floor_law, noiseless_tail, power_tail
from rmtgen.theory.transport import pool_sums, transported


@pytest.fixture(scope="module")
def wide():
    return influence_of(240, 1200, 0)


@pytest.fixture(scope="module")
def tall():
    return influence_of(240, 60, 0)


# --- the curves and their tails


@pytest.mark.parametrize("size", [240, 100])
@pytest.mark.parametrize("noise", [0.0, 0.1, 2.0])
def test_the_curves_join_and_are_monotone(size, noise):
    one = curves(influence_of(size, 1200, 2, noise).pool)
    assert (np.diff(one.kappa) > 0).all()
    assert (np.diff(one.df1) < 0).all()
    assert ((one.df2 > 0) & (one.df2 < one.df1)).all()
    below = one.kappa <= one.trusted
    assert below.sum() > 100
    assert (np.diff(one.floor[below]) >= 0).all()
    assert one.df1[below][-1] == pytest.approx(size / 2, rel=0.03)
    for curve in (one.df1, one.floor):
        last, first, second = np.log(curve[below][[-3, -2, -1]])
        assert abs(second - first) < 3 * abs(first - last) + 1e-3
    for n in (size, 10 * size):
        assert (np.diff(one.surface(n)[0]) > 0).all()


@pytest.mark.parametrize("size", [240, 400])
def test_the_second_degrees_of_freedom_join_too(size):
    """A step in df2 would be a step in every risk."""
    one = curves(influence_of(size, 1200, 2).pool)
    steps, joint = np.abs(np.diff(np.log(one.df2))), int(np.searchsorted(one.kappa, one.trusted))
    assert steps[joint - 1 : joint + 1].max() < 3 * np.median(steps[joint - 50 : joint + 50]) + 2e-3


def test_the_tail_is_a_power_law():
    one = curves(influence_of(240, 1200, 2).pool)
    below = one.kappa < one.trusted
    slopes = np.diff(np.log(one.df1[below])) / np.diff(np.log(one.kappa[below]))
    assert np.ptp(slopes) < 1e-9
    assert -1 / slopes[0] == pytest.approx(1.5, abs=0.25)
    assert one.kappa[0] == pytest.approx(1e-6 * one.trusted, rel=1e-6)


def test_the_measured_part_is_what_the_pool_says(wide):
    one, sums = curves(wide.pool), pool_sums(wide.pool, deltas(wide.pool))
    kept = one.kappa >= one.trusted
    np.testing.assert_allclose(one.kappa[kept], sums.kappa[-kept.sum() :], rtol=1e-12)
    np.testing.assert_allclose(one.df1[kept], 240 - sums.s1[-kept.sum() :], rtol=1e-12)
    np.testing.assert_allclose(
        one.df2[kept], 240 - (sums.s1**2 / sums.s2)[-kept.sum() :], rtol=1e-12
    )
    np.testing.assert_allclose(one.floor[kept], (sums.energy / sums.s2)[-kept.sum() :], rtol=1e-12)
    assert (sums.s1[-kept.sum() :] >= 120).all()
    assert sums.s1[-kept.sum() - 1] < 120


sizes_of_curve = st.integers(20, 2000)


@settings(max_examples=40)
@given(sizes_of_curve, st.floats(0.05, 5), st.floats(0.05, 5), st.integers(60, 199))
def test_a_planted_floor_is_recovered(size, constant, factor, place):
    """floor = T + c·(df1/df1_min)^−s over three doublings, s ≥ .19 of the tried ones."""
    df1 = np.geomspace(1 / 16, 1 / 2, 60) * size
    scaled = factor * df1[0] ** EXPONENTS[place]
    found = floor_law(df1, constant + scaled * df1 ** -EXPONENTS[place])
    assert found == pytest.approx((constant, scaled, EXPONENTS[place]), rel=1e-4)


@settings(max_examples=20)
@given(sizes_of_curve, st.floats(0.3, 3.5), st.sampled_from([0.0, 0.5, 2.0]))
def test_between_the_tried_exponents_the_nearest_is_found(size, exponent, constant):
    df1 = np.geomspace(1 / 16, 1 / 2, 60) * size
    floor = constant + (df1 / df1[0]) ** -exponent
    t, c, s = floor_law(df1, floor)
    assert s == pytest.approx(exponent, rel=0.1)
    # df1 spans a factor of 8, along which the nearest exponent parts from the law by so much
    parting = 8 ** np.abs(np.array(EXPONENTS) - exponent).min() - 1
    np.testing.assert_allclose(t + c * df1**-s, floor, rtol=parting + 1e-6)


@settings(max_examples=60)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=12), st.floats(1, 1000))
def test_no_floor_gives_a_negative_part(logs, start):
    df1 = np.geomspace(start, 8 * start, len(logs))
    t, c, s = floor_law(df1, np.exp(logs))
    assert min(t, c) >= 0
    assert t + c > 0
    assert np.isfinite([t, c, s]).all()
    assert s in EXPONENTS


def test_a_rising_and_a_flat_floor_are_all_constant():
    df1 = np.geomspace(1, 8, 20)
    for floor in (df1**0.5, np.full(20, 0.7)):
        t, c, s = floor_law(df1, floor)
        assert c * df1[0] ** -s < 1e-6 * t
    assert t == pytest.approx(0.7, rel=1e-6)


# --- resampled pools


def test_resampled_pools_are_seeded_and_lie_about_the_pool(wide):
    first, again, other = (resampled_curves(wide, 40, seed) for seed in (0, 0, 1))
    assert len(first) == 40
    risks = [np.array([one.best(500)[1] for one in draw]) for draw in (first, again, other)]
    assert risks[0].tolist() == risks[1].tolist() != risks[2].tolist()
    point = curves(wide.pool).best(500)[1]
    assert abs(np.log(risks[0]).mean() - np.log(point)) < np.log(risks[0]).std()
    assert 0.02 < np.log(risks[0]).std() < 0.5


def test_resampled_pools_spread_as_standard_errors_say(tall):
    """Within the pool both say how much its draw matters: 200 draws, 5 % uncertain, first order in
    the resampling alone."""
    n, ridge = 100, 0.05
    logs = np.log([one.fit(n, ridge)[1] for one in resampled_curves(tall)])
    error = tall.jackknife_errors(
        transported(tall.pool, ridge, n), np.array(ridge), np.array(float(n))
    )
    assert logs.std() == pytest.approx(float(error), rel=0.2)


def test_resampled_pools_are_those_of_the_samples_drawn(tall):
    """The same draws, with their twins: what first-order weights predict is what eigensolves of
    the 30 drawn pools find."""
    gram, targets = drawn(240, 60, 0)
    times = np.random.default_rng(0).multinomial(240, np.full(240, 1 / 240), size=30)
    known = []
    for rows in (np.repeat(np.arange(240), count) for count in times):
        pool = Spectrum.of(gram_modes(gram[np.ix_(rows, rows)]), targets[rows])
        known.append(np.log(transported(pool, 0.05, 100).risk))
    found = np.log([one.fit(100, 0.05)[1] for one in resampled_curves(tall, 30)])
    assert np.corrcoef(known, found)[0, 1] > 0.9
    assert np.std(found) == pytest.approx(np.std(known), rel=0.25)


# --- the tail

DIRECTIONS = 400


def power_law_curves(a=1.4, s=0.6, noise=0.2, bumps=()):
    """Curves that are power laws throughout, with bumps of the floor (low, high, factor) over
    shares of the directions."""
    kappa = np.geomspace(1e-6, 1, 900)
    df1 = 0.05 * kappa ** (-1 / a)
    floor = noise + df1**-s
    for low, high, factor in bumps:
        floor = np.where(
            (df1 > low * DIRECTIONS) & (df1 < high * DIRECTIONS), factor * floor, floor
        )
    return Curves(kappa, df1, (1 - 1 / a) * df1, floor, 0.0, 0)


def with_tail(whole, tail=power_tail):
    return whole.joined(tail(whole, DIRECTIONS), DIRECTIONS)


def test_a_tail_goes_on_as_the_power_laws_before_it():
    whole = power_law_curves()
    joined = with_tail(whole)
    assert joined.trusted == whole.kappa[np.argmax(whole.df1 <= DIRECTIONS / 2)]
    below = joined.kappa < joined.trusted
    assert joined.kappa[0] < 1e-5 * joined.trusted
    np.testing.assert_allclose(joined.df1, 0.05 * joined.kappa ** (-1 / 1.4), rtol=1e-9)
    np.testing.assert_allclose(joined.df2, (1 - 1 / 1.4) * joined.df1, rtol=1e-9)
    np.testing.assert_allclose(
        joined.floor[below], 0.2 + joined.df1[below] ** -0.6, rtol=2e-3
    )  # s is one of 200 that are tried


def test_a_tail_is_fitted_from_a_sixteenth_to_half_of_the_directions():
    """What lies outside of that changes nothing below; what lies in its first doubling does."""
    known = with_tail(power_law_curves())
    below = known.kappa < known.trusted
    outside = with_tail(power_law_curves(bumps=[(0, 0.99 / 16, 1.3), (0.51, 1e9, 1.3)]))
    np.testing.assert_allclose(outside.floor[below], known.floor[below], rtol=1e-12)
    inside = with_tail(power_law_curves(bumps=[(1.01 / 16, 1 / 9, 1.1)]))
    assert not np.allclose(inside.floor[below], known.floor[below], rtol=1e-3)


def test_a_tail_without_noise_falls_as_it_falls_before():
    """A pure power law goes on exactly; with noise the tail without it lies below the other."""
    whole = power_law_curves(noise=0.0)
    joined = with_tail(whole, noiseless_tail)
    np.testing.assert_allclose(joined.floor, joined.df1**-0.6, rtol=1e-9)
    noisy = power_law_curves(noise=0.2)
    below = joined.kappa < joined.trusted
    likely, least = with_tail(noisy), with_tail(noisy, noiseless_tail)
    assert (least.floor[below] < likely.floor[below]).all()
    np.testing.assert_array_equal(least.df1, likely.df1)
    rising = whole.joined(noiseless_tail(power_law_curves(noise=1.0, s=-0.3), 400), 400)
    assert np.ptp(rising.floor[below]) == 0
