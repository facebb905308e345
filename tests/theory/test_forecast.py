"""Forecasts against known populations and transport; labels needed; refusals."""

import numpy as np
import pandas as pd
import pytest
import torch
from forecast_cases import NOISE, best_risk, drawn, influence_of, population

import rmtgen
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.curves import Curves, measured
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.extrapolation import curves, likely_curves
from rmtgen.theory.forecast import forecast
from rmtgen.theory.forecast import influence_of as influence_of_pool
from rmtgen.theory.labels import labels_needed
from rmtgen.theory.transport import pool_sums, transported


@pytest.fixture(scope="module")
def wide():
    return influence_of(240, 1200, 0)


@pytest.fixture(scope="module")
def tall():
    return influence_of(240, 60, 0)


# --- against a known population

DRAWN = 4


@pytest.mark.parametrize(("size", "p"), [(400, 2000), (400, 200)], ids=["wide", "tall"])
def test_a_pool_predicts_the_best_risk_of_ten_times_its_size(size, p):
    """Four pools: the spread of an error is about 7 %, so 4 standard errors of the mean are 14 %.

    An interval that covers 95 % misses two or more of four pools with a chance of 1.4 %.
    """
    sizes = np.array([size // 2, size, 3 * size, 10 * size])
    known = best_risk(p, sizes)
    frames = [forecast(influence_of(size, p, seed), sizes) for seed in range(DRAWN)]
    errors = np.array([np.log(frame.predicted_risk / known) for frame in frames])
    assert (np.abs(errors) < 0.28).all()
    assert (np.abs(errors.mean(axis=0)) < 0.14).all()
    covered = sum((frame.low <= known) & (known <= frame.high) for frame in frames)
    assert (covered >= DRAWN - 1).all()
    for frame in frames:
        assert frame.n.tolist() == sizes.tolist()
        assert ((frame.low < frame.predicted_risk) & (frame.predicted_risk < frame.high)).all()
        assert (frame.high - frame.low < known).all()
        assert (
            np.diff((frame.high - frame.low) / frame.predicted_risk) > 0
        ).all()  # less sure, the further it goes
        assert frame.extrapolated.tolist() == [False] * 4 if p < size else not frame.extrapolated[0]
    assert (
        errors[:, -1] < np.log(known[1] / known[-1])
    ).all()  # distinct from "as at the size of the pool"


def test_the_ridge_it_names_is_near_the_best_one(tall):
    """The risk at that ridge is within 5 % of the best."""
    frame = forecast(tall, [60, 240, 2400])
    known = omniscient_risk(*population(60), frame.ridge.to_numpy(), frame.n.to_numpy(float), NOISE)
    np.testing.assert_allclose(known, best_risk(60, frame.n), rtol=0.05)


def test_a_pool_that_resolves_every_mode_is_never_extrapolated(tall, wide):
    assert curves(tall.pool).trusted == 0
    sizes, ridges = [10, 240, 10_000, 10**8], [1e-3, 0.1]
    assert not forecast(tall, sizes).extrapolated.any()
    assert not forecast(tall, sizes, ridges=ridges).extrapolated.any()
    assert forecast(wide, sizes).extrapolated.tolist()[-2:] == [True, True]
    assert forecast(wide, [10**6], ridges=[1e-6, 1.0]).extrapolated.tolist() == [True, False]


def test_a_fixed_ridge_ends_on_a_plateau(tall):
    """κ → λ: what stays is B(λ) + noise of the population, here within 25 %."""
    found = forecast(tall, [10**4, 10**6, 10**8], ridges=[0.05]).predicted_risk.to_numpy()
    assert found[1] == pytest.approx(found[2], rel=1e-3)
    sigma, power = population(60)
    assert found[2] == pytest.approx(((0.05 / (0.05 + sigma)) ** 2 * power).sum() + NOISE, rel=0.25)


# --- within the pool


@pytest.mark.parametrize(
    ("p", "intercept"),
    [(1200, False), (60, False), (1200, True), (60, True)],
)
def test_within_the_pool_it_is_transport(p, intercept):
    """On the measured part of the curves, log-linear between 1,500 points: within 1e-4."""
    pool = influence_of(240, p, 1, intercept=intercept).pool
    one, compared = curves(pool), 0
    for n in (5, 20, 100, 180, 240):
        ridges, _, kappas = one.surface(n)
        for ridge in (1e-3, 0.01, 0.1, 1.0, 10.0):
            if ridge > ridges[0] and np.interp(ridge, ridges, kappas) > one.trusted:
                assert one.fit(n, ridge)[1] == pytest.approx(
                    transported(pool, ridge, n).risk, rel=1e-4
                ), (n, ridge)
                compared += 1
    assert compared >= 18


def test_the_table_holds_the_curves(wide):
    frame = forecast(wide, [20, 100], ridges=[0.01, 1.0])
    ends = ["low", "high", "at_least", "at_most"]
    assert frame.columns.tolist() == ["n", "ridge", "predicted_risk", *ends, "extrapolated"]
    assert frame[["n", "ridge"]].to_numpy().tolist() == [
        [20, 0.01],
        [20, 1.0],
        [100, 0.01],
        [100, 1.0],
    ]
    found = transported(wide.pool, frame.ridge.to_numpy(), frame.n.to_numpy(float))
    known = found.risk * np.maximum(1, wide.loo_ratios(found.delta))
    np.testing.assert_allclose(frame.predicted_risk, known, rtol=1e-4)
    assert ((frame.low < known) & (known < frame.high)).all()
    assert not frame.extrapolated.any()


def test_without_a_ridge_it_is_the_ridgeless_risk(wide):
    found = forecast(wide, [20, 60], ridges=[0.0])
    np.testing.assert_allclose(
        found.predicted_risk, transported(wide.pool, 0.0, [20.0, 60.0]).risk, rtol=0.02
    )


def test_the_best_ridge_is_the_best_of_the_curve(wide):
    one = curves(wide.pool)
    for n in (10, 100, 1000, 10**5):
        ridge, risk, kappa = one.best(n)
        assert risk <= min(one.fit(n, ridge * factor)[1] for factor in (0.5, 0.9, 1.1, 2.0)) * (
            1 + 1e-9
        )
        assert one.fit(n, ridge)[1] == pytest.approx(risk, rel=1e-9)
        assert ridge == pytest.approx(
            kappa * (1 - np.interp(kappa, one.kappa, one.df1) / n), rel=1e-9
        )


# --- labels needed


def test_labels_needed_invert_the_forecast(wide):
    """To a tenth of a per cent of n, the end of the bisection."""
    one = likely_curves(wide)
    risks = [0.5, 0.3, 0.2, 0.17]
    for risk, (wanted, n, low, high, least, most, beyond) in zip(
        risks, labels_needed(wide, risks).to_numpy(), strict=True
    ):
        assert wanted == risk
        assert least <= low <= n <= high <= most
        assert beyond == (n > wide.pool.n)
        assert n == round(n)
        assert one.best(n)[1] <= risk
        assert one.best(min(n - 1, 0.998 * n))[1] > risk


def test_labels_beyond_the_pool_are_marked(wide):
    one, size = curves(wide.pool), wide.pool.n
    risks = [one.best(share * size)[1] for share in (0.8, 1.3)]
    assert labels_needed(wide, risks)["extrapolated"].tolist() == [False, True]


def test_the_fewest_labels(tall):
    """At least 2, and not 3 where 2 will do."""
    assert curves(tall.pool).best(2)[1] < 50
    assert labels_needed(tall, 50.0)[["labels", "low", "high"]].to_numpy().tolist() == [[2, 2, 2]]


def test_a_risk_below_the_floor_takes_infinitely_many_labels(tall):
    floor = curves(tall.pool).best(1e9)[1]
    n, low, high = (
        labels_needed(tall, [0.5 * floor, 1.02 * floor])[["labels", "low", "high"]].to_numpy().T
    )
    assert n[0] == low[0] == high[0] == np.inf
    n, low, high = n[1], low[1], high[1]
    assert np.isfinite(n)
    assert n <= 1e9
    assert low < n < high
    assert labels_needed(tall, 1.02 * floor, most=n / 2)["labels"][0] == np.inf


def test_the_public_names_take_numpy():
    """From a Gram matrix and a vector of labels to the labels that a risk needs, in NumPy."""
    gram, targets = drawn(300, 80, seed=5)
    pool = rmtgen.pool_influence(rmtgen.gram_modes(gram), targets[:, 0])
    known = influence_of(300, 80, seed=5)
    pd.testing.assert_frame_equal(rmtgen.forecast(pool, [300, 900]), forecast(known, [300, 900]))
    assert (
        rmtgen.labels_needed(pool, 0.2)["labels"].tolist()
        == labels_needed(known, 0.2)["labels"].tolist()
    )


# --- what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": [10, 1]}, "sizes must be finite and >= 2: got 1"),
        ({"sizes": [np.nan, 10]}, "sizes must be finite and >= 2: got nan"),
        ({"sizes": [10, np.inf]}, "sizes must be finite and >= 2: got inf"),
        ({"ridges": [0.1, -0.5]}, "ridges must be >= 0: got -0.5"),
        ({"ridges": np.nan}, "ridges must be >= 0: got nan"),
    ],
)
def test_bad_input_is_refused_with_its_values(tall, wrong, message):
    arguments = {"sizes": [10], "ridges": [0.1]} | wrong
    with pytest.raises(UsageError, match=message):
        forecast(tall, arguments["sizes"], ridges=arguments["ridges"])


