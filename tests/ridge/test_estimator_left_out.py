"""Leave-one-out of the estimator at its ridge, shared or one an output, and sample weights."""

import warnings

import numpy as np
import pytest
import reference
from cases import CASES, orthonormal
from estimator_fits import at, blocks, cases, intercepts, kernels, noisy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rmtgen.errors import RmtgenWarning, UsageError
from rmtgen.ridge import ridge_path, ridge_path_features
from rmtgen.ridge.estimator import KernelRidgeGCV

pytestmark = pytest.mark.filterwarnings("ignore:GCV should be smallest")


def weights_of(n, seed=1):
    """Weights between 1/20 and 5."""
    return np.exp(np.random.default_rng(seed).uniform(-3, 1.6, n))


def of_samples(gram, weights, sum_ridge, intercept):
    """P of a weighted problem from its definition: that of SKS, less the direction √w."""
    root = np.sqrt(weights)
    inverse = np.linalg.inv(root[:, None] * gram * root + sum_ridge * np.eye(len(gram)))
    if not intercept:
        return inverse
    image = inverse @ root
    return inverse - np.outer(image, image) / (root @ image)


def refitted(features, targets, weights, sum_ridge, intercept):
    """Residuals of refits without one sample each, from scikit-learn's weighted ridge."""
    residuals = np.empty(targets.shape)
    for i in range(len(features)):
        rest = np.arange(len(features)) != i
        model = Ridge(alpha=sum_ridge, fit_intercept=intercept, solver="svd")
        model.fit(features[rest], targets[rest], weights[rest])
        residuals[i] = targets[i] - model.predict(features[[i]])[0]
    return residuals


# --- the ridge that all outputs share -------------------------------------------------------------


@cases
@kernels
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-9, 1e-4, 1e-2, 1.0, 1e3])
def test_the_risk_and_its_interval_are_those_of_the_path(case, kernel, intercept, relative):
    ridge = relative * np.trace(case.gram) / len(case.gram)
    model = at(ridge, case, kernel, intercept)
    path_of = ridge_path_features if kernel == "linear" else ridge_path
    options = {"ridges": [ridge], "intercept": intercept, "solver": "eigen"}
    known = path_of(blocks(case, kernel)[0], case.targets, **options)
    assert model.loo_ == pytest.approx(known["loo"][0], rel=1e-6)
    np.testing.assert_allclose(
        model.loo_interval_, known[["loo_low", "loo_high"]].iloc[0], rtol=1e-5
    )


@pytest.mark.parametrize("kernel", ["linear", "precomputed"])
def test_seven_samples_have_a_risk_and_no_interval(kernel):
    features, targets = noisy(7, 3)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV([0.1], kernel=kernel).fit(data, targets)
    assert model.loo_ > 0 and np.isnan(model.loo_interval_).all()


def test_the_interval_holds_the_risk_on_new_samples():
    rng = np.random.default_rng(3)
    features, slopes = rng.standard_normal((4400, 80)), rng.standard_normal(80) / 9
    targets = features @ slopes + rng.standard_normal(4400)
    model = KernelRidgeGCV().fit(features[:400], targets[:400])
    risk = ((model.predict(features[400:]) - targets[400:]) ** 2).mean()
    low, high = model.loo_interval_
    assert low < risk < high < 1.4 * low


# --- one ridge an output --------------------------------------------------------------------------


