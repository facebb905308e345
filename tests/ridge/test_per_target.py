"""One ridge an output: against refits, scikit-learn, and the path of each output by itself."""

import doctest

import numpy as np
import pytest
import reference
import torch
from cases import CASES, lonely_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

import rmtgen
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge import interval, output_pairs, per_target

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
makers = pytest.mark.parametrize("maker", ["gram_modes", "feature_modes"])


def draw(n, p, outputs, seed=0):
    """Outputs between hardly any noise and noise alone, so that their best ridges differ."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    noise = np.geomspace(0.05, 20, outputs)
    targets = features @ rng.standard_normal((p, outputs))
    return features, targets + noise * rng.standard_normal((n, outputs))


def modes_of(features, maker="feature_modes", intercept=False):
    given = features if maker == "feature_modes" else features @ features.T
    return getattr(rmtgen, maker)(given, intercept=intercept)


@cases
@makers
@intercepts
def test_leave_one_out_is_that_of_refits(case, maker, intercept):
    modes = modes_of(case.features, maker, intercept)
    path = rmtgen.per_target_path(modes, case.targets, ridges=case.ridges())
    for ridge, row in zip(path.ridges, path.loo, strict=True):
        left_out = reference.refit_loo(case.gram, case.targets, len(case.gram) * ridge, intercept)
        known = ((left_out - case.targets) ** 2).mean(axis=0)
        np.testing.assert_allclose(row, known, rtol=1e-8)


@cases
@makers
@intercepts
def test_every_output_has_the_path_that_it_has_alone(case, maker, intercept):
    """At ridge 0 too, of full and of deficient rank."""
    ridges = np.concatenate([[0.0], case.ridges()])
    modes = modes_of(case.features, maker, intercept)
    path = rmtgen.per_target_path(modes, case.targets, ridges=ridges)
    for number, target in enumerate(case.targets.T):
        options = {"ridges": ridges, "intercept": intercept, "solver": "eigen"}
        alone = (
            rmtgen.ridge_path_features(case.features, target, **options)
            if maker == "feature_modes"
            else rmtgen.ridge_path(case.gram, target, **options)
        )
        np.testing.assert_allclose(path.loo[:, number], alone["loo"], rtol=1e-9)
        np.testing.assert_allclose(path.gcv[:, number], alone["gcv"], rtol=1e-9)
        best = int(np.argmin(alone["loo"]))
        assert path.ridge[number] == ridges[best]
        np.testing.assert_allclose(path.loo_low[number], alone["loo_low"][best], rtol=1e-9)
        np.testing.assert_allclose(path.loo_high[number], alone["loo_high"][best], rtol=1e-9)


@intercepts
@pytest.mark.parametrize("shape", [(40, 12), (30, 60)], ids=["n > p", "p > n"])
def test_it_is_scikit_learns_choice_and_score(shape, intercept):
    features, targets = draw(*shape, outputs=9)
    ridges, n = np.logspace(-5, 1, 15), shape[0]
    known = RidgeCV(
        alphas=n * ridges, fit_intercept=intercept, alpha_per_target=True, store_cv_results=True
    ).fit(features, targets)
    path = rmtgen.per_target_path(modes_of(features, intercept=intercept), targets, ridges=ridges)
    np.testing.assert_allclose(n * path.ridge, known.alpha_, rtol=1e-12)
    assert len(set(path.ridge)) > 3
    np.testing.assert_allclose(path.loo, known.cv_results_.mean(axis=0).T, rtol=1e-9)
    np.testing.assert_allclose(path.loo.min(axis=0), -known.best_score_, rtol=1e-9)


@settings(max_examples=30)
@given(
    n=st.integers(2, 25),
    p=st.integers(1, 40),
    outputs=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
)
def test_the_sums_over_outputs_are_the_path_of_all(n, p, outputs, seed, intercept):
    features, targets = draw(n, p, outputs, seed)
    ridges = np.array([1e-4, 1e-2, 1.0])
    path = rmtgen.per_target_path(modes_of(features, intercept=intercept), targets, ridges=ridges)
    known = rmtgen.ridge_path_features(features, targets, ridges=ridges, intercept=intercept)
    np.testing.assert_allclose(path.loo.sum(axis=1), known["loo"], rtol=1e-8)
    np.testing.assert_allclose(path.gcv.sum(axis=1), known["gcv"], rtol=1e-8)
    assert path.loo.shape == path.gcv.shape == (3, outputs)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-30, 30), intercept=st.booleans())
def test_an_output_does_not_depend_on_the_others_and_has_their_unit(seed, exponent, intercept):
    features, targets = draw(14, 9, 5, seed)
    order, scale = np.random.default_rng(seed).permutation(5), 2.0**exponent
    modes, ridges = modes_of(features, intercept=intercept), [1e-3, 0.1]
    known = rmtgen.per_target_path(modes, targets, ridges=ridges)
    found = rmtgen.per_target_path(modes, scale * targets[:, order], ridges=ridges)
    for name in ("loo", "gcv", "loo_low", "loo_high"):
        wanted = scale**2 * getattr(known, name)[..., order]
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-8)
    np.testing.assert_array_equal(found.ridge, known.ridge[order])


@intercepts
def test_intervals_of_some_pairs_are_those_of_the_path(intercept, monkeypatch):
    monkeypatch.setattr(interval, "PAIRED", 30)
    features, targets = draw(90, 40, 4)
    ridges = np.logspace(-4, 1, 6)
    path = rmtgen.per_target_path(modes_of(features, intercept=intercept), targets, ridges=ridges)
    for number, target in enumerate(targets.T):
        alone = rmtgen.ridge_path_features(
            features, target, ridges=path.ridge[[number]], intercept=intercept
        )
        assert path.loo_low[number] == pytest.approx(alone["loo_low"][0], rel=1e-8)
        assert path.loo_high[number] == pytest.approx(alone["loo_high"][0], rel=1e-8)


def test_outputs_in_blocks_are_the_same(monkeypatch):
    features, targets = draw(30, 12, 7)
    modes, ridges = modes_of(features), [1e-3, 0.1, 3.0]
    known = rmtgen.per_target_path(modes, targets, ridges=ridges)
    monkeypatch.setattr(per_target, "OUTPUTS_AT_ONCE", 3)
    found = rmtgen.per_target_path(modes, torch.from_numpy(targets), ridges=ridges)
    for name in ("loo", "gcv", "ridge", "loo_low", "loo_high"):
        np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=1e-12)


@intercepts
def test_a_float32_gram_matrix_has_the_modes_that_each_ridge_resolves(intercept):
    features, targets = draw(25, 40, 3)
    gram = (features @ features.T).astype(np.float32)
    ridges = [1e-9, 1e-8, 1e-3, 0.1]
    modes = rmtgen.gram_modes(gram, intercept=intercept)
    assert 25 * ridges[1] < modes.tolerance < 25 * ridges[2]
    with pytest.warns(rmtgen.errors.RmtgenWarning, match=r"resolves nλ > .*; 2 of 4 rows"):
        path = rmtgen.per_target_path(modes, targets, ridges=ridges)
    for number, target in enumerate(targets.T):
        with pytest.warns(rmtgen.errors.RmtgenWarning):
            alone = rmtgen.ridge_path(gram, target, ridges=ridges, intercept=intercept)
        np.testing.assert_allclose(path.loo[:, number], alone["loo"], rtol=1e-9)
        np.testing.assert_allclose(path.gcv[:, number], alone["gcv"], rtol=1e-9)


def test_a_sample_without_null_leverage_has_its_limit():
    features, targets = lonely_sample()
    path = rmtgen.per_target_path(modes_of(features), targets, ridges=[0.0])
    known = rmtgen.ridge_path_features(features, targets, ridges=[0.0], solver="eigen")
    assert path.loo.sum() == pytest.approx(known["loo"][0], rel=1e-9)


def test_one_target_may_be_a_vector():
    features, targets = draw(20, 6, 1)
    modes = modes_of(features, intercept=True)
    vector, column = (
        rmtgen.per_target_path(modes, one, ridges=0.1) for one in (targets[:, 0], targets)
    )
    assert vector.loo.shape == (1, 1) and vector.ridge.tolist() == [0.1]
    assert vector.loo.tolist() == column.loo.tolist()


def test_ridges_are_ascending_and_a_tie_goes_to_the_largest():
    path = rmtgen.per_target_path(
        rmtgen.gram_modes(np.eye(9)), np.ones((9, 2)), ridges=[0.5, 0.25, 0.5]
    )
    assert path.ridges.tolist() == [0.25, 0.5]
    np.testing.assert_allclose(path.loo, 1.0)
    assert path.ridge.tolist() == [0.5, 0.5]


def test_fewer_than_eight_samples_have_no_interval():
    features, targets = draw(7, 3, 2)
    path = rmtgen.per_target_path(modes_of(features), targets, ridges=[0.1])
    assert np.isnan([path.loo_low, path.loo_high]).all() and np.isfinite(path.loo).all()
    path = rmtgen.per_target_path(modes_of(features), 0 * targets, ridges=[0.1])
    assert np.isnan([path.loo_low, path.loo_high]).all()


@pytest.mark.parametrize("apart", [0.3, 4e-6, 2e-6])
def test_pairs_of_many_outputs_are_those_of_each(apart):
    """Two samples are nearly the same to the kernel, on either side of what the forms resolve."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20, 30))
    features[1] = features[0] + (apart**0.5) * features[1]
    gram = features @ features.T + 1e-9 * np.eye(20)
    inverse = torch.from_numpy(np.linalg.inv(gram))
    duals = inverse @ torch.from_numpy(rng.standard_normal((20, 5)))
    known = [interval.pair_covariance_(inverse.clone(), one) for one in duals.split(1, dim=1)]
    found = output_pairs.pair_covariances(inverse, duals)
    np.testing.assert_allclose(found.numpy(), known, rtol=1e-5)


