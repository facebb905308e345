"""Means over classes, their variance and their jackknife, against what they are by definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.ridge.strata import Strata, require_pairs


@st.composite
def samples(draw, least=2):
    counts = draw(st.lists(st.integers(least, 6), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.repeat(rng.permutation(20)[: len(counts)], counts))
    return labels, rng.standard_normal(len(labels))


@given(samples())
def test_the_mean_and_its_variance_are_those_of_the_means_of_classes(case):
    labels, values = case
    strata, parts = Strata.of(labels), [values[labels == one] for one in np.unique(labels)]
    assert strata.weights.mean() == pytest.approx(1)
    assert strata.mean(values) == pytest.approx(np.mean([part.mean() for part in parts]))
    plain = sum(part.var(ddof=1) / len(part) for part in parts) / len(parts) ** 2
    assert strata.variance(strata.weights * values) == pytest.approx(plain, abs=1e-14)
    assert strata.effective == pytest.approx(strata.weights.sum() ** 2 / (strata.weights**2).sum())


@given(samples())
def test_a_sample_that_leaves_changes_the_mean_of_its_class(case):
    labels, values = case
    strata = Strata.of(labels)
    moves = strata.moves(values)
    for place in range(len(labels)):
        kept = np.arange(len(labels)) != place
        without = Strata.of(labels[kept]).mean(values[kept])
        assert moves[place] == pytest.approx(without - strata.mean(values), abs=1e-12)
    # of a mean the jackknife is exact
    variance = strata.variance(strata.weights * values)
    assert strata.spread(moves) ** 2 == pytest.approx(variance, abs=1e-14)


@given(samples())
def test_all_samples_as_one_class_are_plain(case):
    _, values = case
    strata, n = Strata.one(len(values)), len(values)
    assert strata.weights.tolist() == [1] * n and strata.effective == pytest.approx(n)
    assert strata.mean(values) == pytest.approx(values.mean())
    assert strata.variance(values) == pytest.approx(values.var(ddof=1) / n)
    assert strata.moves(values) == pytest.approx((values.mean() - values) / (n - 1))
    assert strata.spread(values) == pytest.approx((n - 1) ** 0.5 * values.std())


def test_a_class_of_a_single_sample_has_no_variance():
    strata = Strata.of([4, 4, 9])
    assert strata.weights.tolist() == [0.75, 0.75, 1.5]
    assert np.isnan(strata.variance(np.ones(3)))
    assert np.isnan(strata.moves(np.ones(3))).tolist() == [False, False, True]


def test_every_class_needs_two_images():
    require_pairs(np.array([0, 0, 3, 3]))
    with pytest.raises(UsageError, match=r"at least 2 images: got 1 of class 2, among 5 images"):
        require_pairs(np.array([0, 0, 2, 1, 1]))
    with pytest.raises(UsageError, match=r"got 1 of class ash, elm, fir, oak, yew and 2 more"):
        require_pairs(np.arange(7), ("ash", "elm", "fir", "oak", "yew", "box", "bay"))
