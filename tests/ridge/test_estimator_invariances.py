"""Changes of form, unit, basis and order change the fit of `KernelRidgeGCV` as they should."""

import warnings

import numpy as np
import pytest
from cases import orthonormal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rmtgen.errors import RmtgenWarning
from rmtgen.ridge.estimator import KernelRidgeGCV

# --- invariances ----------------------------------------------------------------------------------
# -----------------------

problems = st.tuples(
    st.integers(2, 25), st.integers(1, 35), st.integers(1, 3), st.integers(0, 10**6)
)


def draw(n, p, outputs, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    return features, rng.standard_normal((n, outputs)), rng.standard_normal((4, p)), rng


def fitted(features, targets, ridges, intercept, kernel="linear"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        return KernelRidgeGCV(ridges, fit_intercept=intercept, kernel=kernel).fit(features, targets)


ridges = st.sampled_from([0.0, 1e-4, 1e-2, 1.0])
quick = settings(max_examples=40)


@quick
@given(problems, ridges, st.booleans())
def test_a_gram_matrix_is_its_features(problem, ridge, intercept):
    features, targets, test, _ = draw(*problem)
    assume(
        ridge > 0 or problem[0] - problem[1] not in (0, 1)
    )  # nearly singular: digits are lost, not shared
    linear = fitted(features, targets, [ridge], intercept)
    gram = fitted(features @ features.T, targets, [ridge], intercept, "precomputed")
    np.testing.assert_allclose(gram.gcv_, linear.gcv_, rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(
        gram.predict(test @ features.T), linear.predict(test), rtol=1e-7, atol=1e-7
    )
    assert gram.degrees_of_freedom_ == pytest.approx(linear.degrees_of_freedom_, rel=1e-7)


@quick
@given(problems, st.booleans(), st.integers(-20, 20))
def test_the_unit_of_the_features_does_not_matter(problem, intercept, exponent):
    features, targets, test, _ = draw(*problem)
    scale = 2.0**exponent
    known, found = (fitted(s * features, targets, None, intercept) for s in (1.0, scale))
    np.testing.assert_allclose(found.ridges_, scale**2 * known.ridges_, rtol=1e-12)
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-12)
    assert found.ridge_ == pytest.approx(scale**2 * known.ridge_, rel=1e-12)
    np.testing.assert_allclose(
        found.predict(scale * test), known.predict(test), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(found.coef_ * scale, known.coef_, rtol=1e-9, atol=1e-12)


@quick
@given(problems, ridges, st.booleans())
def test_a_rotation_of_the_features_rotates_the_coefficients(problem, ridge, intercept):
    features, targets, test, rng = draw(*problem)
    assume(ridge > 0 or problem[0] - problem[1] not in (0, 1))
    turn = orthonormal(problem[1], problem[1], rng)
    known, found = (fitted(x, targets, [ridge], intercept) for x in (features, features @ turn))
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(found.coef_, known.coef_ @ turn, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(
        found.predict(test @ turn), known.predict(test), rtol=1e-7, atol=1e-7
    )


@quick
@given(problems, ridges)
def test_an_intercept_takes_up_shifts_of_features_and_targets(problem, ridge):
    features, targets, test, rng = draw(*problem)
    assume(ridge > 0 or problem[0] - problem[1] not in (0, 1))
    there, up = rng.standard_normal(problem[1]), rng.standard_normal(problem[2])
    known = fitted(features, targets, [ridge], True)
    found = fitted(features + there, targets + up, [ridge], True)
    np.testing.assert_allclose(
        found.predict(test + there), known.predict(test) + up, rtol=1e-7, atol=1e-7
    )
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-7, atol=1e-14)


@quick
@given(problems, ridges, st.booleans())
def test_the_order_of_the_samples_does_not_matter(problem, ridge, intercept):
    features, targets, test, rng = draw(*problem)
    assume(ridge > 0 or problem[0] - problem[1] not in (0, 1))
    order = rng.permutation(problem[0])
    known, found = (
        fitted(features, targets, [ridge], intercept),
        fitted(features[order], targets[order], [ridge], intercept),
    )
    np.testing.assert_allclose(found.predict(test), known.predict(test), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.dual_coef_, known.dual_coef_[order], rtol=1e-6, atol=1e-6)