@kernels
@intercepts
@pytest.mark.parametrize("shape", [(40, 12), (30, 50)], ids=["n > p", "p > n"])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_each_output_is_fitted_as_if_alone(kernel, intercept, shape, weighted):
    features, targets = noisy(*shape, outputs=(4,))
    targets += np.geomspace(0.1, 30, 4) * np.random.default_rng(5).standard_normal(targets.shape)
    data = features if kernel == "linear" else features @ features.T
    ridges = [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2]
    weights = weights_of(len(data)) if weighted else None
    options = {"kernel": kernel, "fit_intercept": intercept}
    model = KernelRidgeGCV(ridges, alpha_per_target=True, **options)
    model.fit(data, targets, weights)
    assert len(set(model.ridge_)) > 1
    assert model.gcv_.shape == (7, 4) and model.dual_coef_.shape == targets.shape
    for number, target in enumerate(targets.T):
        alone = KernelRidgeGCV(ridges, **options).fit(data, target, weights)
        np.testing.assert_allclose(model.gcv_[:, number], alone.gcv_, rtol=1e-8)
        assert model.ridge_[number] == alone.ridge_
        assert model.alpha_[number] == pytest.approx(alone.alpha_, rel=1e-14)
        assert model.degrees_of_freedom_[number] == pytest.approx(alone.degrees_of_freedom_)
        assert model.loo_[number] == pytest.approx(alone.loo_, rel=1e-7)
        found = [end[number] for end in model.loo_interval_]
        np.testing.assert_allclose(found, alone.loo_interval_, rtol=1e-6)
        np.testing.assert_allclose(
            model.predict(data)[:, number], alone.predict(data), rtol=1e-7, atol=1e-8
        )
        assert model.intercept_[number] == pytest.approx(alone.intercept_, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_a_float32_gram_matrix_is_fitted_at_the_modes_that_each_ridge_resolves(weighted):
    """Eigenvalues below its rounding, but δ above: they are part of the fit."""
    vectors = orthonormal(60, 60, np.random.default_rng(0))
    gram = (vectors * np.repeat([1.0, 8e-7], 30)) @ vectors.T
    single = ((gram + gram.T) / 2).astype(np.float32)
    targets = np.stack([vectors[:, 0] + vectors[:, 40], vectors[:, 50]], axis=1)
    weights = weights_of(60) if weighted else None
    options = {"ridges": [4e-6 / 60], "kernel": "precomputed", "fit_intercept": False}
    own, shared = (
        KernelRidgeGCV(**options, alpha_per_target=flag).fit(single, targets, weights)
        for flag in (True, False)
    )
    np.testing.assert_allclose(own.dual_coef_, shared.dual_coef_, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(own.degrees_of_freedom_, shared.degrees_of_freedom_, rtol=1e-9)
    assert abs(vectors[:, 40] @ own.dual_coef_[:, 0]) > 1e3
    assert own.loo_.sum() == pytest.approx(shared.loo_, rel=1e-6)


@pytest.mark.parametrize("sum_ridge", [4e-10, 1e-7, 1e-5])
def test_a_sample_that_has_a_feature_alone_keeps_the_digits_of_its_residual(sum_ridge):
    """Nothing says what its target is: 1 − h is δ/(1 + δ), a difference where XᵀX is factored."""
    rng = np.random.default_rng(0)
    features, targets = np.zeros((40, 6)), rng.standard_normal(40)
    features[1:, :5], features[0, 5] = 0.1 * rng.standard_normal((39, 5)), 1.0
    turned = features @ orthonormal(6, 6, rng)
    model = KernelRidgeGCV([sum_ridge / 40], fit_intercept=False).fit(turned, targets)
    rest = KernelRidgeGCV([sum_ridge / 39], fit_intercept=False).fit(turned[1:], targets[1:])
    assert model.loo_ == pytest.approx((39 * rest.loo_ + targets[0] ** 2) / 40, rel=1e-8)


def test_scikit_learns_own_ridge_has_the_fits_of_each_alpha():
    features, targets = noisy(outputs=(3,))
    model = KernelRidgeGCV(alpha_per_target=True).fit(features, targets)
    known = Ridge(alpha=model.alpha_).fit(features, targets)
    np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, known.intercept_, rtol=1e-9)


def test_a_vector_of_targets_has_one_ridge():
    features, targets = noisy()
    own, shared = (
        KernelRidgeGCV(alpha_per_target=flag).fit(features, targets) for flag in (True, False)
    )
    for name in ("ridge_", "alpha_", "loo_", "degrees_of_freedom_", "intercept_"):
        assert isinstance(getattr(own, name), float)
        assert getattr(own, name) == pytest.approx(getattr(shared, name), rel=1e-9)
    assert own.gcv_.shape == shared.gcv_.shape and own.coef_.shape == (8,)


@pytest.mark.filterwarnings("default:GCV should be smallest")
def test_minima_at_an_edge_are_counted():
    features, targets = noisy(outputs=(3,))
    targets[:, 1:] = features[:, :2]
    with pytest.warns(RmtgenWarning, match=r"at the smallest of 2, λ = 0\.1 .* for 2 of 3 targets"):
        KernelRidgeGCV([0.1, 10.0], alpha_per_target=True).fit(features, targets)


# --- sample weights -------------------------------------------------------------------------------


@cases
@kernels
@intercepts
@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0])
def test_a_weighted_fit_is_scikit_learns(case, kernel, intercept, relative):
    weights, ridge = weights_of(len(case.gram)), relative * np.trace(case.gram) / len(case.gram)
    data, test = blocks(case, kernel)
    model = KernelRidgeGCV([ridge], kernel=kernel, fit_intercept=intercept)
    model.fit(data, case.targets, weights)
    known = Ridge(alpha=model.alpha_, fit_intercept=intercept, solver="svd")
    known.fit(case.features, case.targets, weights)
    wanted = known.predict(case.test_features)
    np.testing.assert_allclose(model.predict(test), wanted, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, known.intercept_, rtol=1e-7, atol=1e-9)
    if kernel == "linear":
        np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(
            case.features.T @ model.dual_coef_, model.coef_.T, rtol=1e-7, atol=1e-9
        )
    if not intercept:
        dual = KernelRidge(alpha=model.alpha_, kernel="precomputed")
        dual.fit(case.gram, case.targets, sample_weight=weights)
        np.testing.assert_allclose(
            dual.predict(case.test_gram), model.predict(test), rtol=1e-6, atol=1e-8
        )


