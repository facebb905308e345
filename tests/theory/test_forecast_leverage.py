"""Forecasts where samples differ in leverage: GCV's B + noise, leave-one-out's, and the larger."""

import numpy as np
import pytest

import rmtgen
from rmtgen.theory.curves import deltas
from rmtgen.theory.extrapolation import curves, likely_curves, resampled_curves
from tests.populations import populations

SIZES = (1200, 4800)


def stretched(seed, noise, size=200, width=800):
    """Features with samples stretched by log-normal factors; targets of noise, or of signal."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((size, width)) * np.exp(0.6 * rng.standard_normal((size, 1)))
    signal = 0 if noise else features @ rng.standard_normal(width)
    targets = signal + noise**0.5 * rng.standard_normal(size)
    return rmtgen.pool_influence(rmtgen.feature_modes(features), targets)


def floors(influence):
    """B + noise where df1 falls to N/2: of GCV, of leave-one-out and of forecasts."""
    pool, whole = influence.pool, curves(influence.pool)
    place = whole.trusted_from(pool.n)
    kappa, gcv = whole.kappa[place], whole.floor[place]
    delta = kappa * (pool.n - whole.df1[place])
    likely = likely_curves(influence)
    found = np.exp(np.interp(np.log(kappa), np.log(likely.kappa), np.log(likely.floor)))
    return np.array([gcv, gcv * influence.loo_ratios(delta), found])


def test_noise_alone_is_what_gcv_has_whatever_the_leverages():
    """E‖GY‖² = noise·tr G²: over 40 pools the mean of E/S2 is the noise within 4 of its standard
    errors. Leave-one-out divides by 1/κ' as if samples were alike, and finds too little."""
    gcv, loo, likely = np.transpose([floors(stretched(seed, 2.0)) for seed in range(40)])
    error = gcv.std() / 40**0.5
    assert abs(gcv.mean() - 2) < 4 * error
    assert loo.mean() < 2 - 4 * error
    assert abs(likely.mean() - 2) < 4 * error


def test_signal_that_is_fitted_worse_at_high_leverage_takes_leave_one_out():
    for seed in range(4):
        gcv, loo, likely = floors(stretched(seed, 0.0))
        assert loo > 1.05 * gcv
        assert likely == pytest.approx(loo, rel=1e-3)


def best_risk(population, size):
    """The smallest mean test risk of two fits."""
    ridges, found = population.trace * np.geomspace(1e-6, 1, 25), []
    for seed in range(2):
        features, targets = population.sample(size, np.random.default_rng([1, seed]))
        path = rmtgen.ridge_path_features(
            features,
            targets,
            ridges=ridges,
            test_features=population.tests[0],
            test_targets=population.tests[1],
            loo=False,
            intercept=population.intercept,
        )
        found.append(path["test_risk"])
    return np.mean(found, axis=0).min()


def test_rare_classes_are_forecast():
    """Half of the classes have 3 and 9 of 300 samples, which carry the risk. GCV alone is off by a
    factor of two, and misses the risk in a third of the pools; its mean over eight pools here is
    within a quarter, and one of eight may be missed."""
    population = populations()["imbalanced classes"]
    known = np.array([best_risk(population, size) for size in SIZES])
    frames = []
    for seed in range(8):
        features, targets = population.sample(300, np.random.default_rng([2, seed]))
        modes = rmtgen.feature_modes(features, intercept=True)
        frames.append(rmtgen.forecast(rmtgen.pool_influence(modes, targets), SIZES))
    off = np.array([np.log(frame["predicted_risk"] / known) for frame in frames])
    assert (np.abs(off.mean(axis=0)) < 0.25).all()
    held = [((frame["low"] <= known) & (known <= frame["high"])).to_numpy() for frame in frames]
    assert (np.sum(held, axis=0) >= 7).all()


def test_resampled_curves_draw_how_much_of_the_gap_stays():
    """Where the gap is g, curves spread by g/2 beside what the draw of the pool does."""
    influence = stretched(0, 0.0)
    kappa = likely_curves(influence).trusted
    whole = curves(influence.pool)
    ratios = influence.loo_ratios(deltas(influence.pool))
    gap = np.log(ratios[np.argmax(whole.df1[-len(ratios) :] <= influence.pool.n / 2)])
    assert gap > 0.1
    drawn = [
        np.interp(np.log(kappa), np.log(one.kappa), np.log(one.floor))
        for one in resampled_curves(influence)
    ]
    assert np.std(drawn) > 0.45 * gap
