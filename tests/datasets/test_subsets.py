"""Seeded subsets: permutations, strata, independent streams, nesting, refused sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import array_set

from rmtgen.datasets import (
    load_dataset,
    load_split,
)
from rmtgen.datasets.subsets import shuffled_order
from rmtgen.errors import UsageError


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    seed=st.integers(0, 2**70),
    stratify=st.booleans(),
    split=st.sampled_from(["train", "test"]),
)
def test_an_order_is_a_permutation_that_the_seed_alone_decides(labels, seed, stratify, split):
    data = array_set(labels, split)
    order = shuffled_order(data, seed=seed, stratify=stratify)
    assert sorted(order) == list(range(len(labels)))
    assert np.array_equal(order, shuffled_order(data, seed=seed, stratify=stratify))


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=60), seed=st.integers(0, 1000))
def test_every_head_of_a_stratified_order_is_as_balanced_as_the_data_allow(labels, seed):
    order = shuffled_order(array_set(labels), seed=seed, stratify=True)
    total = np.bincount(labels, minlength=3)
    for size in range(1, len(labels) + 1):
        counts = np.bincount(np.take(labels, order[:size]), minlength=3)
        unfinished = counts < total
        if unfinished.any():
            assert counts.max() - counts[unfinished].min() <= 1


def test_a_stratified_order_is_random_within_classes_and_within_rounds():
    labels = np.repeat([0, 1, 2], 40)
    order = shuffled_order(array_set(labels), seed=1, stratify=True)
    rounds = labels[order].reshape(40, 3)
    assert len({tuple(row) for row in rounds.tolist()}) == 6
    for label in range(3):
        drawn = order[labels[order] == label]
        assert not np.array_equal(drawn, np.sort(drawn))


@pytest.mark.parametrize("stratify", [False, True])
def test_seeds_and_splits_have_independent_streams(stratify):
    labels = np.tile([0, 1, 2], 200)
    ranks = []
    # 2**32 would equal the other split's seed 0 if the split were merely appended to the seed's
    # words
    for split in ("train", "test"):
        for seed in (0, 1, 2, 2**32):
            order = shuffled_order(array_set(labels, split), seed=seed, stratify=stratify)
            ranks.append(np.argsort(order))
    correlation = np.corrcoef(ranks) - np.eye(len(ranks))
    assert np.abs(correlation).max() < 5 / np.sqrt(600)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    stratify=st.booleans(),
)
def test_subsets_of_one_seed_are_nested(shared_folder, seed, sizes, stratify):
    small, large = (
        load_dataset(shared_folder, split="test", size=size, seed=seed, stratify=stratify)
        for size in sorted(sizes)
    )
    assert np.array_equal(large.indices[: len(small)], small.indices)
    assert large.digests()[: len(small)] == small.digests()


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), test=st.integers(1, 15), stratify=st.booleans())
def test_a_split_is_the_two_subsets_when_nothing_is_left_out(shared_folder, seed, test, stratify):
    split = load_split(shared_folder, train=None, test=test, seed=seed, stratify=stratify)
    assert split.skipped == split.duplicates == ()
    train = load_dataset(shared_folder, seed=seed, stratify=stratify)
    assert np.array_equal(split.train.indices, train.indices)
    assert np.array_equal(
        split.test.indices,
        load_dataset(shared_folder, split="test", size=test, seed=seed, stratify=stratify).indices,
    )


def test_a_subset_is_no_prefix_even_when_it_is_everything(name):
    assert not np.array_equal(load_dataset(name).indices, np.arange(36))


@pytest.mark.parametrize("size", [0, -1, 37, 2.0, True])
def test_a_size_the_data_do_not_have_is_refused(name, size):
    with pytest.raises(
        UsageError, match=rf"train size must be between 1 and the 36 images of .* got {size}"
    ):
        load_dataset(name, size=size)
    with pytest.raises(
        UsageError, match=rf"train size must be between 1 and the 36 images .* got {size}"
    ):
        load_split(name, train=size, test=None)


def test_a_test_size_the_data_do_not_have_is_refused(name):
    for size in (-1, 16):
        with pytest.raises(
            UsageError, match=rf"test size must be between 1 and the 15 images .* got {size}\."
        ):
            load_split(name, train=None, test=size)


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_a_seed_is_a_whole_number(name, seed):
    with pytest.raises(UsageError, match=f"seed must be an integer ≥ 0, got {seed!r}"):
        load_dataset(name, seed=seed)


def test_a_training_subset_without_a_class_is_refused_and_stratify_cures_it(name):
    message = (
        r"2 of the 3 classes of .* have none among 1 \(\w+, \w+\).*stratify=True with at least 3"
    )
    with pytest.raises(UsageError, match=message):
        load_dataset(name, size=1)
    with pytest.raises(UsageError, match=message):
        load_split(name, train=1, test=None)
    assert sorted(load_dataset(name, size=3, stratify=True).labels) == [0, 1, 2]
    assert len(load_dataset(name, split="test", size=1)) == 1


def test_without_a_shuffle_the_first_images_come_in_the_order_of_the_source(shared_folder):
    first = load_dataset(shared_folder, shuffle=False, seed=3)
    assert first.indices.tolist() == list(range(len(first)))
    split = load_split(shared_folder, train=None, test=3, shuffle=False, seed=3)
    assert split.test.indices.tolist() == [0, 1, 2]
    assert split.train.indices.tolist() == sorted(split.train.indices)
    for call in (load_dataset, lambda name, **how: load_split(name, train=4, test=2, **how)):
        with pytest.raises(UsageError, match="stratify draws the subset, got shuffle=False"):
            call(shared_folder, stratify=True, shuffle=False)