@cases
@kernels
@intercepts
@pytest.mark.parametrize("relative", [1e-4, 1.0])
def test_weighted_leave_one_out_is_that_of_weighted_refits(case, kernel, intercept, relative):
    n = len(case.gram)
    weights, ridge = weights_of(n), relative * np.trace(case.gram) / n
    model = KernelRidgeGCV([ridge], kernel=kernel, fit_intercept=intercept)
    model.fit(blocks(case, kernel)[0], case.targets, weights)
    residuals = refitted(case.features, case.targets, weights, n * ridge, intercept)
    losses = weights * (residuals**2).sum(axis=1)
    assert model.loo_ == pytest.approx(losses.mean(), rel=1e-7)
    inverse = of_samples(case.gram, weights, n * ridge, intercept)
    dual = inverse @ (np.sqrt(weights)[:, None] * case.targets)
    gcv = n * (dual**2).sum() / np.trace(inverse) ** 2
    assert model.gcv_[0] == pytest.approx(gcv, rel=1e-8)
    error = np.sqrt(losses.var(ddof=1) / n + max(pairs(inverse, dual, losses), 0) * (n - 1) / n)
    spread = np.exp(1.959963984540054 * error / losses.mean())
    wanted = losses.mean() / spread, losses.mean() * spread
    np.testing.assert_allclose(model.loo_interval_, wanted, rtol=1e-6)


def pairs(inverse, dual, losses):
    """The covariance of pairs from P: the fit without j has P less what j takes of it."""
    n = len(inverse)
    change = np.full((n, n), np.nan)
    for j in range(n):
        rest = np.flatnonzero(np.arange(n) != j)
        without = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        image = dual - inverse[:, [j]] * dual[j] / inverse[j, j]
        residuals = image[rest] / np.diag(without)[rest, None]
        change[rest, j] = (residuals**2).sum(axis=1) - losses[rest]
    return reference.pair_covariance(change)


@intercepts
def test_scikit_learns_weighted_score_is_the_risk(intercept):
    features, targets = noisy()
    weights, alphas = weights_of(60), np.geomspace(1e-2, 1e2, 7)
    known = RidgeCV(alphas=alphas, fit_intercept=intercept).fit(features, targets, weights)
    model = KernelRidgeGCV([known.alpha_ / 60], fit_intercept=intercept)
    model.fit(features, targets, weights)
    assert model.loo_ == pytest.approx(-known.best_score_, rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@kernels
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-3])
def test_even_weights_are_none(case, kernel, intercept, relative):
    ridge = relative * np.trace(case.gram) / len(case.gram)
    known = at(ridge, case, kernel, intercept)
    data, test = blocks(case, kernel)
    found = KernelRidgeGCV([ridge], kernel=kernel, fit_intercept=intercept)
    found.fit(data, case.targets, np.ones(len(data)))
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-8)
    assert found.loo_ == pytest.approx(known.loo_, rel=1e-7)
    np.testing.assert_allclose(found.loo_interval_, known.loo_interval_, rtol=1e-6)
    np.testing.assert_allclose(found.predict(test), known.predict(test), rtol=1e-8, atol=1e-9)


@settings(max_examples=30)
@given(
    n=st.integers(4, 25),
    p=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    kernel=st.sampled_from(["linear", "precomputed"]),
    exponent=st.integers(-20, 20),
)
def test_laws_of_weights(n, p, seed, intercept, kernel, exponent):
    """A weight of 0 leaves a sample out, and a factor of all is one of the ridge and the losses."""
    rng = np.random.default_rng(seed)
    features, targets = rng.standard_normal((n, p)), rng.standard_normal((n, 2))
    weights = weights_of(n, seed)
    weights[rng.permutation(n)[: n - 3]] *= rng.integers(0, 2, n - 3)
    data, rows = features, features
    kept = weights > 0
    some = data[kept]
    if kernel == "precomputed":
        data, rows, some = features @ features.T, features @ features.T, None
        some = data[np.ix_(kept, kept)]
    options = {"kernel": kernel, "fit_intercept": intercept}
    known = KernelRidgeGCV([0.1], **options).fit(some, targets[kept], weights[kept])
    found = KernelRidgeGCV([0.1], **options).fit(data, targets, weights)
    scale = 2.0**exponent
    scaled = KernelRidgeGCV([0.1 * scale], **options).fit(data, targets, scale * weights)
    assert not found.dual_coef_[~kept].any() and found.alpha_ == known.alpha_
    for other, factor in ((found, 1.0), (scaled, scale)):
        assert other.loo_ == pytest.approx(factor * known.loo_, rel=1e-7)
        assert other.gcv_[0] == pytest.approx(factor * known.gcv_[0], rel=1e-7)
        wanted = known.predict(rows if kernel == "linear" else rows[:, kept])
        np.testing.assert_allclose(other.predict(rows), wanted, rtol=1e-6, atol=1e-7)


