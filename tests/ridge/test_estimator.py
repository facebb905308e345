"""`KernelRidgeGCV` passes scikit-learn's checks, and its fit is that of plain linear algebra."""

import numpy as np
import pytest
import reference
from cases import DEFICIENT
from estimator_fits import DEFINITE, at, blocks, cases, intercepts, kernels, noisy
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from rmtgen.ridge import ridge_path, ridge_path_features
from rmtgen.ridge.estimator import KernelRidgeGCV

# --- the fit --------------------------------------------------------------------------------------
# -----------------------


@cases
@kernels
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-6, 1e-3, 1.0, 1e3])
def test_predictions_are_those_of_plain_linear_algebra(case, kernel, intercept, relative):
    ridge = relative * np.trace(case.gram) / len(case.gram)
    model = at(ridge, case, kernel, intercept)
    wanted = reference.predict(
        case.gram, case.targets, len(case.gram) * ridge, intercept, case.test_gram
    )
    np.testing.assert_allclose(model.predict(blocks(case, kernel)[1]), wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("case", DEFINITE, ids=lambda case: case.name)
@kernels
@intercepts
@pytest.mark.parametrize("relative", [1e-15, 1e-12, 1e-10])
def test_next_to_interpolation_a_fit_keeps_its_digits(case, kernel, intercept, relative):
    """K is definite, so that plain linear algebra has digits to compare with."""
    test_predictions_are_those_of_plain_linear_algebra(case, kernel, intercept, relative)


@pytest.mark.parametrize("case", DEFICIENT, ids=lambda case: case.name)
@kernels
@intercepts
def test_next_to_interpolation_a_singular_kernel_gives_the_limit(case, kernel, intercept):
    """A part Y₀/δ of α in the null space of K would drown the fit in its rounding."""
    ridge = 1e-14 * np.trace(case.gram) / len(case.gram)
    test = blocks(case, kernel)[1]
    found, limit = (at(value, case, kernel, intercept).predict(test) for value in (ridge, 0.0))
    np.testing.assert_allclose(found, limit, rtol=1e-9, atol=1e-10)


@cases
@kernels
@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0])
def test_it_is_kernel_ridge_at_alpha_n_times_lambda(case, kernel, relative):
    model = at(relative * np.trace(case.gram) / len(case.gram), case, kernel, intercept=False)
    known = KernelRidge(alpha=len(case.gram) * model.ridge_, kernel=kernel).fit(
        blocks(case, kernel)[0], case.targets
    )
    assert model.alpha_ == len(case.gram) * model.ridge_
    np.testing.assert_allclose(
        model.dual_coef_, known.dual_coef_, rtol=1e-8, atol=1e-8 * abs(known.dual_coef_).max()
    )
    test = blocks(case, kernel)[1]
    np.testing.assert_allclose(model.predict(test), known.predict(test), rtol=1e-8, atol=1e-10)


@cases
@intercepts
@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0])
def test_it_is_ridge_at_alpha_n_times_lambda(case, intercept, relative):
    model = at(relative * np.trace(case.gram) / len(case.gram), case, "linear", intercept)
    known = Ridge(alpha=model.alpha_, fit_intercept=intercept, solver="svd").fit(
        case.features, case.targets
    )
    np.testing.assert_allclose(
        model.coef_, known.coef_, rtol=1e-8, atol=1e-9 * abs(known.coef_).max()
    )
    np.testing.assert_allclose(model.intercept_, known.intercept_, rtol=1e-8, atol=1e-12)


@cases
@kernels
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-3, 1.0])
def test_predictions_have_the_test_risk_of_the_path(case, kernel, intercept, relative):
    ridge = relative * np.trace(case.gram) / len(case.gram)
    predictions = at(ridge, case, kernel, intercept).predict(blocks(case, kernel)[1])
    options = {"ridges": [ridge], "intercept": intercept, "test_targets": case.test_targets}
    if kernel == "linear":
        path = ridge_path_features(
            case.features, case.targets, test_features=case.test_features, **options
        )
    else:
        path = ridge_path(case.gram, case.targets, test_gram=case.test_gram, **options)
    assert reference.risk(predictions, case.test_targets) == pytest.approx(
        path.test_risk[0], rel=1e-8
    )


@cases
@kernels
@intercepts
def test_at_ridge_0_the_fit_interpolates_with_the_smallest_norm(case, kernel, intercept):
    model = at(0.0, case, kernel, intercept)
    centred = case.features - intercept * case.features.mean(axis=0)
    shortest = np.linalg.pinv(centred, rcond=1e-10) @ (
        case.targets - intercept * case.targets.mean(axis=0)
    )
    weights = model.coef_.T if kernel == "linear" else case.features.T @ model.dual_coef_
    np.testing.assert_allclose(weights, shortest, rtol=1e-8, atol=1e-9 * abs(shortest).max())
    if case.rank == len(case.gram):
        np.testing.assert_allclose(model.predict(blocks(case, kernel)[0]), case.targets, atol=1e-9)


@cases
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-3])
def test_dual_and_primal_coefficients_are_one_fit(case, intercept, relative):
    model = at(relative * np.trace(case.gram) / len(case.gram), case, "linear", intercept)
    np.testing.assert_allclose(
        case.features.T @ model.dual_coef_, model.coef_.T, rtol=1e-8, atol=1e-9
    )
    if intercept:
        np.testing.assert_allclose(
            model.dual_coef_.sum(axis=0), 0, atol=1e-9 * abs(model.dual_coef_).max()
        )


def test_repeated_samples_are_fitted_by_the_mean_of_their_targets():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    for kernel, data in (("linear", features), ("precomputed", features @ features.T)):
        model = KernelRidgeGCV([0.0], kernel=kernel, fit_intercept=False).fit(data, [1.0, 3.0, 8.0])
        np.testing.assert_allclose(model.predict(data), [2.0, 2.0, 8.0], rtol=1e-12)
        assert model.degrees_of_freedom_ == pytest.approx(2, rel=1e-12)


@kernels
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_a_large_mean_of_the_features_costs_few_digits(kernel, ridge):
    features, targets = noisy()
    far = features + 1e5
    train, test = (far, far[:5]) if kernel == "linear" else (far @ far.T, far[:5] @ far.T)
    found = KernelRidgeGCV([ridge], kernel=kernel).fit(train, targets).predict(test)
    known = KernelRidgeGCV([ridge]).fit(features, targets).predict(features[:5])
    np.testing.assert_allclose(found, known, rtol=1e-8 if kernel == "linear" else 1e-3)
