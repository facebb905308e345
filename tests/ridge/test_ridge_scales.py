"""Columns over wide ranges of ridges and scales of the kernel, against sums of positive terms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.ridge import ridge_path, ridge_path_features, traces

DECADES = np.arange(-12.0, 15.0, 2.0)
"""Ridges over the mean eigenvalue, in decades."""
INVARIANT = ["train_risk", "gcv", "loo", "df", "kappa_prime", "test_risk"]


def draw(n, p, seed=0, decay=0.5, power=1.0):
    """Features, and targets of which `power` is beyond them."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -decay
    return features, features @ rng.standard_normal((p, 2)) + power * rng.standard_normal((n, 2))


def known(features, targets, sum_ridges, intercept):
    """df and norm2 from singular values: sums of positive terms, in longdouble."""
    if intercept:
        features, targets = features - features.mean(axis=0), targets - targets.mean(axis=0)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > 1e-13 * singular[0]
    values = singular[kept].astype(np.longdouble) ** 2
    energy = np.square((left.T @ targets)[kept].astype(np.longdouble)).sum(axis=1)
    shifted = values + np.asarray(sum_ridges, dtype=np.longdouble)[:, None]
    return (values / shifted).sum(axis=1) + intercept, (values * energy / shifted**2).sum(axis=1)


@settings(max_examples=30)
@given(
    n=st.integers(2, 70),
    p=st.integers(1, 90),
    power=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    decay=st.sampled_from([0.0, 0.5, 1.5]),
    intercept=st.booleans(),
    solver=st.sampled_from(["nested", "banded"]),
    seed=st.integers(0, 10**6),
)
def test_df_and_norm2_keep_six_digits_at_every_ridge(n, p, power, decay, intercept, solver, seed):
    features, targets = draw(n, p, seed, decay, power)
    gram = features @ features.T
    sum_ridges = 10**DECADES * np.trace(gram) / n
    found = ridge_path(
        gram, targets, sum_ridges=sum_ridges, loo=False, intercept=intercept, solver=solver
    )
    df, norm2 = known(features, targets, sum_ridges, intercept)
    np.testing.assert_allclose(found["df"], df.astype(float), rtol=1e-6)
    np.testing.assert_allclose(found["norm2"], norm2.astype(float), rtol=1e-6)


@pytest.mark.parametrize("solver", ["nested", "banded"])
def test_without_the_check_of_digits_they_are_lost(solver, monkeypatch):
    features, targets = draw(60, 20)
    gram = features @ features.T
    sum_ridges = np.array([1e-6, 1e13]) * np.trace(gram) / 60
    norm2 = known(features, targets, sum_ridges, False)[1].astype(float)
    monkeypatch.setattr(traces, "PRECISION", np.inf)
    found = ridge_path(gram, targets, sum_ridges=sum_ridges, loo=False, solver=solver)
    assert (np.abs(found["norm2"] / norm2 - 1) > 1e-6).all()


@pytest.mark.parametrize("solver", ["eigen", "nested", "banded", "primal"])
@pytest.mark.parametrize("exponent", [-490, -240, 240, 490])
def test_a_power_of_two_changes_no_digit_of_features(exponent, solver):
    features, targets = draw(30, 12)
    options = {"loo": solver != "primal", "solver": solver, "test_targets": targets[:4]}
    unit, ridges = 2.0**exponent, np.array([1e-3, 1.0])
    plain = ridge_path_features(
        features, targets, ridges=ridges, test_features=features[:4] + 0.1, **options
    )
    scaled = ridge_path_features(
        unit * features,
        targets,
        ridges=unit**2 * ridges,
        test_features=unit * (features[:4] + 0.1),
        **options,
    )
    np.testing.assert_allclose(scaled[INVARIANT], plain[INVARIANT], rtol=1e-13)
    np.testing.assert_allclose(scaled["kappa"] / unit**2, plain["kappa"], rtol=1e-13)
    np.testing.assert_allclose(scaled["norm2"] * unit**2, plain["norm2"], rtol=1e-13)
    assert scaled["ridge"].tolist() == (unit**2 * ridges).tolist()


@pytest.mark.parametrize("exponent", [-480, -300, 300, 480])
@pytest.mark.parametrize("solver", ["eigen", "nested"])
def test_a_power_of_two_changes_no_digit_of_a_gram(exponent, solver):
    features, targets = draw(30, 50)
    gram, unit = features @ features.T, 2.0**exponent
    options = {"intercept": True, "solver": solver, "sizes": [10, 30]}
    plain = ridge_path(gram, targets, sum_ridges=[0.5, 2.0], **options)
    scaled = ridge_path(unit * gram, targets, sum_ridges=[0.5 * unit, 2.0 * unit], **options)
    np.testing.assert_allclose(scaled[INVARIANT], plain[INVARIANT], rtol=1e-13)
    np.testing.assert_allclose(scaled["kappa"] / unit, plain["kappa"], rtol=1e-13)
    np.testing.assert_allclose(scaled["norm2"] * unit, plain["norm2"], rtol=1e-13)


@pytest.mark.parametrize("exponent", [-490, -260, 260, 490])
@pytest.mark.parametrize("intercept", [False, True])
def test_modes_of_features_of_any_scale(exponent, intercept):
    features, _ = draw(9, 5)
    plain = feature_modes(features, intercept=intercept)
    scaled = feature_modes(2.0**exponent * features, intercept=intercept)
    np.testing.assert_array_equal(scaled.values, 2.0 ** (2 * exponent) * plain.values)
    np.testing.assert_array_equal(scaled.vectors, plain.vectors)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_a_scale_beyond_is_refused_by_name(scale):
    features, targets = draw(9, 5)
    with pytest.raises(NumericalError, match="features must have a scale whose squares are float"):
        ridge_path_features(scale * features, targets, ridges=[1.0])
    with pytest.raises(NumericalError, match="gram must have a scale whose squares are float"):
        ridge_path(scale * (features @ features.T), targets, ridges=[1.0])


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_a_ridge_of_another_scale_is_refused_by_name(scale):
    features, targets = draw(9, 5)
    with pytest.raises(UsageError, match="ridges must lie within 300 decades of the kernel: got"):
        ridge_path_features(scale * features, targets, ridges=[1.0 / scale])


@pytest.mark.parametrize("value", [1.0, 3.7, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_kernel_has_no_mode_beside_its_intercept(value, dtype):
    modes = gram_modes(np.full((50, 50), value, dtype), intercept=True)
    assert len(modes.values) == 0 and modes.null_dim == 49
    path = ridge_path(
        np.full((50, 50), value, dtype), np.arange(50.0) % 2, ridges=[0.1], intercept=True
    )
    assert path["df"].item() == 1 and path["train_risk"].item() == pytest.approx(0.25)
