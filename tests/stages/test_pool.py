"""The pool of a run is what its stores hold, and the whole of it is solved once."""

import dataclasses

import numpy as np
import pytest
import torch

from rmtgen.errors import NumericalError
from rmtgen.kernels.linear import linear_block
from rmtgen.runs.config import Config
from rmtgen.stages.pool import cells, curve_sizes, load_pool
from rmtgen.store.feature_store import FeatureLayout, FeatureStore
from rmtgen.store.gram_store import GramLayout, GramStore

CPU = torch.device("cpu")
CONFIG = Config(
    train=40, test=15, sizes=(5, 20, 40), trials=2, ridges=(0.0, 1e-3, 1.0), solve_from="features"
)


@pytest.fixture
def folder(tmp_path):
    """A run directory with features of dimension 8 and their Gram matrix."""
    return store_features(
        tmp_path, np.random.default_rng(0).normal(size=(55, 8)).astype(np.float32)
    )


def store_features(path, features):
    labels = np.arange(55) % 3
    store = FeatureStore.create(
        path,
        FeatureLayout(labels[:40], labels[40:], ("a", "b", "c"), features.shape[1], 64),
        "basis",
    )
    store.write("train", 0, features[:40])
    store.write("test", 0, features[40:])
    gram, rows = (
        GramStore.create(path, GramLayout(40, 15, "float64", 16)),
        torch.from_numpy(features),
    )
    for tile in gram.pending():
        left, right = (
            rows[tile.row_start : tile.row_stop],
            rows[tile.column_start : tile.column_stop],
        )
        gram.write(tile, linear_block(left, left if tile.symmetric else right).numpy())
    return path


@pytest.mark.parametrize(("train", "expected"), [(40, False), (8, True)])
def test_auto_solves_the_smaller_problem(tmp_path, train, expected):
    features = (
        np.random.default_rng(0).normal(size=(55, 8 if train == 40 else 60)).astype(np.float32)
    )
    pool = load_pool(
        store_features(tmp_path, features), dataclasses.replace(CONFIG, solve_from="auto"), CPU
    )
    assert pool.is_gram is expected


def test_every_trial_of_a_size_is_solved_but_the_whole_pool_once():
    assert cells(CONFIG) == [(5, 0), (5, 1), (20, 0), (20, 1), (40, 0)]


def test_features_that_are_all_zero_are_refused(tmp_path):
    folder = store_features(tmp_path, np.zeros((55, 8), dtype=np.float32))
    with pytest.raises(NumericalError, match="trace 0: every feature is zero"):
        load_pool(folder, CONFIG, CPU)


@pytest.mark.parametrize("targets", ["centered", "intercept"])
def test_what_is_loaded_is_what_the_stores_hold(folder, targets):
    config = dataclasses.replace(CONFIG, targets=targets)
    features = FeatureStore.open(folder)
    by_features = load_pool(folder, config, CPU)
    by_gram = load_pool(folder, dataclasses.replace(config, solve_from="gram"), CPU)
    assert (by_features.is_gram, by_gram.is_gram) == (False, True)
    np.testing.assert_array_equal(by_features.kernel.train, features.read("train").astype(float))
    np.testing.assert_array_equal(by_features.kernel.test, features.read("test").astype(float))
    whole = GramStore.open(folder).read()
    np.testing.assert_array_equal(by_gram.kernel.train, whole[:40])
    np.testing.assert_array_equal(by_gram.kernel.test, whole[40:])
    onehot = np.eye(3)[np.arange(55) % 3] - (targets == "centered") / 3
    for pool in (by_features, by_gram):
        np.testing.assert_array_equal(pool.targets.values[:], onehot[:40])
        np.testing.assert_array_equal(pool.test_targets.values[:], onehot[40:])
        assert pool.targets.intercept is (targets == "intercept")


def test_the_curve_is_dense_in_n():
    """Every n of 200 geometric steps; every one of 50 that differs."""
    sizes = {is_gram: curve_sizes(CONFIG, is_gram).tolist() for is_gram in (True, False)}
    assert sizes[True] == list(range(5, 41))
    assert (sizes[False][0], sizes[False][-1], len(sizes[False])) == (5, 40, 32)
