"""The cross-validated probes against scikit-learn's own cross-validation."""

import sys
import warnings

import numpy as np
import pytest
from labelled_clouds import clouds
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rmtgen.errors import MissingInputError, RmtgenWarning, UsageError
from rmtgen.ranking.rivals import probes
from rmtgen.ranking.rivals.probes import logistic_probe, ridge_probe

PROBES = pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])


def validated(model, features, labels, folds, seed):
    """Accuracies over the folds of images in the order of class and random product."""
    direction = np.random.default_rng(seed).standard_normal(features.shape[1])
    order = sorted(range(len(labels)), key=lambda i: (labels[i], features[i] @ direction))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    pipeline = make_pipeline(StandardScaler(), model)
    return cross_val_score(pipeline, features[order], labels[order], cv=splits)


def assert_is(probe, accuracies):
    assert probe.accuracy == pytest.approx(np.mean(accuracies), rel=1e-12)
    spread = np.sqrt(((accuracies - np.mean(accuracies)) ** 2).sum() / (len(accuracies) - 1))
    assert probe.standard_error == pytest.approx(spread / np.sqrt(len(accuracies)), rel=1e-12)


@pytest.mark.parametrize(("folds", "seed"), [(5, 0), (3, 7)])
@pytest.mark.parametrize(("p", "apart"), [(4, 1.5), (90, 0.3)])
def test_the_ridge_probe_is_scikit_learns(p, apart, folds, seed):
    features, labels = clouds(60, p, apart=apart)
    features = 4 * features + 3
    model = RidgeClassifierCV(alphas=60 * p * np.logspace(-6, 1, 15))
    accuracies = validated(model, features, labels, folds, seed)
    assert np.std(accuracies) > 0
    assert_is(ridge_probe(features, labels, folds=folds, seed=seed), accuracies)


@pytest.mark.parametrize(("folds", "seed"), [(5, 0), (3, 7)])
@pytest.mark.parametrize(("p", "apart"), [(4, 1.5), (90, 0.3)])
def test_the_logistic_probe_is_the_best_of_scikit_learns(p, apart, folds, seed):
    features, labels = clouds(60, p, apart=apart)
    features = 4 * features + 3
    every = [
        validated(LogisticRegression(C=c / p, max_iter=1000), features, labels, folds, seed)
        for c in (1, 10, 100, 1000)
    ]
    assert len({np.mean(accuracies) for accuracies in every}) > 1
    assert_is(logistic_probe(features, labels, folds=folds, seed=seed), max(every, key=np.mean))


@PROBES
def test_a_constant_feature_changes_nothing(probe):
    features, labels = clouds(40, 4, apart=1.5)
    wider = np.c_[features, np.full(40, 7.0)]
    assert abs(probe(wider, labels).accuracy - probe(features, labels).accuracy) < 0.15


@PROBES
def test_classes_far_apart_are_all_right(probe):
    features, labels = clouds(40, 4, apart=100.0)
    assert probe(features, labels) == probes.Probe(1.0, 0.0)


@PROBES
def test_a_class_of_fewer_images_than_folds_is_named(probe):
    features, labels = clouds(30, 4)
    labels = np.where(labels == 1, 17, labels)
    keep = np.sort(np.r_[np.flatnonzero(labels != 17), np.flatnonzero(labels == 17)[:3]])
    message = r"expected 5 images or more of each, got 3 of class 17\. .* or take folds=3\."
    with pytest.raises(UsageError, match=message):
        probe(features[keep], labels[keep])
    assert 0 <= probe(features[keep], labels[keep], folds=3).accuracy <= 1
    one = np.r_[np.flatnonzero(labels != 17), np.flatnonzero(labels == 17)[:1]]
    with pytest.raises(
        UsageError, match=r"got 1 of class 17\. Add images of it, or leave it out\."
    ):
        probe(features[one], labels[one], folds=2)


@PROBES
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds must be a whole number >= 2: got 1"),
        ({"folds": 2.5}, "folds must be a whole number >= 2: got 2.5"),
        ({"seed": -1}, r"seed must be a whole number in \[0, 4294967295\]: got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(probe, options, message):
    with pytest.raises(UsageError, match=message):
        probe(*clouds(30, 4), **options)


def test_fits_that_have_not_converged_are_counted(monkeypatch):
    monkeypatch.setattr(probes, "STEPS", 2)
    features, labels = clouds(60, 4)
    message = r"must converge: (\d+) of 20 fits have not after 2 steps"
    with pytest.warns(RmtgenWarning, match=message):
        found = logistic_probe(features, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        every = [
            validated(LogisticRegression(C=c / 4, max_iter=2), features, labels, 5, 0)
            for c in (1, 10, 100, 1000)
        ]
    assert_is(found, max(every, key=np.mean))


@PROBES
def test_without_scikit_learn_one_error_says_what_to_install(probe, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    message = r"probes need scikit-learn >= 1\.6, .*pip install 'rmtgen\[sklearn\]'"
    with pytest.raises(MissingInputError, match=message):
        probe(*clouds(30, 4))
