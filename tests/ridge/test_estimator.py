"""`KernelRidgeGCV`: scikit-learn's own checks, plain references, invariances, and everything that
it refuses."""

import doctest
import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import reference
from cases import CASES, DEFICIENT, POWER_LAW, REPEATED, WIDE, orthonormal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import rmtgen
from rmtgen.errors import MissingInputError, NumericalError, RmtgenWarning, UsageError
from rmtgen.ridge import ridge_path, ridge_path_features
from rmtgen.ridge.estimator import KernelRidgeGCV

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
kernels = pytest.mark.parametrize("kernel", ["linear", "precomputed"])

DEFINITE = (WIDE, REPEATED, POWER_LAW)

# Checks that hand over a Gram matrix that is no kernel: rounded or truncated beyond its type, or
# less its mean.


def is_refused(estimator, check):
    name, options = check.func.__name__, check.keywords
    return estimator.kernel == "precomputed" and (
        name == "check_estimators_dtypes"
        or (name == "check_regressors_train" and options.get("X_dtype") == "float32")
        or (name == "check_positive_only_tag_during_fit" and not estimator.fit_intercept)
    )


# The checks fit whatever comes: noise, whose best ridge is the largest, and float32 Gram matrices
# that interpolate.
@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
@parametrize_with_checks(
    [
        KernelRidgeGCV(kernel=kernel, fit_intercept=intercept)
        for kernel in ("linear", "precomputed")
        for intercept in (True, False)
    ]
)
def test_scikit_learn_accepts_it(estimator, check):
    if is_refused(estimator, check):
        with pytest.raises(
            (NumericalError, AssertionError), match="positive semidefinite|raised NumericalError"
        ):
            check(estimator)
    else:
        check(estimator)


def blocks(case, kernel):
    """What `fit` and `predict` take of a case."""
    return (
        (case.features, case.test_features) if kernel == "linear" else (case.gram, case.test_gram)
    )


def at(ridge, case, kernel, intercept=True):
    """The fit at one ridge."""
    return KernelRidgeGCV([ridge], kernel=kernel, fit_intercept=intercept).fit(
        blocks(case, kernel)[0], case.targets
    )


