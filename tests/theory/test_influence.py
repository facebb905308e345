import dataclasses

import numpy as np
import pytest
import torch
from cases import CASES, DEFICIENT_WIDE, REPEATED, TALL, WIDE

from rmtgen.errors import UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.extrapolation import resampled_curves
from rmtgen.theory.influence import PER_DECADE, Influence
from rmtgen.theory.transport import pool_sums, transported

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
SMALL = 1e-7
"""Where influences stand for those of δ = 0, against eigenvalues of about 1."""


def solved(features, targets, intercept=False):
    targets = targets[:, None] if targets.ndim == 1 else targets
    modes = gram_modes(features @ features.T, intercept=intercept)
    return Spectrum.of(modes, targets), modes, torch.from_numpy(targets)


def influence_at(features, targets, ridge, n, intercept=False, spread=(1.0, 10.0)):
    """The prediction and its influences, on a grid of δ that begins at its own."""
    pool, modes, targets = solved(features, targets, intercept)
    found = transported(pool, ridge, n)
    grid = (found.delta if found.delta > 0 else SMALL) * np.array(spread)
    return found, Influence.of(pool, modes, targets, grid)


def influences(features, targets, ridge, n, intercept=False):
    found, influence = influence_at(features, targets, ridge, n, intercept)
    return influence.log_risk(ridge, n, float(found.delta))


def standard_error(features, targets, ridge, n, intercept=False):
    found, influence = influence_at(features, targets, ridge, n, intercept)
    return found, float(influence.jackknife_errors(found, np.array(ridge), np.array(float(n))))


def without(features, targets):
    """The pool without each of its samples."""
    for j in range(len(features)):
        yield np.delete(features, j, axis=0), np.delete(targets, j, axis=0)


def plain_sums(features, targets, delta, intercept):
    """S1, S2 and E from their definitions: eigenvalues of K, centred anew for an intercept, and one
    linear solve."""
    features, targets = (array - intercept * array.mean(axis=0) for array in (features, targets))
    gram = features @ features.T
    weights = delta / (delta + np.linalg.eigvalsh(gram))
    residuals = delta * np.linalg.solve(gram + delta * np.eye(len(gram)), targets)
    return weights.sum() - intercept, (weights**2).sum() - intercept, (residuals**2).sum()