def test_two_samples_that_are_one_have_no_pair():
    inverse = torch.ones(9, 9, dtype=torch.float64) + 1e-12 * torch.eye(9, dtype=torch.float64)
    assert output_pairs.pair_covariances(inverse, inverse[:, :2]).isnan().all()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"modes": np.eye(4)}, UsageError, r"modes must be a Modes: got .*Call gram_modes or"),
        ({"targets": np.ones(5)}, UsageError, "expected 4 rows, got 5"),
        ({"targets": [1.0, np.nan, 1.0, 1.0]}, NumericalError, "targets must be finite: got 1 NaN"),
        ({"ridges": [-0.5]}, UsageError, r"ridges must be finite and >= 0: got -0\.5"),
        ({"ridges": []}, UsageError, r"expected shape \(l,\), l >= 1, got \(0,\)"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_makes_no_sense_is_refused(change, error, message):
    call = {"modes": rmtgen.gram_modes(np.eye(4)), "targets": np.ones(4), "ridges": [0.1]}
    with pytest.raises(error, match=message):
        rmtgen.per_target_path(**call | change)


def test_one_sample_with_an_intercept_is_refused():
    with pytest.raises(UsageError, match=r"an intercept needs at least 2 samples: got 1\. Take"):
        rmtgen.per_target_path(modes_of(np.ones((1, 3)), intercept=True), np.ones(1), ridges=[0.1])
    assert rmtgen.per_target_path(modes_of(np.ones((1, 3))), [2.0], ridges=[0.1]).loo == 4.0


def test_the_example_runs():
    assert doctest.testmod(per_target) == (0, 6)
