"""A pool: features and Gram matrix give one answer, which is that of `ridge_path` on the subset."""

import dataclasses

import numpy as np
import pytest
import torch

from rmtgen.linalg.cells import Cell
from rmtgen.ridge import ridge_path
from rmtgen.ridge.columns import CURVE_COLUMNS, RISK_COLUMNS
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.targets import encode_targets

SEED, RIDGES, SUM_RIDGES = 4, (0.0, 1e-3, 1.0), (1e-5, 1e-3, 1e-1)
CELLS = [Cell(5, 0), Cell(20, 0), Cell(20, 1), Cell(40, 0)]


def pools(coding="centered"):
    """One pool of 40 + 15 samples of 8 features in both its forms."""
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((55, 8)))
    train, test = features[:40], features[40:]
    labels = np.arange(55) % 3
    encoded = [encode_targets(part, 3, coding) for part in (labels[:40], labels[40:])]
    return (
        Pool(FeatureKernel(train, test), *encoded),
        Pool(GramKernel(train @ train.mT, test @ train.mT), *encoded),
    )


def same(left, right):
    np.testing.assert_allclose(left.to_numpy(float), right.to_numpy(float), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("coding", ["centered", "intercept"])
def test_features_and_gram_give_one_answer(coding):
    by_features, by_gram = pools(coding)
    assert len(by_features) == len(by_gram) == 40
    assert by_gram.trace == pytest.approx(by_features.trace, rel=1e-12)
    assert by_gram.largest_diagonal == pytest.approx(by_features.largest_diagonal, rel=1e-12)
    for left, right in zip(by_features.block(12), by_gram.block(12), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)
    for cell in CELLS:
        left, right = (pool.risk(cell, RIDGES, seed=SEED) for pool in (by_features, by_gram))
        assert list(left) == list(RISK_COLUMNS)
        same(left, right)
    same(*(pool.curve([9, 30, 40], SUM_RIDGES, seed=SEED) for pool in (by_features, by_gram)))
    orders = [Cell(20, trial).order(SEED, 40) for trial in (0, 1)]
    pairs = zip(by_features.modes(orders, 2**30), by_gram.modes(orders, 2**30), strict=True)
    for left, right in pairs:
        np.testing.assert_allclose(left.values, right.values, rtol=1e-9)


def test_the_risk_of_a_cell_is_the_path_of_its_samples_at_ridges_relative_to_the_pool():
    _, pool = pools()
    for cell in CELLS:
        order = np.random.default_rng([SEED, cell.trial]).permutation(40)[: cell.n]
        found = pool.risk(cell, RIDGES, seed=SEED)
        known = ridge_path(
            pool.kernel.train[order][:, order],
            pool.targets.values[order],
            ridges=np.array(RIDGES) * np.trace(pool.kernel.train.numpy()) / 40,
            test_gram=pool.kernel.test[:, order],
            test_targets=pool.test_targets.values,
        )
        np.testing.assert_allclose(found[list(known)], known, rtol=1e-14)
        np.testing.assert_array_equal(found["relative_ridge"], RIDGES)
        assert (set(found["trial"]), set(found["outputs"])) == ({cell.trial}, {3})


@pytest.mark.parametrize("form", [0, 1], ids=["features", "gram"])
def test_the_curve_holds_the_fits_of_the_first_trial(form):
    """Its rows at a size are those of the risk table at the ridge that its sum ridge is there."""
    pool, sizes = pools()[form], [5, 17, 40]
    curve = pool.curve(sizes, SUM_RIDGES, seed=SEED)
    assert list(curve) == list(CURVE_COLUMNS)
    assert curve.n.tolist() == np.repeat(sizes, 3).tolist()
    for n in sizes:
        relative = tuple(ridge * 40 / n for ridge in SUM_RIDGES)
        known = pool.risk(Cell(n, 0), relative, seed=SEED)
        found = curve[curve.n == n]
        assert tuple(found.relative_sum_ridge) == SUM_RIDGES
        shared = [column for column in CURVE_COLUMNS if column != "relative_sum_ridge"]
        np.testing.assert_allclose(found[shared], known[shared], rtol=1e-8, atol=1e-12)


def test_leave_one_out_is_left_out_where_it_is_not_asked_for():
    for pool in pools():
        assert pool.risk(Cell(20, 0), RIDGES, seed=SEED, loo=False)["loo"].isna().all()
        assert pool.risk(Cell(20, 0), RIDGES, seed=SEED)["loo"].notna().all()
        assert pool.curve([20], SUM_RIDGES, seed=SEED, loo=False)["loo"].isna().all()


def test_a_pool_needs_no_test_set():
    for pool in pools():
        kernel = dataclasses.replace(pool.kernel, test=None)
        bare = dataclasses.replace(pool, kernel=kernel, test_targets=None)
        found, known = (one.risk(Cell(20, 1), RIDGES, seed=SEED) for one in (bare, pool))
        assert found["test_risk"].isna().all()
        np.testing.assert_array_equal(found["gcv"], known["gcv"])
        gram, tests = bare.block(12)
        assert tests is None
        assert torch.equal(gram, pool.block(12)[0])
