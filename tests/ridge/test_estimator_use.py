"""`KernelRidgeGCV` among estimators: shapes, pipelines, pickles, data frames and float32."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from cases import orthonormal
from estimator_fits import intercepts, kernels, noisy
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rmtgen.errors import RmtgenWarning
from rmtgen.ridge.estimator import KernelRidgeGCV

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
