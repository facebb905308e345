"""`KernelRidgeGCVClassifier`: its fit, and its errors and their interval against refits."""

import doctest
import pickle
import sys
import warnings

import numpy as np
import pytest
import reference
from estimator_fits import intercepts, kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rmtgen
from rmtgen.errors import RmtgenWarning, UsageError
from rmtgen.ridge import classifier as module
from rmtgen.ridge import interval, shares
from rmtgen.ridge.classifier import KernelRidgeGCVClassifier

pytestmark = pytest.mark.filterwarnings("ignore:GCV should be smallest")
sizes = pytest.mark.parametrize("shape", [(24, 7), (16, 30)], ids=["n > p", "p > n"])
counts = pytest.mark.parametrize("classes", [2, 3])


def labelled(n, p, classes, seed=0):
    """Labels with noise, every class among them."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) + 1.0
    scores = (features - 1.0) @ rng.standard_normal((p, classes))
    labels = (scores + 2 * rng.standard_normal(scores.shape)).argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return features, labels


def coded(labels, classes):
    own = 2.0 * (labels[:, None] == np.arange(classes)) - 1
    return own[:, 1:] if classes == 2 else own


def decided(scores):
    """The classes of scores; (n, 1) of two."""
    return (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(axis=1)


def wrong_without(left_out, features, labels, classes, ridge, weights=None, intercept=True):
    """Which samples the fit without some classifies wrongly, by scikit-learn's Ridge."""
    rest = np.setdiff1d(np.arange(len(labels)), left_out)
    model = Ridge(alpha=len(labels) * ridge, fit_intercept=intercept, solver="svd")
    own = None if weights is None else weights[rest]
    model.fit(features[rest], coded(labels, classes)[rest], own)
    scores = model.predict(features).reshape(len(labels), -1)
    return decided(scores) != labels


def error_and_interval(features, labels, classes, ridge, *, weights, counted, intercept):
    """The 0-1 error of leave-one-out and its interval, by n + n(n − 1)/2 refits."""
    n = len(labels)
    options = (features, labels, classes, ridge, weights, intercept)
    single = np.array([wrong_without([i], *options)[i] for i in range(n)])
    change, shares_of = np.full((n, n), np.nan), counted / counted.mean()
    for i in range(n):
        for j in range(i):
            both = wrong_without([i, j], *options)
            change[i, j] = shares_of[i] * (float(both[i]) - float(single[i]))
            change[j, i] = shares_of[j] * (float(both[j]) - float(single[j]))
    error = (shares_of * single).mean()
    variance = (shares_of * (single - error)).var(ddof=1) / n
    variance += (n - 1) / n * max(reference.pair_covariance(change), 0)
    size = n**2 / (shares_of**2).sum() if error == 0 else max(1, error * (1 - error) / variance)
    z = 1.959963984540054
    middle, half = (
        (error + z**2 / (2 * size)) / (1 + z**2 / size),
        z / (1 + z**2 / size) * np.sqrt(error * (1 - error) / size + z**2 / (4 * size**2)),
    )
    return error, middle - half, middle + half


# --- the fit --------------------------------------------------------------------------------------


