"""Nearest neighbours against scikit-learn's, refitted without each image, and against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_clouds import clouds
from sklearn.neighbors import KNeighborsClassifier

from rmtgen.errors import UsageError
from rmtgen.ranking.rivals import neighbours
from rmtgen.ranking.rivals.neighbours import METRICS, neighbour_accuracy


def shared(votes, truth):
    """1/(number of leading classes) if the truth is one of them."""
    leading = np.isclose(votes, votes.max())
    return leading[truth] / leading.sum()


def refitted(features, labels, k, metric):
    right = []
    for i in range(len(features)):
        rest = np.arange(len(features)) != i
        model = KNeighborsClassifier(k, metric=metric, algorithm="brute")
        model.fit(features[rest], labels[rest])
        votes = model.predict_proba(features[i : i + 1])[0]
        right.append(shared(votes, list(model.classes_).index(labels[i])))
    return np.mean(right)


def looped(features, labels, k):
    """Integer features, whose distances are exact: ties share what is left of the k votes."""
    right = []
    for i in range(len(features)):
        distances = ((features - features[i]) ** 2).sum(axis=1).astype(float)
        distances[i] = np.inf
        kth = np.sort(distances)[k - 1]
        inside, tied = distances < kth, distances == kth
        weights = inside + tied * (k - inside.sum()) / tied.sum()
        votes = np.bincount(labels, weights, minlength=labels.max() + 1)
        right.append(shared(votes, labels[i]))
    return np.mean(right)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 2, 5, 39])
@pytest.mark.parametrize("p", [3, 90])
def test_it_is_scikit_learn_refitted(metric, k, p):
    features, labels = clouds(40, p, apart=1.5)
    features = features + 0.2
    known = refitted(features, labels, k, metric)
    assert neighbour_accuracy(features, labels, neighbours=[k], metric=metric) == pytest.approx(
        known, rel=1e-12
    )


@pytest.mark.parametrize("rows", [1, 3, 40, 1000])
def test_blocks_do_not_matter(rows, monkeypatch):
    features, labels = clouds(40, 5)
    whole = neighbour_accuracy(features, labels)
    monkeypatch.setattr(neighbours, "ENTRIES", 40 * rows)
    assert neighbour_accuracy(features, labels) == pytest.approx(whole, rel=1e-12)


@settings(max_examples=60)
@given(st.integers(6, 25), st.integers(1, 3), st.integers(1, 5), st.integers(0, 10**6))
def test_ties_share_their_votes(n, p, k, seed):
    """Few values and many images: most distances tie, and many images are equal."""
    rng = np.random.default_rng(seed)
    features, labels = rng.integers(0, 3, (n, p)), np.arange(n) % 3
    features[0], features[1] = 0, 1
    found = neighbour_accuracy(features, labels, neighbours=[k], metric="euclidean")
    assert found == pytest.approx(looped(features, labels, k), rel=1e-12)
    order = rng.permutation(n)
    again = neighbour_accuracy(features[order], labels[order], neighbours=[k], metric="euclidean")
    assert again == pytest.approx(found, rel=1e-12)


def test_ties_by_hand():
    """Three images at 0 of classes 0, 1, 1, and one at 1 of class 0. With k = 1, the first has only
    neighbours of class 1: 0. The second has 0 and 1 at its place, ½ vote each: ½; so has the third.
    The fourth has ⅓ of a vote for class 0, ⅔ for class 1: 0."""
    features, labels = np.array([[0.0], [0.0], [0.0], [1.0]]), np.array([0, 1, 1, 0])
    found = neighbour_accuracy(features, labels, neighbours=[1], metric="euclidean")
    assert found == pytest.approx(1 / 4, rel=1e-12)


def test_equal_images_tie_whatever_the_rounding_of_their_distances():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((4, 301)) + 10
    features, labels = np.repeat(base, 25, axis=0), np.tile(np.arange(25) % 5, 4)
    # with k = 1 the 24 others at the place of an image vote, 4 of its class and 5 of each other
    assert neighbour_accuracy(features, labels, neighbours=[1]) == 0


def test_a_large_mean_does_not_blur_euclidean_distances():
    rng = np.random.default_rng(0)
    features, labels = rng.integers(0, 4, (40, 2)), np.arange(40) % 3
    options = {"neighbours": [3], "metric": "euclidean"}
    known = looped(features, labels, 3)
    assert neighbour_accuracy(features + 2.0**28, labels, **options) == pytest.approx(known)


def test_the_best_k_counts():
    features, labels = clouds(60, 4)
    each = [neighbour_accuracy(features, labels, neighbours=[k]) for k in (1, 5, 10, 20)]
    assert neighbour_accuracy(features, labels) == max(each) > min(each)


def test_k_goes_as_far_as_there_are_others():
    features, labels = clouds(6, 4)
    known = max(neighbour_accuracy(features, labels, neighbours=[k]) for k in (1, 5))
    assert neighbour_accuracy(features, labels) == known


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": [6]}, r"neighbours must be a whole number in \[1, 5\]: got 6\. An image"),
        ({"neighbours": [0]}, r"neighbours must be a whole number in \[1, 5\]: got 0"),
        ({"neighbours": [1.5]}, r"neighbours must be a whole number in \[1, 5\]: got 1\.5"),
        ({"neighbours": []}, "neighbours must be one number or more: got none"),
        ({"metric": "cosin"}, "metric must be a known one: got 'cosin'. Did you mean cosine?"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        neighbour_accuracy(*clouds(6, 4), **options)


def test_zeros_have_no_cosine():
    features, labels = clouds(12, 4)
    features[7] = 0
    with pytest.raises(UsageError, match=r"a direction for the cosine: got zeros alone in row 7\."):
        neighbour_accuracy(features, labels)
    assert 0 <= neighbour_accuracy(features, labels, metric="euclidean") <= 1