@kernels
def test_a_weight_is_as_many_copies_for_the_fit_alone(kernel):
    features, targets = noisy(20, 6)
    weights = np.random.default_rng(0).integers(1, 4, 20)
    copies = np.repeat(np.arange(20), weights)
    gram = features @ features.T
    data, repeated = (
        (features, features[copies]) if kernel == "linear" else (gram, gram[np.ix_(copies, copies)])
    )
    found = KernelRidgeGCV([3.0 / 20], kernel=kernel).fit(data, targets, weights)
    known = KernelRidgeGCV([3.0 / len(copies)], kernel=kernel).fit(repeated, targets[copies])
    assert found.alpha_ == pytest.approx(known.alpha_)
    assert found.intercept_ == pytest.approx(known.intercept_, rel=1e-8)
    assert found.degrees_of_freedom_ == pytest.approx(known.degrees_of_freedom_)
    # of two copies one predicts the other
    assert known.loo_ < found.loo_ * 20 / weights.sum()
    assert known.gcv_[0] < found.gcv_[0] * 20 / weights.sum()


def test_a_weighted_float32_gram_matrix_keeps_its_rounding():
    features, targets = noisy()
    gram, weights = features @ features.T, weights_of(60)
    found = KernelRidgeGCV(kernel="precomputed").fit(gram.astype(np.float32), targets, weights)
    known = KernelRidgeGCV(found.ridges_, kernel="precomputed").fit(gram, targets, weights)
    assert found.ridge_ == known.ridge_
    np.testing.assert_allclose(found.predict(gram), known.predict(gram), rtol=1e-3)
    assert found.loo_ == pytest.approx(known.loo_, rel=1e-3)


@kernels
def test_one_weight_for_all_may_be_a_number(kernel):
    features, targets = noisy()
    data = features if kernel == "linear" else features @ features.T
    found, known = (
        KernelRidgeGCV([0.1], kernel=kernel).fit(data, targets, weights)
        for weights in (2.0, np.full(60, 2.0))
    )
    np.testing.assert_array_equal(found.dual_coef_, known.dual_coef_)


def test_weights_go_through_a_pipeline_under_a_grid_search():
    features, targets = noisy()
    weights = weights_of(60)
    pipeline = make_pipeline(StandardScaler(), KernelRidgeGCV())
    grid = {"kernelridgegcv__fit_intercept": [True, False]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        search = GridSearchCV(pipeline, grid, cv=3)
        search.fit(features, targets, kernelridgegcv__sample_weight=weights)
    fit = search.best_estimator_[-1]
    known = Ridge(alpha=fit.alpha_).fit(StandardScaler().fit_transform(features), targets, weights)
    np.testing.assert_allclose(fit.coef_, known.coef_, rtol=1e-7)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"one weight a sample: expected shape \(60,\), got \(59,\)\. Leave"),
        (np.ones((60, 1)), r"expected shape \(60,\), got \(60, 1\)"),
        (-np.ones(60), r"sample_weight must be finite and >= 0: got -1\.0 \(60 of 60 such\)"),
        (np.where(np.arange(60) == 3, np.nan, 1), r"got nan \(1 of 60 such\)\. A weight of 0"),
        (np.where(np.arange(60) == 3, np.inf, 1), r"got inf \(1 of 60 such\)"),
        (np.zeros(60), "expected at least 2 weights above zero, got 0 of 60"),
        (np.eye(60)[0], "expected at least 2 weights above zero, got 1 of 60"),
        (["a"] * 60, "sample_weight must be an array of numbers: got list"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_weights_that_make_no_sense_are_refused(weights, message):
    features, targets = noisy()
    with pytest.raises(UsageError, match=message):
        KernelRidgeGCV().fit(features, targets, weights)


def test_a_flag_that_is_none_is_refused():
    features, targets = noisy()
    with pytest.raises(UsageError, match="alpha_per_target must be True or False: got 'yes'"):
        KernelRidgeGCV(alpha_per_target="yes").fit(features, targets)
