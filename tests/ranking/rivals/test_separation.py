"""The regularised H-score and TransRate against their formulas, written plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_clouds import clouds
from sklearn.covariance import ledoit_wolf

from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.rivals.separation import regularised_h_score, transrate

SHAPES = [(12, 3), (40, 6), (30, 30), (20, 50), (15, 200), (25, 1)]


def dense_h_score(features, labels):
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(features)
    between = np.zeros_like(covariance)
    for name in np.unique(labels):
        mean = centred[labels == name].mean(axis=0)
        between += (labels == name).mean() * np.outer(mean, mean)
    return (1 - shrinkage) * np.trace(np.linalg.solve(covariance, between))


def dense_coding_rate(rows, distortion):
    n, p = rows.shape
    return np.linalg.slogdet(np.eye(p) + rows.T @ rows / (n * distortion))[1] / 2


def dense_transrate(features, labels, distortion):
    centred = features - features.mean(axis=0)
    within = 0.0
    for name in np.unique(labels):
        part = centred[labels == name]
        within += len(part) / len(labels) * dense_coding_rate(part, distortion)
    return dense_coding_rate(centred, distortion) - within


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_the_h_score_is_that_of_scikit_learns_covariance(n, p, apart):
    features, labels = clouds(n, p, apart=apart)
    known = dense_h_score(features + 3.0, labels)
    assert (known > 0) == (apart > 0 or p != 6)  # all is shrunk away for the noise of 40×6
    assert regularised_h_score(features + 3.0, labels) == pytest.approx(known, rel=1e-9, abs=1e-12)


def test_the_h_score_by_hand():
    """p = 1 has no shrinkage: the share of the variance 1.25 that lies between means ±1."""
    features, labels = np.array([[-1.5], [-0.5], [0.5], [1.5]]), np.array([0, 0, 1, 1])
    assert regularised_h_score(features, labels) == pytest.approx(1 / 1.25, rel=1e-14)


@pytest.mark.parametrize("angle", np.linspace(0, 1, 7))
def test_features_whose_covariance_is_its_target_are_not_shrunk(angle):
    """S = I/2 up to rounding, which must not decide between no shrinkage and all: means ±(½, ½)."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    features = np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0]]) @ turn
    assert regularised_h_score(features, np.array([0, 0, 1, 1])) == pytest.approx(1, rel=1e-12)


def test_two_images_are_not_shrunk():
    """S has one direction, of which both images are: its error is 0, and the score c − 1."""
    features = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
    assert regularised_h_score(features, np.array([0, 1])) == pytest.approx(1.0, rel=1e-12)


@settings(max_examples=40)
@given(st.integers(4, 30), st.integers(1, 40), st.floats(0, 100), st.integers(0, 10**6))
def test_the_h_score_is_at_most_the_classes_less_one(n, p, apart, seed):
    features, labels = clouds(n, p, classes=4, apart=apart, seed=seed)
    assert 0 <= regularised_h_score(features, labels) <= 3 + 1e-9


def test_features_without_spread_beyond_rounding_have_no_h_score():
    features = 1e9 + np.array([[0.0], [1e-7], [0.0], [0.0]])
    assert len(np.unique(features)) == 2
    with pytest.raises(NumericalError, match="by more than rounding: got 4 rows that are their"):
        regularised_h_score(features, np.array([0, 1, 0, 1]))


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("distortion", [1e-4, 0.5])
def test_transrate_is_its_formula(n, p, distortion):
    features, labels = clouds(n, p)
    features, labels = features[:-1], labels[:-1]  # classes of different sizes
    known = dense_transrate(features, labels, distortion)
    assert transrate(features, labels, distortion=distortion) == pytest.approx(known, rel=1e-10)


def test_the_distortion_of_the_paper_is_the_default():
    features, labels = clouds(30, 5)
    assert transrate(features, labels) == transrate(features, labels, distortion=1e-4)


def test_balanced_classes_have_the_transrate_of_the_papers_listing():
    """It takes the plain mean over classes."""
    features, labels = clouds(30, 5)
    centred = features - features.mean(axis=0)
    rates = [dense_coding_rate(centred[labels == k], 1e-4) for k in range(3)]
    listed = dense_coding_rate(centred, 1e-4) - np.mean(rates)
    assert transrate(features, labels) == pytest.approx(listed, rel=1e-10)


def test_transrate_by_hand():
    """Two classes of one image each at ±1, ε = 1: each rate is ½ log 2, as is that of all."""
    assert transrate(np.array([[1.0], [-1.0]]), np.array([0, 1]), distortion=1.0) == pytest.approx(
        0, abs=1e-15
    )
    # orthogonal classes: all have the rate log(1 + ½/½), a class ½ log(1 + 1)
    features = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])
    assert transrate(features, np.array([0, 0, 1, 1]), distortion=0.5) == pytest.approx(
        np.log(2) - np.log(3) / 2, rel=1e-14
    )


@pytest.mark.parametrize("distortion", [0.0, -1e-4, np.nan, np.inf])
def test_a_distortion_that_is_none_is_refused(distortion):
    features, labels = clouds(12, 3)
    with pytest.raises(UsageError, match=f"distortion must be positive and .* got {distortion}"):
        transrate(features, labels, distortion=distortion)


def test_a_distortion_beyond_float64_is_named():
    features, labels = clouds(12, 3)
    with pytest.raises(NumericalError, match=r"got (nan|inf) at 1e-300 for entries up to 1e\+10"):
        transrate(1e10 * features / abs(features).max(), labels, distortion=1e-300)