@pytest.mark.parametrize("risk", [0, -0.3, np.nan])
def test_a_risk_that_is_not_positive_is_refused(tall, risk):
    with pytest.raises(UsageError, match=f"risks must be positive: got {risk}"):
        labels_needed(tall, risk)


def test_no_risk_and_an_endless_search_are_refused(tall):
    with pytest.raises(UsageError, match="risks must be positive: got none"):
        labels_needed(tall, [])
    with pytest.raises(UsageError, match="most must be finite and >= 2: got inf"):
        labels_needed(tall, 0.5, most=np.inf)


def test_a_pool_without_a_range_to_fit_is_refused():
    """Two clusters of eigenvalues 300 decades apart: the grid steps over the range."""
    pool = Spectrum.of_power(np.array([1e150] + [1e-150] * 31), np.ones(32), 0.0, 32)
    with pytest.raises(
        NumericalError,
        match=r"points with df1 from 2 to 16: got \d of them at N = 32. Take a larger",
    ):
        curves(pool)


def test_a_size_that_the_curves_do_not_reach_is_refused():
    one = Curves(
        np.array([1.0, 2.0]), np.array([9.0, 5.0]), np.array([4.0, 2.0]), np.ones(2), 0.0, 0
    )
    with pytest.raises(
        NumericalError, match="needs df1 < n somewhere on the curve: got n = 4, df1 >= 5"
    ):
        one.best(4)
    assert one.best(6) == pytest.approx((2 / 6, 1.5, 2))