def noisy(n=60, p=8, outputs=(), seed=0):
    """A problem with a best ridge inside the default grid."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -1.0 + 3.0
    slopes = rng.standard_normal((p, *outputs))
    return features, features @ slopes + 4 * rng.standard_normal((n, *outputs))


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


# --- GCV and the choice
# --------------------------------------------------------------------------------------------------


@cases
@kernels
@intercepts
def test_gcv_is_the_formula(case, kernel, intercept):
    ridges = case.ridges()
    model = KernelRidgeGCV(ridges, kernel=kernel, fit_intercept=intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        model.fit(blocks(case, kernel)[0], case.targets)
    inverses = [
        reference.resolvent(case.gram, len(case.gram) * ridge, intercept) for ridge in ridges
    ]
    known = [len(case.gram) * ((g @ case.targets) ** 2).sum() / np.trace(g) ** 2 for g in inverses]
    np.testing.assert_allclose(model.gcv_, known, rtol=1e-9)
    best = int(np.argmin(known))
    assert model.ridge_ == ridges[best]
    freedom = len(case.gram) * (1 - ridges[best] * np.trace(inverses[best]))
    assert model.degrees_of_freedom_ == pytest.approx(freedom, rel=1e-9)


@pytest.mark.parametrize("case", [*DEFICIENT, WIDE], ids=lambda case: case.name)
@kernels
def test_gcv_without_a_ridge_is_its_limit(case, kernel):
    model = at(0.0, case, kernel, intercept=False)
    known = reference.ridgeless_gcv(case.gram, case.targets, case.rank, False)
    assert model.gcv_[0] == pytest.approx(known, rel=1e-8)


@kernels
@intercepts
@pytest.mark.parametrize("shape", [(60, 8), (30, 50)], ids=["n > p", "p > n"])
def test_the_default_grid_holds_the_minimum(kernel, intercept, shape):
    features, targets = noisy(*shape)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel, fit_intercept=intercept).fit(data, targets)
    centred = features - intercept * features.mean(axis=0)
    relative = model.ridges_ / ((centred**2).sum() / len(features))
    np.testing.assert_allclose(relative, np.logspace(-8, 2, 41), rtol=1e-9)
    assert model.ridge_ == model.ridges_[model.gcv_.argmin()]
    assert model.ridges_[0] < model.ridge_ < model.ridges_[-1]
    for other in model.ridges_[::5]:
        assert KernelRidgeGCV([other], kernel=kernel, fit_intercept=intercept).fit(
            data, targets
        ).gcv_ >= min(model.gcv_)


@pytest.mark.parametrize("solver", ["eigen", "nested", "banded", "primal"])
def test_every_solver_makes_the_same_choice(solver):
    features, targets = noisy(outputs=(2,))
    known, found = (KernelRidgeGCV(solver=name).fit(features, targets) for name in ("auto", solver))
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-6)
    np.testing.assert_allclose(found.predict(features), known.predict(features), rtol=1e-9)


def test_ridges_are_tried_once_and_kept_ascending():
    features, targets = noisy()
    model = KernelRidgeGCV([10.0, 1e-9, 0.02, 10.0]).fit(features, targets)
    assert model.ridges_.tolist() == [1e-9, 0.02, 10.0]
    assert model.ridge_ == 0.02
    assert KernelRidgeGCV(0.1).fit(features, targets).ridge_ == 0.1


def test_a_tie_goes_to_the_largest_ridge():
    """Equal eigenvalues: GY is a multiple of Y and tr G of n, so that GCV is the same at every
    ridge."""
    model = KernelRidgeGCV([0.25, 0.5, 1.0], kernel="precomputed", fit_intercept=False).fit(
        np.eye(4), np.ones(4)
    )
    assert model.gcv_.tolist() == [1.0, 1.0, 1.0]
    assert model.ridge_ == 1.0


def test_gcv_estimates_the_risk_on_new_samples():
    rng = np.random.default_rng(3)
    features, slopes = rng.standard_normal((4400, 80)), rng.standard_normal(80) / 9
    targets = features @ slopes + rng.standard_normal(4400)
    model = KernelRidgeGCV().fit(features[:400], targets[:400])
    risk = ((model.predict(features[400:]) - targets[400:]) ** 2).mean()
    assert model.gcv_.min() == pytest.approx(risk, rel=0.1)


def test_outputs_share_the_ridge_of_their_summed_gcv():
    features, targets = noisy(outputs=(3,))
    together = KernelRidgeGCV().fit(features, targets)
    apart = [KernelRidgeGCV(together.ridges_).fit(features, column) for column in targets.T]
    np.testing.assert_allclose(together.gcv_, sum(one.gcv_ for one in apart), rtol=1e-9)


# --- the edge of the grid
# ------------------------------------------------------------------------------------------------


def test_a_minimum_at_the_smallest_ridge_warns():
    features, _ = noisy()
    message = (
        r"minimum at the smallest of 2, λ = 0\.1 \(the other end is 10\)\. Pass smaller ridges, or"
        r" add 0"
    )
    with pytest.warns(RmtgenWarning, match=message) as caught:
        KernelRidgeGCV([0.1, 10.0]).fit(features, features[:, 0])
    assert caught[0].filename == __file__


def test_a_minimum_at_the_largest_ridge_warns():
    features, targets = noisy()
    with pytest.warns(
        RmtgenWarning, match=r"minimum at the largest of 2, λ = 1e-06 .* Pass larger ridges, unless"
    ):
        KernelRidgeGCV([1e-8, 1e-6]).fit(features, targets)


def test_there_is_no_warning_where_the_grid_cannot_grow_or_need_not():
    features, targets = noisy()
    assert KernelRidgeGCV([0.0, 10.0]).fit(features, targets).ridge_ == 0
    assert (
        KernelRidgeGCV([1e-20, 1e-18, 1.0]).fit(features, features @ np.arange(8.0)).ridge_ == 1e-20
    )  # GCV is 0
    KernelRidgeGCV([1e-6]).fit(features, targets)
    KernelRidgeGCV([1e-8, 0.02, 1e8]).fit(features, targets)


@kernels
@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -1e9 / 3])
def test_constant_targets_are_predicted_without_a_warning(kernel, value):
    features, _ = noisy()
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel).fit(data, np.full(len(data), value))
    np.testing.assert_allclose(model.predict(data), value, rtol=1e-12)
    assert model.intercept_ == pytest.approx(value, rel=1e-12)


@kernels
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_constant_features_predict_the_mean_without_a_warning(kernel, value):
    features, targets = np.full((7, 3), value), np.arange(7.0)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel).fit(data, targets)
    np.testing.assert_allclose(model.predict(data), 3.0, rtol=1e-12)
    assert model.degrees_of_freedom_ == pytest.approx(1)


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
quick = settings(max_examples=40, deadline=None)


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


# --- as an estimator among estimators
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [(), (1,), (3,)], ids=str)
@kernels
@intercepts
def test_shapes_follow_the_targets(outputs, kernel, intercept):
    features, targets = noisy(outputs=outputs)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV([0.1], kernel=kernel, fit_intercept=intercept).fit(data, targets)
    assert model.dual_coef_.shape == (60, *outputs)
    assert np.shape(model.intercept_) == outputs
    assert model.predict(data[:7]).shape == (7, *outputs)
    assert model.n_features_in_ == data.shape[1]
    assert hasattr(model, "coef_") == (kernel == "linear")
    if kernel == "linear":
        assert model.coef_.shape == (*outputs, 8)
    if not intercept:
        assert not np.any(model.intercept_)


def test_a_refit_with_another_kernel_forgets_the_coefficients():
    features, targets = noisy()
    model = KernelRidgeGCV([0.1]).fit(features, targets)
    model.set_params(kernel="precomputed").fit(features @ features.T, targets)
    assert not hasattr(model, "coef_")


@kernels
def test_clone_and_pickle(kernel):
    features, targets = noisy()
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(
        ridges=(1e-4, 0.02, 10.0), kernel=kernel, fit_intercept=False, solver="eigen"
    ).fit(data, targets)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "ridge_")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(data), model.predict(data))


def test_in_a_pipeline_under_a_grid_search():
    features, _ = noisy()
    targets = features[:, 0] + 0.1 * np.sin(1e4 * features[:, 1])
    pipeline = make_pipeline(StandardScaler(), KernelRidgeGCV())
    grid = {
        "kernelridgegcv__ridges": [None, [1e9, 2e9]],
        "kernelridgegcv__solver": ["auto", "primal"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        search = GridSearchCV(pipeline, grid, cv=3).fit(features, targets)
    assert search.best_params_["kernelridgegcv__ridges"] is None
    fit = search.best_estimator_[-1]
    known = Ridge(alpha=fit.alpha_).fit(StandardScaler().fit_transform(features), targets)
    np.testing.assert_allclose(fit.coef_, known.coef_, rtol=1e-8)


def test_cross_validation_slices_a_gram_matrix_both_ways():
    features, targets = noisy()
    known = cross_val_predict(KernelRidgeGCV(), features, targets, cv=4)
    found = cross_val_predict(
        KernelRidgeGCV(kernel="precomputed"), features @ features.T, targets, cv=4
    )
    np.testing.assert_allclose(found, known, rtol=1e-6)


def test_columns_of_a_frame_are_remembered():
    features, targets = noisy(p=3)
    frame = pd.DataFrame(features, columns=["a", "b", "c"])
    model = KernelRidgeGCV().fit(frame, targets)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["c", "b", "a"]])


def test_float32_features_are_fitted_in_float64():
    features, targets = noisy()
    single = features.astype(np.float32)
    found, known = (
        KernelRidgeGCV().fit(single, targets),
        KernelRidgeGCV().fit(single.astype(float), targets),
    )
    np.testing.assert_array_equal(found.gcv_, known.gcv_)
    np.testing.assert_array_equal(found.coef_, known.coef_)
    assert found.predict(single).dtype == np.float64


def test_a_float32_gram_matrix_has_a_grid_that_it_resolves():
    features, targets = noisy()
    gram = features @ features.T
    found = KernelRidgeGCV(kernel="precomputed").fit(gram.astype(np.float32), targets)
    known = KernelRidgeGCV(found.ridges_, kernel="precomputed").fit(gram, targets)
    assert (
        len(gram) * found.ridges_[0] > 10 * np.finfo(np.float32).eps * np.linalg.eigvalsh(gram)[-1]
    )
    assert found.ridge_ == known.ridge_
    np.testing.assert_allclose(found.predict(gram), known.predict(gram), rtol=1e-3)
    with pytest.warns(RmtgenWarning, match="a float32 Gram matrix resolves nλ"):
        KernelRidgeGCV([0.0, 0.02, 10.0], kernel="precomputed").fit(
            gram.astype(np.float32), targets
        )


def test_a_float32_gram_matrix_keeps_the_modes_that_its_ridge_resolves():
    """Eigenvalues below its rounding, but δ above: K + δI is definite, and they are part of the
    fit."""
    vectors = orthonormal(60, 60, np.random.default_rng(0))
    gram = (vectors * np.repeat([1.0, 8e-7], 30)) @ vectors.T
    gram, targets, ridge = (gram + gram.T) / 2, vectors[:, 0] + vectors[:, 40], 3e-6 / 60
    exact, found = (
        KernelRidgeGCV([ridge], kernel="precomputed", fit_intercept=False).fit(one, targets)
        for one in (gram, gram.astype(np.float32))
    )
    assert vectors[:, 40] @ exact.predict(gram) == pytest.approx(8e-7 / 3.8e-6, rel=1e-6)
    assert vectors[:, 40] @ found.predict(gram) == pytest.approx(8e-7 / 3.8e-6, rel=0.1)


# --- what is refused ------------------------------------------------------------------------------
# -----------------------

FEATURES, TARGETS = noisy()
GRAM = FEATURES @ FEATURES.T


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridges": [0.1, -1.0]}, r"ridges must be finite and >= 0: got -1\.0"),
        ({"ridges": [0.1, np.nan]}, "ridges must be finite and >= 0: got nan"),
        (
            {"ridges": []},
            r"ridges must be a list of numbers: expected shape \(l,\), l >= 1, got \(0,\)",
        ),
        ({"ridges": [[0.1]]}, r"ridges must be a list of numbers: .* got \(1, 1\)"),
        ({"ridges": "log"}, "ridges must be numbers: got 'log'"),
        (
            {"kernel": "rbf"},
            "expected 'linear' or 'precomputed', got 'rbf'. Compute any other with sklearn",
        ),
        ({"kernel": np.dot}, "expected 'linear' or 'precomputed', got <"),
        ({"solver": "eigne"}, "solver must be a known one: got 'eigne'. Did you mean eigen?"),
        ({"solver": "matrix_free"}, "solver='matrix_free' reads its Gram matrix from a store"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_parameters_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        KernelRidgeGCV(**options).fit(FEATURES, TARGETS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["X", "y", "predict"])
@kernels
def test_entries_that_are_not_finite_are_refused(value, where, kernel):
    data, targets = (FEATURES if kernel == "linear" else GRAM).copy(), TARGETS.copy()
    model = KernelRidgeGCV(kernel=kernel).fit(data, targets)
    (targets if where == "y" else data)[3] = value
    with pytest.raises(ValueError, match="NaN|infinity"):
        model.predict(data) if where == "predict" else model.fit(data, targets)


def test_a_gram_matrix_that_is_not_square_is_refused():
    with pytest.raises(
        UsageError,
        match=r"training samples: expected X of shape \(60, 60\), got \(60, 8\)\. Rows of test",
    ):
        KernelRidgeGCV(kernel="precomputed").fit(FEATURES, TARGETS)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (GRAM - 9 * np.eye(60), "positive semidefinite: .* got -9"),
        (GRAM + np.triu(GRAM), "gram must be symmetric"),
    ],
    ids=["indefinite", "asymmetric"],
)
def test_a_matrix_that_is_no_kernel_is_refused(gram, message):
    with pytest.raises(NumericalError, match=message):
        KernelRidgeGCV(kernel="precomputed").fit(gram, TARGETS)


@pytest.mark.parametrize(
    ("kernel", "data", "expected"), [("linear", FEATURES, 8), ("precomputed", GRAM, 60)]
)
def test_other_columns_than_in_fit_are_refused(kernel, data, expected):
    model = KernelRidgeGCV(kernel=kernel).fit(data, TARGETS)
    with pytest.raises(
        ValueError, match=f"X has 5 features, but KernelRidgeGCV is expecting {expected} features"
    ):
        model.predict(data[:, :5])


def test_one_sample_is_refused_with_an_intercept_alone():
    with pytest.raises(ValueError, match="1 sample"):
        KernelRidgeGCV().fit(FEATURES[:1], TARGETS[:1])
    model = KernelRidgeGCV([0.0], fit_intercept=False).fit(FEATURES[:1], TARGETS[:1])
    np.testing.assert_allclose(model.predict(FEATURES[:1]), TARGETS[:1], rtol=1e-12)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KernelRidgeGCV().fit(FEATURES, TARGETS[:-1])


def test_predictions_before_a_fit_are_refused():
    with pytest.raises(NotFittedError, match="KernelRidgeGCV instance is not fitted yet"):
        KernelRidgeGCV().predict(FEATURES)


def test_there_are_no_sample_weights():
    with pytest.raises(TypeError, match="sample_weight"):
        KernelRidgeGCV().fit(FEATURES, TARGETS, sample_weight=np.ones(60))


def test_without_scikit_learn_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "rmtgen.ridge.estimator")
    monkeypatch.delitem(vars(rmtgen), "KernelRidgeGCV", raising=False)
    with pytest.raises(
        MissingInputError, match=r"needs scikit-learn >= 1\.6, .*pip install 'rmtgen\[sklearn\]'"
    ):
        _ = rmtgen.KernelRidgeGCV


def test_the_example_runs():
    assert doctest.testmod(sys.modules["rmtgen.ridge.estimator"]) == (0, 6)


def test_it_is_public():
    assert rmtgen.KernelRidgeGCV.__module__ == "rmtgen.ridge.estimator"
    assert "KernelRidgeGCV" in rmtgen.__all__