@kernels
@intercepts
@sizes
@counts
def test_the_fit_is_scikit_learns_at_its_alpha(kernel, intercept, shape, classes):
    features, labels = labelled(*shape, classes)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCVClassifier(kernel=kernel, fit_intercept=intercept).fit(data, labels)
    known = RidgeClassifier(alpha=model.alpha_, fit_intercept=intercept, solver="svd")
    known.fit(features, labels)
    np.testing.assert_allclose(
        model.decision_function(data), known.decision_function(features), rtol=1e-7, atol=1e-8
    )
    np.testing.assert_array_equal(model.predict(data), known.predict(features))
    assert model.score(data, labels) == known.score(features, labels)
    outputs = 1 if classes == 2 else classes
    assert model.dual_coef_.shape == (len(labels), outputs)
    assert np.shape(model.intercept_) == (outputs,)
    if kernel == "linear":
        wanted = np.reshape(known.coef_, model.coef_.shape)
        np.testing.assert_allclose(model.coef_, wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    "names",
    [["birch", "ash", "cedar"], [3.0, -1.0, 7.0], [True, False]],
    ids=lambda names: type(names[0]).__name__,
)
def test_labels_are_of_any_type(names):
    features, labels = labelled(40, 6, len(names))
    named = np.array(names)[labels]
    model = KernelRidgeGCVClassifier().fit(features, named)
    assert model.classes_.tolist() == sorted(names)
    assert model.predict(features).dtype == named.dtype
    plain = KernelRidgeGCVClassifier().fit(features, np.argsort(np.argsort(names))[labels])
    np.testing.assert_array_equal(model.predict(features), model.classes_[plain.predict(features)])


@counts
def test_the_risk_is_that_of_the_path_on_targets_of_one_and_minus_one(classes):
    features, labels = labelled(50, 8, classes)
    model = KernelRidgeGCVClassifier([1e-3, 0.1, 3.0]).fit(features, labels)
    known = rmtgen.ridge_path_features(
        features, coded(labels, classes), ridges=model.ridges_, intercept=True
    )
    np.testing.assert_allclose(model.gcv_, known["gcv"], rtol=1e-9)
    row = known[known["ridge"] == model.ridge_].iloc[0]
    assert model.loo_ == pytest.approx(row["loo"], rel=1e-9)
    np.testing.assert_allclose(model.loo_interval_, row[["loo_low", "loo_high"]], rtol=1e-7)
    assert model.loo_error_ == pytest.approx(row["loo_error"], abs=1e-12)


# --- the error of leave-one-out -------------------------------------------------------------------


@kernels
@intercepts
@sizes
@counts
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_error_and_interval_are_those_of_refits(kernel, intercept, shape, classes, weighted):
    features, labels = labelled(*shape, classes, seed=4)
    data = features if kernel == "linear" else features @ features.T
    weights = np.exp(np.random.default_rng(2).uniform(-2, 1, len(labels))) if weighted else None
    model = KernelRidgeGCVClassifier([0.05], kernel=kernel, fit_intercept=intercept)
    model.fit(data, labels, weights)
    counted = np.ones(len(labels)) if weights is None else weights
    options = {"weights": weights, "counted": counted, "intercept": intercept}
    error, *ends = error_and_interval(features, labels, classes, 0.05, **options)
    assert 0.05 < error < 0.9
    assert model.loo_error_ == pytest.approx(error, rel=1e-9)
    np.testing.assert_allclose(model.loo_error_interval_, ends, rtol=1e-7)


def test_weights_of_classes_change_the_fit_and_not_what_counts():
    features, labels = labelled(24, 7, 3, seed=4)
    of_classes = {0: 5.0, 2: 0.2}
    own = np.array([5.0, 1.0, 0.2])[labels]
    counted = np.exp(np.random.default_rng(2).uniform(-2, 1, 24))
    model = KernelRidgeGCVClassifier([0.05], class_weight=of_classes)
    model.fit(features, labels, counted)
    plain = KernelRidgeGCVClassifier([0.05]).fit(features, labels, counted * own)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-10)
    assert model.loo_ == pytest.approx(plain.loo_, rel=1e-10)
    options = {"weights": counted * own, "counted": counted, "intercept": True}
    error, *ends = error_and_interval(features, labels, 3, 0.05, **options)
    assert model.loo_error_ == pytest.approx(error, rel=1e-9) != plain.loo_error_
    np.testing.assert_allclose(model.loo_error_interval_, ends, rtol=1e-7)


def test_balanced_weights_are_scikit_learns():
    features, labels = labelled(80, 6, 3)
    labels[10:60] = 0
    model = KernelRidgeGCVClassifier(class_weight="balanced").fit(features, labels)
    known = RidgeClassifierCV([model.alpha_], class_weight="balanced").fit(features, labels)
    np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-8)
    assert model.loo_ / 3 == pytest.approx(-known.best_score_, rel=1e-8)


