"""The primal solver: rows that arrive in blocks, sizes that share a factorisation, files as
features."""

import numpy as np
import pytest
from cases import TALL, lonely_sample

from rmtgen.ridge import path, primal, ridge_path_features
from rmtgen.ridge.targets import encode_targets


@pytest.fixture
def never_eigen(monkeypatch):
    monkeypatch.setattr(path, "solve_eigen", None)


def problem(n=700, p=30, m=40, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    features = mean + rng.standard_normal((n + m, p)) * np.arange(1, p + 1) ** -0.7
    targets = encode_targets(rng.integers(0, 4, n + m), 4, "onehot").values.numpy()
    return {
        "features": features[:n],
        "targets": targets[:n],
        "test_features": features[n:],
        "test_targets": targets[n:],
    }


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("rows", [1, 17, 10**6])
def test_blocks_and_sizes_agree_with_the_eigen_solver(intercept, mean, rows, monkeypatch):
    data = problem(200, mean=mean)
    options = {
        "ridges": [0.0, 1e-6, 1e-2, 10.0],
        "sizes": [200, 40, 171, 40],
        "intercept": intercept,
    }
    eigen = ridge_path_features(**data, **options, solver="eigen")
    monkeypatch.setattr(primal, "ROWS", rows)
    monkeypatch.setattr(primal, "ROWS_PREDICTED", max(1, rows // 2))
    monkeypatch.setattr(path, "solve_eigen", None)
    found = ridge_path_features(**data, **options, solver="primal")
    np.testing.assert_allclose(found, eigen, rtol=1e-6 if mean else 1e-9)


def test_features_that_repeat_or_vanish_have_no_modes(never_eigen):
    data = problem()
    for name in ("features", "test_features"):
        data[name][:, 5], data[name][:, 6] = data[name][:, 4], 0.0
    found = ridge_path_features(**data, ridges=[0.0, 1e-3], solver="primal")
    assert found.df[0] == 28
    assert found.train_risk[0] > 0


def test_the_rows_are_read_once_and_the_triangle_grows(monkeypatch, never_eigen):
    read, honest = [], primal.append_rows_

    def counted(triangle, rows):
        read.append(len(rows))
        honest(triangle, rows)

    monkeypatch.setattr(primal, "append_rows_", counted)
    monkeypatch.setattr(primal, "ROWS", 200)
    data = problem(700, 30)
    ridge_path_features(**data, ridges=[1.0], sizes=[100, 350, 700], solver="primal")
    assert read == [100, 200, 50, 200, 150]


def test_small_sizes_and_unsure_samples_are_left_to_the_eigen_solver():
    data = problem(60, 30)
    options = {"ridges": [0.0, 1.0], "sizes": [10, 30, 31, 60]}
    frames = [
        ridge_path_features(**data, **options, solver=solver) for solver in ("primal", "eigen")
    ]
    np.testing.assert_allclose(*frames, rtol=1e-7, atol=1e-20)
    features, targets = lonely_sample()
    frames = [
        ridge_path_features(features, targets, sum_ridges=[0.0, 1e-9, 1.0], solver=solver)
        for solver in ("primal", "eigen")
    ]
    np.testing.assert_allclose(*frames, rtol=1e-7, atol=1e-12)


def test_a_file_of_float32_features(tmp_path, never_eigen):
    data = problem(300)
    file = np.memmap(tmp_path / "features", np.float32, "w+", shape=data["features"].shape)
    file[:] = data["features"]
    file.flush()
    data["features"] = np.memmap(tmp_path / "features", np.float32, "c", shape=file.shape)
    found = ridge_path_features(**data, ridges=[1e-3], solver="primal")
    data["features"] = np.array(file, np.float64)
    np.testing.assert_allclose(
        found, ridge_path_features(**data, ridges=[1e-3], solver="primal"), rtol=1e-12
    )


def test_no_second_pass_where_no_column_needs_it(monkeypatch):
    monkeypatch.setattr(primal.Reduced, "_blocks", None)
    found = ridge_path_features(
        TALL.features, TALL.features[:, :2], ridges=[0.1], loo=False, solver="primal"
    )
    assert np.isfinite(found.gcv[0])
    assert found[["loo", "train_error", "loo_error"]].isna().all(axis=None)
