"""The pool: features and Gram matrix give one answer; trials are nested, seeded shuffles; the full
pool is solved once."""

import dataclasses

import numpy as np
import pytest
import torch

from rmtgen.errors import NumericalError
from rmtgen.kernels.linear import linear_block
from rmtgen.linalg.cells import Cell
from rmtgen.runs.config import Config
from rmtgen.stages.pool import CURVE_COLUMNS, CURVE_RIDGES, RISK_COLUMNS, Pool, cells
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


@pytest.mark.parametrize("targets", ["centered", "intercept"])
def test_features_and_gram_give_one_answer(folder, targets):
    config = dataclasses.replace(CONFIG, targets=targets)
    other = dataclasses.replace(config, solve_from="gram")
    by_features, by_gram = Pool.load(folder, config, CPU), Pool.load(folder, other, CPU)
    assert (by_features.is_gram, by_gram.is_gram) == (False, True)
    assert by_gram.trace == pytest.approx(by_features.trace, rel=1e-12)
    for cell in cells(config):
        left, right = by_features.risk(cell, config), by_gram.risk(cell, other)
        assert list(left) == list(RISK_COLUMNS)
        np.testing.assert_allclose(
            left.to_numpy(float), right.to_numpy(float), rtol=1e-8, atol=1e-12
        )
    orders = [Cell(20, trial).order(config.seed, config.train) for trial in (0, 1)]
    pairs = zip(by_features.modes(orders, 2**30), by_gram.modes(orders, 2**30), strict=True)
    for left, right in pairs:
        np.testing.assert_allclose(left.values, right.values, rtol=1e-9)


@pytest.mark.parametrize(("train", "expected"), [(40, False), (8, True)])
def test_auto_solves_the_smaller_problem(tmp_path, train, expected):
    features = (
        np.random.default_rng(0).normal(size=(55, 8 if train == 40 else 60)).astype(np.float32)
    )
    pool = Pool.load(
        store_features(tmp_path, features), dataclasses.replace(CONFIG, solve_from="auto"), CPU
    )
    assert pool.is_gram is expected


def test_ridges_are_relative_to_the_pool_and_fixed_over_n(folder):
    pool = Pool.load(folder, CONFIG, CPU)
    for cell in cells(CONFIG):
        path = pool.risk(cell, CONFIG)
        np.testing.assert_allclose(
            path["ridge"], np.array(CONFIG.ridges) * pool.trace / 40, rtol=1e-15
        )
        np.testing.assert_array_equal(path["relative_ridge"], CONFIG.ridges)
        assert set(path["outputs"]) == {3}


def test_trials_are_nested_seeded_shuffles_and_the_whole_pool_is_solved_once():
    assert cells(CONFIG) == [(5, 0), (5, 1), (20, 0), (20, 1), (40, 0)]
    for trial in (0, 1):
        whole = Cell(40, trial).order(0, 40)
        np.testing.assert_array_equal(Cell(5, trial).order(0, 40), whole[:5])
        assert sorted(whole) == list(range(40))
    assert (Cell(40, 0).order(0, 40) != Cell(40, 1).order(0, 40)).any()
    assert (Cell(40, 0).order(0, 40) != Cell(40, 0).order(1, 40)).any()


def test_features_that_are_all_zero_are_refused(tmp_path):
    folder = store_features(tmp_path, np.zeros((55, 8), dtype=np.float32))
    with pytest.raises(NumericalError, match="trace 0: every feature is zero"):
        Pool.load(folder, CONFIG, CPU)


def test_a_diagonal_block_is_exactly_symmetric_and_exact():
    rows = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    block = linear_block(rows, rows)
    assert torch.equal(block, block.T)
    assert block.dtype == torch.float64
    np.testing.assert_allclose(
        block, rows.numpy().astype(float) @ rows.numpy().astype(float).T, rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("solve_from", ["gram", "features"])
def test_the_dense_curve_holds_the_fits_of_the_first_trial(folder, solve_from):
    """Its rows at a size are those of the risk table at the ridge that its sum ridge is there."""
    config = dataclasses.replace(CONFIG, solve_from=solve_from)
    pool = Pool.load(folder, config, CPU)
    curve = pool.curve(config)
    assert list(curve) == list(CURVE_COLUMNS)
    sizes = curve.n.unique().tolist()
    assert sizes[0] == 5 and sizes[-1] == 40
    assert (
        len(sizes) == {"gram": 36, "features": 32}[solve_from]
    )  # every n; every one of 50 geometric steps that differs
    for n in (5, sizes[len(sizes) // 2], 40):
        relative = tuple(ridge * 40 / n for ridge in CURVE_RIDGES)
        known = pool.risk(Cell(n, 0), dataclasses.replace(config, ridges=relative))
        found = curve[curve.n == n]
        assert tuple(found.relative_sum_ridge) == CURVE_RIDGES
        shared = [column for column in CURVE_COLUMNS if column != "relative_sum_ridge"]
        np.testing.assert_allclose(found[shared], known[shared], rtol=1e-8, atol=1e-12)