def test_a_weight_of_zero_leaves_a_sample_and_its_class_out():
    features, labels = labelled(40, 6, 3)
    weights = np.where(labels == 1, 0.0, 2.0)
    for class_weight in (None, "balanced"):
        model = KernelRidgeGCVClassifier([0.1], class_weight=class_weight)
        model.fit(features, labels, weights)
        assert model.classes_.tolist() == [0, 2]
        kept = weights > 0
        known = clone(model).fit(features[kept], labels[kept], weights[kept])
        np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-12)
        assert model.loo_error_interval_ == known.loo_error_interval_
        assert not model.dual_coef_[~kept].any()


def test_pairs_in_blocks_and_of_some_samples_alone(monkeypatch):
    features, labels = labelled(90, 20, 3)
    known = KernelRidgeGCVClassifier([0.05]).fit(features, labels).loo_error_interval_
    monkeypatch.setattr(shares, "ENTRIES", 1000)
    found = KernelRidgeGCVClassifier([0.05]).fit(features, labels).loo_error_interval_
    assert found == known
    for name in (interval, shares):
        monkeypatch.setattr(name, "PAIRED", 60, raising=name is interval)
    some = KernelRidgeGCVClassifier([0.05]).fit(features, labels).loo_error_interval_
    assert some != known
    np.testing.assert_allclose(some, known, rtol=0.15)