def gaussian(size, p, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((size, p)) * np.arange(1, p + 1) ** -0.6
    return features, features[:, :outputs] + 0.5 * rng.standard_normal((size, outputs))


# --- the pool without a sample


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@intercepts
def test_the_sums_without_a_sample_are_those_of_the_smaller_pool(case, intercept):
    """Exactly, on the points of the grid; with an intercept the smaller pool is centred anew."""
    pool, modes, targets = solved(case.features, case.targets, intercept)
    influence = Influence.of(pool, modes, targets, np.array([0.01, 30.0]))
    for place, delta in enumerate(np.exp(influence.log_delta)):
        whole = plain_sums(case.features, case.targets, delta, intercept)
        known = np.array(
            [
                plain_sums(*smaller, delta, intercept)
                for smaller in without(case.features, case.targets)
            ]
        )
        for value, part, column in zip(
            whole, (influence.s1, influence.s2, influence.energy), known.T, strict=True
        ):
            np.testing.assert_allclose(
                value * (1 + part[place]), column, rtol=1e-9, atol=1e-9 * value
            )
        assert np.ptp(known / whole, axis=0).min() > 1e-6  # the samples differ


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@intercepts
def test_the_ratio_of_leave_one_out_to_gcv_is_that_of_refits(case, intercept):
    """Each sample is predicted by a fit to the others, at the same sum ridge."""
    influence = Influence.of(
        *solved(case.features, case.targets, intercept), np.array([0.01, 30.0])
    )
    for delta, log_ratio in zip(np.exp(influence.log_delta), influence.log_loo, strict=True):
        known = 0.0
        for j, (features, targets) in enumerate(without(case.features, case.targets)):
            means = [intercept * rows.mean(axis=0) for rows in (features, targets)]
            features, targets = features - means[0], targets - means[1]
            gram = features @ features.T + delta * np.eye(len(features))
            row = (case.features[j] - means[0]) @ features.T
            known += np.square(
                case.targets[j] - means[1] - row @ np.linalg.solve(gram, targets)
            ).sum()
        s1, _, energy = plain_sums(case.features, case.targets, delta, intercept)
        gcv = len(case.features) ** 2 * energy / s1**2  # of the sum of squares
        assert np.exp(log_ratio) == pytest.approx(known / gcv, rel=1e-8)
        assert influence.loo_ratios(delta) == pytest.approx(known / gcv, rel=1e-8)
    ends = influence.loo_ratios([0.0, 1e9])
    np.testing.assert_allclose(ends, np.exp(influence.log_loo[[0, -1]]), rtol=1e-14)


def test_standard_errors_hold_the_gap_of_leave_one_out_to_gcv():
    """Student's t stretches samples: GCV is off by more than the jackknife sees."""
    rng = np.random.default_rng(0)
    features, _ = gaussian(60, 160)
    features *= np.sqrt(3 / rng.chisquare(3, 60))[:, None]
    targets = features[:, :1] + 0.5 * rng.standard_normal((60, 1))
    found, influence = influence_at(features, targets, 0.05, 40)
    arguments = found, np.array(0.05), np.array(40.0)
    gap = float(np.log(influence.loo_ratios(found.delta)))
    alone = float(influence.jackknife_errors(*arguments))
    assert float(influence.standard_errors(*arguments)) == pytest.approx(np.hypot(gap, alone))
    assert gap > 0.1


def test_two_samples_of_which_one_leaves():
    """K = diag(1, 3), δ = 1: w = (1/2, 1/4). Without the second, S1 = 1/2, S2 = 1/4, E = y²/4."""
    pool, modes, targets = solved(np.diag([1.0, 3**0.5]), np.array([1.0, 2.0]))
    s1, s2, energy = Influence.of(pool, modes, targets, np.array([1.0, 2.0])).at(1.0)
    assert 0.75 * (1 + s1[1]) == pytest.approx(0.5, rel=1e-13)
    assert 0.3125 * (1 + s2[1]) == pytest.approx(0.25, rel=1e-13)
    assert 0.5 * (1 + energy[1]) == pytest.approx(0.25, rel=1e-13)
    assert 0.5 * (1 + energy[0]) == pytest.approx(0.25, rel=1e-13)


def test_a_sample_that_alone_owns_a_feature_takes_its_mode_along():
    """Near interpolation its leverage is 1, S1 hardly changes, and the rank falls: exact, where a
    derivative would not see an end."""
    features, targets = gaussian(20, 5)
    features[1:, 4], features[0, 4] = 0.0, 2.0
    pool, modes, columns = solved(features, targets)
    delta = 1e-3
    found = Influence.of(pool, modes, columns, np.array([delta, 1.0])).at(delta)
    whole = plain_sums(features, targets, delta, False)
    for value, part, known in zip(
        whole, found, plain_sums(features[1:], targets[1:], delta, False), strict=True
    ):
        assert value * (1 + part[0]) == pytest.approx(known, rel=1e-9)
    assert abs(found[0][0]) * whole[0] < 0.01
    assert (np.abs(found[0][1:]) * whole[0] > 0.9).all()


@intercepts
@pytest.mark.parametrize(
    ("p", "n", "ridge"),
    [(160, n, ridge) for n in (15, 30) for ridge in (0.0, 0.01, 0.3)]
    + [(160, 45, 0.0), (160, 59, 0.02)]
    + [(15, n, ridge) for n in (8, 30, 59) for ridge in (0.0, 0.01, 0.3)],
)
def test_the_risk_without_a_sample_is_that_of_the_smaller_pool(p, n, ridge, intercept):
    """One step of Newton's in δ: jackknife standard errors within 3 %, and which sample matters how
    much within 3 % of the whole."""
    features, targets = gaussian(60, p)
    found = influences(features, targets, ridge, n, intercept)
    log_risk = np.log(transported(solved(features, targets, intercept)[0], ridge, n).risk)
    smaller = (solved(*pool, intercept)[0] for pool in without(features, targets))
    known = np.array([np.log(transported(pool, ridge, n).risk) for pool in smaller]) - log_risk
    assert found.std() == pytest.approx(known.std(), rel=0.03)
    assert np.linalg.norm(found - known) < 0.03 * np.linalg.norm(known)
    reported = standard_error(features, targets, ridge, n, intercept)[1]
    assert reported == pytest.approx(
        np.sqrt(59 / 60 * np.square(known - known.mean()).sum()), rel=0.03
    )


def test_the_move_of_delta_is_part_of_the_change():
    """At fixed δ alone the changes are off by a tenth and more where λ = 0 and n is a fair share of
    the pool."""
    features, targets = gaussian(60, 160)
    found, influence = influence_at(features, targets, 0.0, 30)
    pool, delta = influence.pool, float(found.delta)
    sums = pool_sums(pool, np.array([delta]))
    s1, s2, energy = (
        value[0] * (1 + part)
        for value, part in zip((sums.s1, sums.s2, sums.energy), influence.at(delta), strict=True)
    )
    fixed = np.log(energy / (s1**2 - 29 * s2)) - np.log(
        sums.energy[0] / (sums.s1[0] ** 2 - 30 * sums.s2[0])
    )
    moved = influence.log_risk(0.0, 30, delta)
    assert np.linalg.norm(moved - fixed) > 0.1 * np.linalg.norm(fixed)


# --- invariances


@intercepts
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_influences_do_not_depend_on_the_unit_or_the_order(ridge, intercept):
    features, targets = gaussian(30, 60)
    order = np.random.default_rng(1).permutation(30)
    known = influences(features, targets, ridge, 10, intercept)
    assert known.std() > 0.01
    scaled = influences(features, -7 * targets, ridge, 10, intercept)
    np.testing.assert_allclose(scaled, known, rtol=1e-8, atol=1e-12)
    moved = influences(features[order], targets[order], ridge, 10, intercept)
    np.testing.assert_allclose(moved, known[order], rtol=1e-7, atol=1e-10)
    larger = influences(3 * features, targets, 9 * ridge, 10, intercept)
    np.testing.assert_allclose(larger, known, rtol=1e-7, atol=1e-10)


def test_with_an_intercept_shifts_change_nothing():
    features, targets = gaussian(30, 60)
    known = influences(features, targets, 0.05, 10, intercept=True)
    shifted = influences(features + 0.7, targets - 5, 0.05, 10, intercept=True)
    np.testing.assert_allclose(shifted, known, rtol=1e-6, atol=1e-9)
    plain = influences(features, targets, 0.05, 10)
    assert not np.allclose(influences(features + 0.7, targets - 5, 0.05, 10), plain, rtol=0.1)


def test_twins_have_the_same_influence():
    features, targets = gaussian(20, 8)
    features[7], targets[7] = features[3], targets[3]
    found = influences(features, targets, 0.1, 9)
    assert found[7] == pytest.approx(found[3], rel=1e-9)
    assert found.std() > 0.01


# --- the grid


@pytest.mark.parametrize("case", [WIDE, TALL, REPEATED, DEFICIENT_WIDE], ids=lambda case: case.name)
@intercepts
def test_between_the_points_of_the_grid_influences_are_interpolated(case, intercept):
    pool, modes, targets = solved(case.features, case.targets, intercept)
    wide = Influence.of(pool, modes, targets, np.array([1e-3, 1e2]))
    assert (
        wide.s1.shape
        == wide.s2.shape
        == wide.energy.shape
        == (5 * PER_DECADE + 1, len(case.features))
    )
    for ridge in case.ridges((0.01, 0.1, 1.0)):
        known = influences(case.features, case.targets, ridge, 9, intercept)
        misfit = wide.log_risk(ridge, 9, float(transported(pool, ridge, 9).delta)) - known
        assert 0 < np.linalg.norm(misfit) < 0.06 * np.linalg.norm(known)


def test_the_interpolation_is_linear_in_log_delta():
    pool, modes, targets = solved(WIDE.features, WIDE.targets)
    influence = Influence.of(pool, modes, targets, np.array([0.01, 1.0]))
    third = float(np.exp((2 * influence.log_delta[3] + influence.log_delta[4]) / 3))
    parts = influence.s1, influence.s2, influence.energy
    for found, part in zip(influence.at(third), parts, strict=True):
        np.testing.assert_allclose(found, (2 * part[3] + part[4]) / 3, rtol=1e-12)
    for place in range(len(influence.log_delta)):
        for found, part in zip(
            influence.at(float(np.exp(influence.log_delta[place]))), parts, strict=True
        ):
            np.testing.assert_allclose(found, part[place], rtol=1e-12)


def test_outside_its_grid_an_influence_is_that_of_its_end():
    _, influence = influence_at(WIDE.features, WIDE.targets, 0.1, 9, spread=(0.5, 2.0))
    low, high = np.exp(influence.log_delta[[0, -1]])
    for outside, end in ((low / 100, low), (0.0, low), (100 * high, high)):
        for found, known in zip(influence.at(outside), influence.at(end), strict=True):
            np.testing.assert_allclose(found, known, rtol=1e-12)
    assert not np.allclose(influence.at(low)[0], influence.at(high)[0], rtol=1e-3)


def test_a_grid_of_one_ridge_has_two_points():
    pool, modes, targets = solved(WIDE.features, WIDE.targets)
    influence = Influence.of(pool, modes, targets, np.array([0.0, 0.2, 0.2]))
    assert influence.log_delta == pytest.approx([np.log(0.2)] * 2)
    assert np.isfinite(influence.log_risk(0.01, 9, 0.2)).all()


def test_no_positive_ridge_is_refused():
    pool, modes, targets = solved(WIDE.features, WIDE.targets)
    with pytest.raises(
        UsageError, match="influences need a sum ridge > 0: got 3 zeros. Add a positive ridge"
    ):
        Influence.of(pool, modes, targets, np.zeros(3))


# --- standard errors


def test_standard_errors_have_the_shape_of_the_grid():
    pool, modes, targets = solved(*gaussian(40, 80))
    ridge, n = np.broadcast_arrays(np.array([0.5, 2.0]), np.array([[10.0], [20.0], [40.0]]))
    found = transported(pool, ridge, n)
    influence = Influence.of(pool, modes, targets, found.delta)
    errors = influence.jackknife_errors(found, ridge, n)
    assert errors.shape == (3, 2)
    one = influence.jackknife_errors(transported(pool, 2.0, 20.0), np.array(2.0), np.array(20.0))
    assert errors[1, 1] == pytest.approx(float(one), rel=1e-9)
    assert errors[1, 1] == pytest.approx(
        39**0.5 * influence.log_risk(2.0, 20.0, float(found.delta[1, 1])).std(), rel=1e-12
    )
    assert (errors > 0).all()


POOLS, SIZE = 60, 150


def errors_over_spread(p, n, ridge, intercept, noise=0.3):
    """Over independent pools: the mean of the standard errors that each reports, over the standard
    deviation of log R."""
    rng, logs, errors = np.random.default_rng(11), [], []
    sigma = np.arange(1, p + 1) ** -1.3
    power = np.arange(1, p + 1) ** -1.6 / (np.arange(1, p + 1) ** -1.6).sum()
    for _ in range(POOLS):
        features = rng.standard_normal((SIZE, p)) * np.sqrt(sigma)
        targets = features @ np.sqrt(power / sigma) + np.sqrt(noise) * rng.standard_normal(SIZE)
        found, error = standard_error(features, targets, ridge, n, intercept)
        logs.append(np.log(found.risk))
        errors.append(error)
    return np.mean(errors) / np.std(logs, ddof=1)


@pytest.mark.parametrize(
    ("p", "n", "ridge", "intercept"),
    [
        (300, 100, 1.0, False),
        (300, 40, 0.3, True),
        (300, 150, 0.3, False),
        (10, 60, 0.0, False),
        (10, 100, 0.1, True),
        (300, 25, 0.0, True),
        (300, 100, 0.01, True),
        (300, 60, 0.0, False),  # df = .4 N
        (300, 60, 0.0, True),
    ],
)
def test_standard_errors_are_the_spread_over_pools(p, n, ridge, intercept):
    """The standard deviation of 60 numbers is uncertain by 9 %; the jackknife's bias is upwards, 20
    % at df = .4 N."""
    assert 0.8 < errors_over_spread(p, n, ridge, intercept) < 1.45


@pytest.mark.parametrize("n", [100, 120, 149])
def test_standard_errors_are_conservative_where_the_size_nears_the_pool(n):
    """df → N without a ridge: half as much again and more, never below the spread."""
    assert 1.2 < errors_over_spread(300, n, 0.0, False) < 3


def test_at_the_peak_there_is_no_standard_error():
    """A pool of 20 with 5 features, ridgeless at n = 5: the risk is ∞."""
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((20, 5)), torch.from_numpy(rng.standard_normal((20, 1)))
    modes = gram_modes(features @ features.T)
    pool = Spectrum.of(modes, targets)
    predicted = transported(pool, [0.0, 0.1], 5)
    errors = Influence.of(pool, modes, targets, np.array([1e-20, 10.0])).standard_errors(
        predicted, [0.0, 0.1], [5, 5]
    )
    assert np.isinf(predicted.risk[0])
    assert np.isnan(errors[0])
    assert errors[1] > 0


@intercepts
def test_some_samples_have_the_influence_that_they_have_among_all(intercept):
    pool, modes, targets = solved(TALL.features, TALL.targets, intercept)
    deltas, looked = np.array([0.01, 30.0]), np.array([1, 4, 5, 9])
    whole = Influence.of(pool, modes, targets, deltas)
    some = Influence.of(pool, modes, targets, deltas, looked=looked)
    for name in ("s1", "s2", "energy"):
        np.testing.assert_allclose(getattr(some, name), getattr(whole, name)[:, looked], rtol=1e-10)
    everyone = Influence.of(pool, modes, targets, deltas, looked=np.arange(pool.n))
    np.testing.assert_allclose(everyone.log_loo, whole.log_loo, atol=1e-12)


def test_standard_errors_from_some_samples_are_near_those_from_all():
    rng = np.random.default_rng(5)
    features = rng.standard_normal((1500, 12)) * np.arange(1, 13) ** -0.5
    pool, modes, targets = solved(features, features[:, :2] + rng.standard_normal((1500, 2)))
    deltas, looked = np.array([1.0, 1e4]), np.sort(rng.permutation(1500)[:500])
    whole = Influence.of(pool, modes, targets, deltas)
    some = Influence.of(pool, modes, targets, deltas, looked=looked)
    found = transported(pool, 0.1, 700)
    errors = [
        float(one.jackknife_errors(found, np.array(0.1), np.array(700.0))) for one in (some, whole)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.1) and errors[0] != errors[1]
    np.testing.assert_allclose(some.log_loo, whole.log_loo, atol=2e-3)
    draws = [np.log([curve.floor for curve in resampled_curves(one)]) for one in (some, whole)]
    spreads = [np.median(draw.std(axis=0)) for draw in draws]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)


def test_a_sample_that_stands_for_others_is_drawn_as_often_as_they_are():
    rng = np.random.default_rng(6)
    features, looked = rng.standard_normal((1500, 6)), np.arange(0, 1500, 30)
    pool, modes, targets = solved(features, features[:, :2] + rng.standard_normal((1500, 2)))
    one = Influence.of(pool, modes, targets, np.array([1.0, 1e4]), looked=looked)
    alone, none = np.zeros_like(one.energy), np.zeros_like(one.s1)
    alone[:, 3] = 0.01  # the other samples change nothing
    one = dataclasses.replace(one, s1=none, s2=none, energy=alone, log_loo=0 * one.log_loo)
    moved = np.log([curve.floor[0] for curve in resampled_curves(one, draws=2000)])
    counts = (moved.mean() - moved) / 0.01  # Poisson's, of mean 30, less that
    assert np.std(counts) == pytest.approx(30**0.5, rel=0.1)
    below, above = np.diff(np.quantile(counts, [0.025, 0.5, 0.975]))
    assert above == pytest.approx(below, rel=0.25)
