"""The pool of a run is what its stores hold, and the whole of it is solved once."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rmtgen.errors import NumericalError
from rmtgen.kernels.linear import linear_block
from rmtgen.ridge import interval, streamed
from rmtgen.ridge.stored import StoredKernel
from rmtgen.runs.config import Config
from rmtgen.stages.pool import cells, curve_sizes, load_pool
from rmtgen.stages.risk import how
from rmtgen.store.batched_rows import FeatureLayout
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramLayout, GramStore
from tests.ridge.case_memory import peak

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


def store_features(path, features, n=40, edge=16):
    labels = np.arange(len(features)) % 3
    store = FeatureStore.create(
        path,
        FeatureLayout(labels[:n], labels[n:], ("a", "b", "c"), features.shape[1], max(n, 64)),
        "basis",
    )
    store.write("train", 0, features[:n])
    store.write("test", 0, features[n:])
    gram, rows = (
        GramStore.create(path, GramLayout(n, len(features) - n, "float64", edge)),
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


def test_features_in_a_file_are_those_of_the_store_and_leave_nothing(folder, tmp_path):
    spill = tmp_path / "spill"
    mapped = load_pool(folder, dataclasses.replace(CONFIG, spill=str(spill)), CPU)
    known = load_pool(folder, CONFIG, CPU)
    assert not any(spill.iterdir())
    assert str(spill) in Path("/proc/self/maps").read_text()
    np.testing.assert_array_equal(mapped.kernel.train, known.kernel.train)
    for cell in cells(CONFIG):
        pair = (pool.risk(cell, CONFIG.ridges, seed=0) for pool in (mapped, known))
        pd.testing.assert_frame_equal(*pair)


def test_a_matrix_in_its_store_gives_the_answer_of_one_in_memory(folder):
    """In any order, at any size, from a solver that reads it and from one that does not."""
    config = dataclasses.replace(CONFIG, solve_from="gram", ridges=(1e-3, 1.0), loo=False)
    stored = load_pool(folder, dataclasses.replace(config, solver="matrix_free"), CPU)
    known = load_pool(folder, config, CPU)
    assert isinstance(stored.kernel, StoredKernel)
    assert stored.trace == pytest.approx(known.trace, rel=1e-14)
    assert stored.largest_diagonal == known.largest_diagonal
    for left, right in zip(stored.block(12), known.block(12), strict=True):
        np.testing.assert_array_equal(left, right)
    orders = [cell.order(0, 40) for cell in cells(config) if cell.n == 20]
    for left, right in zip(*(p.spectra(orders, 2**30) for p in (stored, known)), strict=True):
        np.testing.assert_allclose(left.eigenvalues, right.eigenvalues, rtol=1e-10)
    order = stored._positions(orders[1])
    columns = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3)))
    pair = stored.kernel.chosen(order), known.kernel.chosen(order)
    panels = torch.empty(8, 18, dtype=torch.float64), pair[1].train[10:18, :18]
    pair[0].panel(10, panels[0])
    np.testing.assert_array_equal(*panels)
    for name in ("multiply", "multiply_tests"):
        np.testing.assert_allclose(*(getattr(one, name)(columns) for one in pair), rtol=1e-12)
    for cell in cells(config):
        solvers = {"nested": {}, "matrix_free": {"memory": 2**22}}
        for solver, options in solvers.items():
            options |= {"loo": False, "seed": 0, "solver": solver}
            found, expected = (
                pool.risk(cell, config.ridges, **settings)
                for pool, settings in ((stored, options), (known, {"loo": False, "seed": 0}))
            )
            np.testing.assert_allclose(found["test_risk"], expected["test_risk"], rtol=1e-3)


def test_many_rows_and_classes_take_less_than_their_targets(tmp_path):
    """Blocks alone are held: no float64 copy of the features, and no target of every row."""
    n, dim, classes = 24_000, 16, 400
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((n + 50, dim)) * np.arange(1, dim + 1) ** -0.5).astype("f4")
    labels = rng.integers(0, classes, n + 50)
    names = tuple(map(str, range(classes)))
    store = FeatureStore.create(tmp_path, FeatureLayout(labels[:n], labels[n:], names, dim, n), "b")
    store.write("train", 0, features[:n])
    store.write("test", 0, features[n:])
    settings = {"train": n, "test": 50, "sizes": (n,), "ridges": (1e-2, 1.0), "trials": 1}
    config = dataclasses.replace(CONFIG, **settings, solver="primal", spill=str(tmp_path / "s"))
    found = []

    def solve():
        pool = load_pool(tmp_path, config, CPU)
        orders = [cell.order(0, n) for cell in cells(config)]
        found.extend(pool.spectra(orders, config.memory))
        found.append(pool.risk(cells(config)[0], config.ridges, seed=0, **how(config)))

    taken = peak(solve)
    assert taken < 0.7 * 8 * n * classes
    spectrum, risk = found
    rows = features[:n].astype(float)
    assert spectrum.trace == pytest.approx(np.square(rows).sum(), rel=1e-12)
    targets = np.eye(classes)[labels[:n]] - 1 / classes
    shift = n * risk["ridge"][0] * np.eye(dim)
    weights = np.linalg.solve(rows.T @ rows + shift, rows.T @ targets)
    expected = np.square(rows @ weights - targets).sum() / n
    assert risk["train_risk"][0] == pytest.approx(expected, rel=1e-10)


def test_a_matrix_in_its_store_is_never_whole(tmp_path, monkeypatch):
    """From the opening of the store to the risk of a shuffle."""
    for name, size in (("STRIP", 32), ("WIDEST", 64), ("BLOCK", 32)):
        monkeypatch.setattr(streamed, name, size)
    monkeypatch.setattr(interval, "PAIRED", 40)
    n, features = 700, np.random.default_rng(0).standard_normal((715, 8)).astype("f4")
    store_features(tmp_path, features, n, edge=96)
    settings = {"train": n, "sizes": (n,), "ridges": (1.0,), "solve_from": "gram"}
    config = dataclasses.replace(CONFIG, **settings, solver="streamed", spill=str(tmp_path / "s"))
    found = []

    def solve():
        pool = load_pool(tmp_path, config, CPU)
        found.append(pool.risk(cells(config)[0], config.ridges, seed=0, **how(config)))

    assert peak(solve) < 0.7 * 8 * n**2
    rows, labels = features.astype(float), np.arange(n) % 3
    targets = np.eye(3)[labels] - 1 / 3
    shift = n * found[0]["ridge"][0] * np.eye(n)
    residual = targets - rows[:n] @ rows[:n].T @ np.linalg.solve(
        rows[:n] @ rows[:n].T + shift, targets
    )
    assert found[0]["train_risk"][0] == pytest.approx(np.square(residual).sum() / n, rel=1e-9)


def test_the_curve_is_dense_in_n():
    """Every n of 200 geometric steps; every one of 50 that differs."""
    sizes = {is_gram: curve_sizes(CONFIG, is_gram).tolist() for is_gram in (True, False)}
    assert sizes[True] == list(range(5, 41))
    assert (sizes[False][0], sizes[False][-1], len(sizes[False])) == (5, 40, 32)