@settings(max_examples=25)
@given(
    n=st.integers(8, 30),
    p=st.integers(1, 40),
    classes=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    kernel=st.sampled_from(["linear", "precomputed"]),
)
def test_laws_of_errors(n, p, classes, seed, kernel):
    """An error is a share within its interval, and does not depend on order or name of classes."""
    features, labels = labelled(n, p, classes, seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(n), np.sort(rng.permutation(100)[:classes])
    data = features if kernel == "linear" else features @ features.T
    moved = data[order] if kernel == "linear" else data[np.ix_(order, order)]
    known = KernelRidgeGCVClassifier([0.05], kernel=kernel).fit(data, labels)
    found = KernelRidgeGCVClassifier([0.05], kernel=kernel).fit(moved, names[labels[order]])
    assert n * known.loo_error_ == pytest.approx(round(n * known.loo_error_))
    low, high = known.loo_error_interval_
    assert low + 1e-12 >= 0 and low <= known.loo_error_ + 1e-12 and known.loo_error_ <= high <= 1
    assert high > low
    assert found.loo_error_ == pytest.approx(known.loo_error_)
    np.testing.assert_allclose(found.loo_error_interval_, (low, high), rtol=1e-6, atol=1e-9)


def test_classes_apart_have_an_interval_that_ends_above_no_error():
    """Wilson's for no error among 40."""
    features = np.r_[np.full((20, 2), -3.0), np.full((20, 2), 3.0)]
    features += 0.1 * np.random.default_rng(0).standard_normal(features.shape)
    model = KernelRidgeGCVClassifier([0.1]).fit(features, np.repeat([0, 1], 20))
    assert model.loo_error_ == 0
    z = 1.959963984540054**2
    np.testing.assert_allclose(model.loo_error_interval_, (0, z / (40 + z)), atol=1e-12)
    weights = np.tile([1.0, 3.0], 20)  # as many as (Σw)²/Σw² = 32 even ones
    model.fit(features, np.repeat([0, 1], 20), weights)
    np.testing.assert_allclose(model.loo_error_interval_, (0, z / (32 + z)), atol=1e-12)


def test_seven_samples_have_an_error_and_no_interval():
    features, labels = labelled(7, 3, 2)
    model = KernelRidgeGCVClassifier([0.1]).fit(features, labels)
    assert 0 <= model.loo_error_ <= 1 and np.isnan(model.loo_error_interval_).all()


def test_the_same_sample_twice_leaves_no_interval_without_a_ridge():
    features, labels = labelled(12, 30, 2)
    features[1], labels[1] = features[0], labels[0]
    model = KernelRidgeGCVClassifier([0.0], fit_intercept=False).fit(features, labels)
    assert np.isnan(model.loo_error_interval_).all() and model.loo_error_ >= 0


def test_intervals_hold_the_error_on_new_samples():
    """95 % of them; of so many fixed samples at least 85 %, as 1 − 2e-4 of all draws have."""
    held = []
    for seed in range(60):
        features, labels = labelled(2060, 10, 2, seed)
        model = KernelRidgeGCVClassifier([0.1]).fit(features[:60], labels[:60])
        low, high = model.loo_error_interval_
        held.append(low <= 1 - model.score(features[60:], labels[60:]) <= high)
    assert np.mean(held) >= 0.85


# --- as an estimator among estimators -------------------------------------------------------------


def test_in_a_pipeline_under_a_grid_search():
    features, labels = labelled(90, 5, 3)
    pipeline = make_pipeline(StandardScaler(), KernelRidgeGCVClassifier())
    grid = {
        "kernelridgegcvclassifier__class_weight": [None, "balanced"],
        "kernelridgegcvclassifier__ridges": [None, [1e6]],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        search = GridSearchCV(pipeline, grid, cv=3).fit(features, labels)
    assert search.best_score_ > 0.4
    assert search.best_estimator_[-1].classes_.tolist() == [0, 1, 2]


def test_cross_validation_slices_a_gram_matrix_both_ways():
    features, labels = labelled(60, 5, 3)
    known = cross_val_predict(KernelRidgeGCVClassifier(), features, labels, cv=4)
    found = cross_val_predict(
        KernelRidgeGCVClassifier(kernel="precomputed"), features @ features.T, labels, cv=4
    )
    np.testing.assert_array_equal(found, known)


def test_clone_and_pickle():
    features, labels = labelled(40, 5, 2)
    model = KernelRidgeGCVClassifier((1e-3, 0.1), class_weight={0: 2.0}).fit(features, labels)
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(features), model.predict(features))


# --- what is refused ------------------------------------------------------------------------------


def test_one_class_is_refused():
    features, labels = labelled(20, 4, 2)
    with pytest.raises(UsageError, match=r"at least 2 classes: got 1 class, .*'ash'.*Add samples"):
        KernelRidgeGCVClassifier().fit(features, ["ash"] * 20)
    with pytest.raises(UsageError, match="at least 2 classes: got 1 class"):
        KernelRidgeGCVClassifier().fit(features, labels, 1.0 * (labels == 0))


def test_targets_that_are_no_labels_are_refused():
    features, _ = labelled(20, 4, 2)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        KernelRidgeGCVClassifier().fit(features, features[:, 0])
    with pytest.raises(ValueError, match="1d array"):
        KernelRidgeGCVClassifier().fit(features, np.eye(20)[:, :3].astype(int))


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("heavy", "balanced"),
        ({0: -1.0}, r"sample_weight must be finite and >= 0: got -1\.0"),
        ({0: 0.0, 1: 0.0}, "expected at least 2 weights above zero, got 0 of 20"),
    ],
    ids=str,
)
def test_weights_of_classes_that_make_no_sense_are_refused(class_weight, message):
    features, labels = labelled(20, 4, 2)
    with pytest.raises(ValueError, match=message):
        KernelRidgeGCVClassifier(class_weight=class_weight).fit(features, labels)


def test_other_kernels_are_refused():
    features, labels = labelled(20, 4, 2)
    with pytest.raises(UsageError, match="expected 'linear' or 'precomputed', got 'rbf'"):
        KernelRidgeGCVClassifier(kernel="rbf").fit(features, labels)


def test_the_example_runs():
    assert doctest.testmod(sys.modules[module.__name__]) == (0, 7)


def test_it_is_public():
    assert rmtgen.KernelRidgeGCVClassifier is KernelRidgeGCVClassifier