def test_influences_may_begin_at_a_larger_sum_ridge():
    gram, targets = drawn(80, 20, seed=3)
    modes = gram_modes(gram)
    pool = Spectrum.of(modes, targets)
    whole = influence_of_pool(pool, modes, torch.from_numpy(targets), None)
    part = influence_of_pool(pool, modes, torch.from_numpy(targets), None, least=1e-2)
    assert whole.log_delta[0] < np.log(1e-2) <= part.log_delta[0] < np.log(1.1e-2)
    assert part.log_delta[-1] == whole.log_delta[-1]
    for found, known in zip(part.at(1e-6), part.at(float(np.exp(part.log_delta[0]))), strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-12)


def test_curves_of_no_population_are_refused_and_those_of_rounding_put_right(wide):
    pool, delta = wide.pool, np.geomspace(1e-3, 1e2, 40)
    sums = pool_sums(pool, delta)
    plain = measured(pool, delta, sums.s1, sums.s2, sums.energy)
    assert plain.between(1.0, 100.0, pool.n).any()
    beyond = np.where(delta > 50, 1.0001 * pool.n, sums.s1)
    found = measured(pool, delta, beyond, sums.s2, sums.energy)
    assert (found.df1 > 0).all() and (found.df2 > 0).all() and (found.df2 <= found.df1).all()
    squared = np.square(sums.s1) / pool.n * (1 - 1e-3)  # df2 < 0, as if S1² ≤ N·S2 did not hold
    impossible = measured(pool, delta, sums.s1, squared, sums.energy)
    with pytest.raises(NumericalError, match=r"0 < df2 < df1: got df2 = 2\.4e-12 and df1 = .* 240"):
        impossible.between(1.0, 100.0, pool.n)
