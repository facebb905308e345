"""The nested Cholesky solver against the plain reference and the eigen solver."""

import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmtgen.linalg.triangular import BLOCK
from rmtgen.ridge import COLUMNS, nested, path, ridge_path, ridge_path_features
from rmtgen.ridge.targets import encode_targets


def problem(n=80, p=50, m=9, seed=0, decay=0.5, scale=1.0):
    rng = np.random.default_rng(seed)
    spread = scale * np.arange(1, p + 1) ** -decay
    features, test = (rng.standard_normal((count, p)) * spread for count in (n, m))
    labels, test_labels = rng.integers(0, 3, n), rng.integers(0, 3, m)
    targets, test_targets = (
        encode_targets(one, 3, "centered").values.numpy() for one in (labels, test_labels)
    )
    return {
        "gram": features @ features.T,
        "targets": targets,
        "test_gram": test @ features.T,
        "test_targets": test_targets,
    }


@pytest.fixture
def never_eigen(monkeypatch):
    def refuse(*_):
        raise AssertionError("left to the eigen solver")

    monkeypatch.setattr(path, "solve_eigen", refuse)


@settings(max_examples=40)
@given(
    n=st.integers(2, 60),
    p=st.integers(1, 90),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    relative=st.floats(-4, 2),
    intercept=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example(n=2, p=1, scale=1e-6, relative=-4.0, intercept=True, seed=0)  # tr P² is 3e-9 of tr G²
def test_agrees_with_plain_linear_algebra(n, p, scale, relative, intercept, seed):
    """Any rank, duplicated rows, scales a million times up and down; the ridge is four decades
    below the mean eigenvalue and up."""
    data = problem(n, p, 5, seed, scale=scale)
    if n > 3:
        for name in ("gram", "targets"):
            data[name][n - 1] = data[name][0]
        data["gram"][:, n - 1] = data["gram"][:, 0]
        data["gram"][n - 1, n - 1] = data["gram"][0, 0]
        data["test_gram"][:, n - 1] = data["test_gram"][:, 0]
    sum_ridge = 10**relative * np.trace(data["gram"]) / n
    sizes = sorted({2, (n + 2) // 2, n})
    frame = ridge_path(
        **data, sum_ridges=[sum_ridge], sizes=sizes, intercept=intercept, solver="nested"
    )
    for size, (_, found) in zip(sizes, frame.iterrows(), strict=True):
        known = reference.row(
            data["gram"][:size, :size],
            data["targets"][:size],
            sum_ridge / size,
            intercept,
            data["test_gram"][:, :size],
            data["test_targets"],
        )
        power = (
            data["targets"][:size] ** 2
        ).sum() / sum_ridge  # norm2 is what is left of it beside the null space
        condition = 1 + np.trace(data["gram"][:size, :size]) / sum_ridge
        floor = {"df": 1e-12 * n, "norm2": 1e-14 * condition * power}
        for column in COLUMNS:
            assert found[column] == pytest.approx(
                known[column], rel=1e-8, abs=floor.get(column, 1e-14), nan_ok=True
            ), column


@pytest.mark.parametrize("intercept", [False, True])
def test_sizes_about_the_blocks_edges_agree_with_the_eigen_solver(intercept, never_eigen):
    data = problem(2 * BLOCK + 30, 700)
    sizes = [2, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 30, 5]
    options = {"sum_ridges": [1.0, 1e-2, 30.0], "sizes": sizes, "intercept": intercept}
    found, eigen = (ridge_path(**data, **options, solver=solver) for solver in ("nested", "eigen"))
    np.testing.assert_allclose(found, eigen, rtol=1e-9)
    assert found.attrs == eigen.attrs


def test_near_interpolation_six_digits_hold(never_eigen):
    data = problem(90, 150)
    smallest = np.linalg.eigvalsh(data["gram"])[0]
    options = {"sum_ridges": [1e-8 * smallest, 0.0], "sizes": [60, 90]}
    found, eigen = (ridge_path(**data, **options, solver=solver) for solver in ("nested", "eigen"))
    np.testing.assert_allclose(found, eigen, rtol=1e-6, atol=1e-20)


def test_one_factor_serves_every_size_and_equal_products(monkeypatch):
    made = []
    honest = nested.cholesky_
    monkeypatch.setattr(
        nested, "cholesky_", lambda matrix: made.append(len(matrix)) or honest(matrix)
    )
    data = problem()
    ridge_path(**data, sum_ridges=[1.0], sizes=range(2, 81), solver="nested")
    assert made == [80]
    made.clear()
    ridge_path(**data, ridges=[2.0, 1.0, 0.5], sizes=[20, 40, 80], solver="nested")
    assert sorted(made) == [
        20,
        40,
        80,
        80,
        80,
    ]  # δ = 40, 20, 10; 80, 40, 20; 160, 80, 40: five of them


def test_what_is_singular_is_left_to_the_eigen_solver():
    data = problem(60, 20)
    options = {"sum_ridges": [0.0, 1e-12, 1.0], "sizes": [10, 60]}
    found, eigen = (ridge_path(**data, **options, solver=solver) for solver in ("nested", "eigen"))
    np.testing.assert_allclose(found, eigen, rtol=1e-9)


def test_features_and_no_test_set_and_no_loo(never_eigen):
    features = np.random.default_rng(0).standard_normal((40, 60))
    targets = features[:, :2]
    options = {"ridges": [0.1], "sizes": [10, 40], "loo": False}
    found, eigen = (
        ridge_path_features(features, targets, **options, solver=solver)
        for solver in ("nested", "eigen")
    )
    np.testing.assert_allclose(found, eigen, rtol=1e-9)
    assert found[["loo", "test_risk", "train_error"]].isna().all(axis=None)
