"""NCE and LEEP against loops, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_clouds import source_probabilities

from rmtgen.errors import UsageError
from rmtgen.ranking.rivals.source_labels import leep, nce

SCORES = pytest.mark.parametrize("score", [nce, leep])


def looped_nce(probabilities, labels):
    sources = [int(np.argmax(row)) for row in probabilities]
    total = 0.0
    for z, y in zip(sources, labels, strict=True):
        same = [label for source, label in zip(sources, labels, strict=True) if source == z]
        total += np.log(same.count(y) / len(same))
    return total / len(labels)


def looped_leep(probabilities, labels):
    n, sources = probabilities.shape
    total = 0.0
    for i in range(n):
        expected = 0.0
        for z in range(sources):
            joint = sum(probabilities[j, z] for j in range(n) if labels[j] == labels[i]) / n
            marginal = sum(probabilities[j, z] for j in range(n)) / n
            if marginal:
                expected += joint / marginal * probabilities[i, z]
        total += np.log(expected)
    return total / n


@pytest.mark.parametrize(("n", "sources"), [(20, 4), (15, 30), (30, 2)])
def test_both_are_their_loops(n, sources):
    probabilities, labels = source_probabilities(n, sources)
    assert nce(probabilities, labels) == pytest.approx(looped_nce(probabilities, labels), rel=1e-12)
    known = looped_leep(probabilities, labels)
    assert leep(probabilities, labels) == pytest.approx(known, rel=1e-12)


def test_nce_by_hand():
    """Source class 0 holds labels 0, 0, 1, and class 1 the label 1."""
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    known = (2 * np.log(2 / 3) + np.log(1 / 3) + np.log(1)) / 4
    assert nce(probabilities, np.array([0, 0, 1, 1])) == pytest.approx(known, rel=1e-14)


def test_leep_by_hand():
    """P(y, z) is ¼ ¼ | 0 ½, so that P(y | z) is 1 ⅓ | 0 ⅔: both images have ⅔."""
    probabilities = np.array([[0.5, 0.5], [0.0, 1.0]])
    assert leep(probabilities, np.array([0, 1])) == pytest.approx(np.log(2 / 3), rel=1e-14)


def test_the_first_of_equally_likely_source_classes_counts():
    probabilities = np.array([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    assert nce(probabilities, np.array([0, 0, 1, 1])) == 0


@SCORES
def test_a_source_class_without_images_changes_nothing(score):
    probabilities, labels = source_probabilities(20, 4)
    wider = np.c_[np.zeros(20), probabilities, np.zeros(20)]
    assert score(wider, labels) == pytest.approx(score(probabilities, labels), rel=1e-14)


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(2, 10), st.integers(0, 10**6))
def test_certain_source_classes_make_both_equal(n, sources, seed):
    rng = np.random.default_rng(seed)
    labels, likeliest = np.arange(n) % 3, rng.integers(0, sources, n)
    likeliest[:2] = 0, 1
    probabilities = np.eye(sources)[likeliest]
    found = nce(probabilities, labels)
    assert found == pytest.approx(leep(probabilities, labels), rel=1e-12, abs=1e-15)
    shares = np.unique(labels, return_counts=True)[1] / n
    assert (shares * np.log(shares)).sum() - 1e-12 <= found <= 0


@SCORES
def test_the_labels_themselves_have_the_best_score(score):
    labels = np.arange(12) % 3
    assert score(np.eye(3)[labels], labels) == 0


@SCORES
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: np.log(rows), "probabilities must be >= 0: got -.* Pass the softmax of the"),
        (lambda rows: 2 * rows, r"must sum to 1: got 2 in row \d+\. Pass the softmax"),
    ],
    ids=["logits", "sums"],
)
def test_what_is_no_probability_is_refused(score, change, message):
    probabilities, labels = source_probabilities(20, 4)
    with pytest.raises(UsageError, match=message):
        score(change(probabilities), labels)


@SCORES
def test_one_row_that_is_no_probability_is_named(score):
    probabilities, labels = source_probabilities(20, 4)
    probabilities[13] *= 0.5
    with pytest.raises(UsageError, match="got 0.5 in row 13"):
        score(probabilities, labels)
