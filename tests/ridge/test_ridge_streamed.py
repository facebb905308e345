"""The factor on a disk against plain linear algebra and the factor in memory; kills, damage, disks
that are full, and the memory it takes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from test_ridge_matrix_free import stored
from test_ridge_memory import peak

from rmtgen.errors import (
    CapacityError,
    CorruptInputError,
    MissingInputError,
    NumericalError,
    StorageError,
    UsageError,
)
from rmtgen.ridge import (
    COLUMNS,
    interval,
    path,
    ridge_path,
    ridge_path_features,
    ridge_path_stored,
    streamed,
)
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.stored import StoredKernel
from rmtgen.ridge.streamed import cost_streamed, panel_width, solve_streamed
from rmtgen.ridge.targets import encode_targets
from rmtgen.store import durable


@pytest.fixture(autouse=True)
def small_panels(monkeypatch):
    monkeypatch.setattr(streamed, "STRIP", 8)
    monkeypatch.setattr(streamed, "WIDEST", 24)
    monkeypatch.setattr(streamed, "BLOCK", 5)


@pytest.fixture
def never_eigen(monkeypatch):
    def refuse(*_):
        raise AssertionError("left to the eigen solver")

    monkeypatch.setattr(path, "solve_eigen", refuse)


def problem(n=90, m=11, p=60, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    features = scale * rng.standard_normal((n + m, p)) * np.arange(1, p + 1) ** -0.5
    targets = encode_targets(rng.integers(0, 3, n + m), 3, "centered").values.numpy()
    tests = {"test_features": features[n:], "test_targets": targets[n:]}
    return features[:n], targets[:n], tests


@settings(max_examples=15)
@given(
    n=st.integers(2, 70),
    p=st.integers(1, 90),
    edges=st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 30)),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    relative=st.floats(-3, 2),
    intercept=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_agrees_with_plain_linear_algebra(
    tmp_path_factory, n, p, edges, scale, relative, intercept, seed
):
    """Any rank, any edge of strips, panels and blocks of sums."""
    strip, strips, streamed.BLOCK = edges
    streamed.STRIP, streamed.WIDEST = strip, strip * strips
    features, targets, tests = problem(n, 5, p, seed, scale)
    gram, rows = features @ features.T, tests["test_features"] @ features.T
    sum_ridge, sizes = 10**relative * np.trace(gram) / n, sorted({2, (n + 2) // 2, n})
    options = {"sum_ridges": [sum_ridge], "sizes": sizes, "intercept": intercept, **tests}
    place = tmp_path_factory.mktemp("spill")
    found = ridge_path_features(features, targets, **options, solver="streamed", spill=place)
    assert not any(place.iterdir())
    for size, (_, one) in zip(sizes, found.iterrows(), strict=True):
        known = reference.row(
            gram[:size, :size],
            targets[:size],
            sum_ridge / size,
            intercept,
            rows[:, :size],
            tests["test_targets"],
        )
        power, condition = (targets[:size] ** 2).sum() / sum_ridge, 1 + np.trace(gram) / sum_ridge
        floor = {"df": 1e-12 * n, "norm2": 1e-14 * condition * power}
        for column in COLUMNS:
            assert one[column] == pytest.approx(
                known[column], rel=1e-9, abs=floor.get(column, 1e-14), nan_ok=True
            ), column


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("source", ["features", "store"])
def test_is_the_factor_in_memory(tmp_path, source, intercept, never_eigen):
    features, targets, tests = problem()
    options = {
        "sum_ridges": [1e-2, 1.0, 100.0],
        "sizes": [6, 7, 8, 9, 23, 24, 25, 47, 48, 89, 90, 24],
        "intercept": intercept,
        "loo": True,
    }
    known = ridge_path_features(features, targets, **tests, **options, solver="nested")
    options |= {"solver": "streamed", "spill": tmp_path / "spill"}
    if source == "features":
        found = ridge_path_features(features, targets, **tests, **options)
    else:
        whole = np.concatenate([features, tests["test_features"]]) @ features.T
        options["test_targets"] = tests["test_targets"]
        found = ridge_path_stored(stored(tmp_path, whole, 90, tile=32), targets, **options)
    np.testing.assert_allclose(found, known, rtol=1e-10)
    assert found.attrs == known.attrs


def test_predictions_are_those_of_scikit_learn(tmp_path):
    features, targets, tests = problem()
    found = ridge_path_features(
        features,
        targets,
        **tests,
        sum_ridges=[0.3],
        sizes=[30, 90],
        solver="streamed",
        spill=tmp_path,
    )
    for n, risk in zip([30, 90], found["test_risk"], strict=True):
        fitted = KernelRidge(alpha=0.3, kernel="linear").fit(features[:n], targets[:n])
        losses = (fitted.predict(tests["test_features"]) - tests["test_targets"]) ** 2
        assert risk == pytest.approx(losses.sum(axis=1).mean(), rel=1e-10)


def test_near_interpolation_six_digits_hold(tmp_path, never_eigen):
    features, targets, tests = problem(90, 5, 150)
    smallest = np.linalg.eigvalsh(features @ features.T)[0]
    options = {"sum_ridges": [1e-8 * smallest, 0.0], "sizes": [60, 90], **tests}
    known = ridge_path_features(features, targets, **options, solver="nested")
    found = ridge_path_features(features, targets, **options, solver="streamed", spill=tmp_path)
    np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-20)


def test_what_is_singular_is_left_to_the_eigen_solver(tmp_path):
    features, targets, tests = problem(60, 5, 20)
    options = {"ridges": [0.0, 1e-13, 1.0], "sizes": [15, 60], **tests}
    known = ridge_path_features(features, targets, **options, solver="eigen")
    found = ridge_path_features(features, targets, **options, solver="streamed", spill=tmp_path)
    np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-20)
    assert not list(tmp_path.rglob("*.spill"))


def test_killed_at_random_it_goes_on_and_finds_the_same_bits(tmp_path):
    script = Path(__file__).with_name("killed_streams.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "20"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    assert int(words[1]) == 20
    assert int(words[3]) >= 5


class Stopped(Exception):
    """The process ends here."""


def stop_at(monkeypatch, row):
    """End a path once a row is reached."""
    honest = streamed._Factor.reach

    def reach(self, at, state):
        honest(self, at, state)
        if at >= row:
            raise Stopped

    monkeypatch.setattr(streamed._Factor, "reach", reach)


def interrupted(monkeypatch, tmp_path, row=48):
    """A path whose process ended; what is needed to run it again, and the folder."""
    features, targets, tests = problem()
    options = {**tests, "sum_ridges": [1.0], "sizes": [30, 90], "solver": "streamed"}
    with monkeypatch.context() as patch:
        stop_at(patch, row)
        with pytest.raises(Stopped):
            ridge_path_features(features, targets, **options, spill=tmp_path)
    (folder,) = tmp_path.iterdir()
    return lambda: ridge_path_features(features, targets, **options, spill=tmp_path), folder


def test_it_goes_on_where_it_ended(monkeypatch, tmp_path):
    again, folder = interrupted(monkeypatch, tmp_path)
    begun, honest = [], streamed._Factor.border
    monkeypatch.setattr(
        streamed._Factor, "border", lambda self, low: begun.append(low) or honest(self, low)
    )
    found = again()
    assert begun == [48, 72]
    assert not folder.exists()
    np.testing.assert_array_equal(found, again())
    assert begun == [48, 72, 0, 24, 48, 72]


def test_nothing_is_shared_by_other_problems(monkeypatch, tmp_path):
    """Targets, ridges, sizes, features, and whether there is an intercept."""
    _, folder = interrupted(monkeypatch, tmp_path)
    features, targets, tests = problem()
    options = {"sum_ridges": [1.0], "sizes": [30, 90]}
    changes = [
        {"sum_ridges": [2.0]},
        {"sizes": [30, 89]},
        {"intercept": True},
        {"loo": False},
    ]
    cases = [(features, targets, tests, options | change) for change in changes]
    cases += [
        (features + 1, targets, tests, options),
        (features, targets + 1, tests, options),
        (features, targets, tests | {"test_targets": targets[:11] + 1}, options),
        (features, targets, tests | {"test_features": features[:11]}, options),
    ]
    for x, y, both, case in cases:
        known = ridge_path_features(x, y, **both, **case, solver="nested")
        found = ridge_path_features(x, y, **both, **case, solver="streamed", spill=tmp_path)
        np.testing.assert_allclose(found, known, rtol=1e-10)
    assert folder.exists()


@pytest.mark.parametrize("name", ["rows-00000016", "sums"])
def test_damage_is_named(monkeypatch, tmp_path, name):
    again, folder = interrupted(monkeypatch, tmp_path)
    file = folder / f"{name}.spill"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptInputError, match=rf"{name}.spill is not .* Remove {folder} and run"):
        again()
    if name != "sums":
        file.unlink()
        with pytest.raises(MissingInputError, match=rf"{name}.spill .* Remove {folder} and run"):
            again()


def test_a_disk_that_fills_up_is_named_and_gone_on_from(monkeypatch, tmp_path):
    features, targets, tests = problem()
    options = {**tests, "sum_ridges": [1.0], "sizes": [30, 90], "solver": "streamed"}
    known = ridge_path_features(features, targets, **options, spill=tmp_path)
    written, honest = [], durable.os.fsync

    def full(handle):
        written.append(handle)
        if len(written) == 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(handle)

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .*spill: No space left .* spill=DIR"):
        ridge_path_features(features, targets, **options, spill=tmp_path)
    found = ridge_path_features(features, targets, **options, spill=tmp_path)
    np.testing.assert_array_equal(found, known)


def test_a_disk_without_room_is_refused_before_the_work(monkeypatch, tmp_path):
    features, targets, tests = problem()
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 30_000}))
    with pytest.raises(StorageError, match=r"must have room for 34\.\d KiB: got 29.3 KiB"):
        ridge_path_features(
            features, targets, **tests, sum_ridges=[1.0], solver="streamed", spill=tmp_path
        )


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("depth", [1.0, 1e-6])
def test_an_indefinite_matrix_is_named(tmp_path, intercept, depth):
    """By much or by little, where a large mean may hide it."""
    features, targets, _ = problem()
    gram = (features + 3) @ (features + 3).T
    direction = np.linalg.svd(np.column_stack([np.ones(90), features]))[0][:, 70]
    spoilt = gram - depth * np.linalg.norm(gram, 2) * np.outer(direction, direction)
    store = stored(tmp_path, spoilt, 90)
    options = {"sum_ridges": [1e6], "intercept": intercept}
    with pytest.raises(NumericalError) as known:
        ridge_path(spoilt, targets, **options, solver="nested")
    with pytest.raises(NumericalError) as found:
        ridge_path_stored(store, targets, **options, solver="streamed", spill=tmp_path / "spill")
    assert str(found.value).split("(")[0] == str(known.value).split("(")[0]
    assert not list(tmp_path.rglob("*.spill"))


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("source", ["features", "store"])
def test_the_peak_is_within_the_stated_cost_and_the_budget(
    monkeypatch, tmp_path, source, intercept
):
    for name, size in (("STRIP", 32), ("WIDEST", 512), ("BLOCK", 32)):
        monkeypatch.setattr(streamed, name, size)
    monkeypatch.setattr(interval, "PAIRED", 40)
    n, m = 800, 20
    features, targets, tests = problem(n, m, 40)
    budget = 9 * 2**19
    if source == "features":
        kernel = FeatureKernel.checked(features, tests["test_features"], budget, tmp_path / "spill")
    else:
        whole = np.concatenate([features, tests["test_features"]]) @ features.T
        store = stored(tmp_path, whole, n, tile=64)
        kernel = StoredKernel(store, torch.device("cpu"), budget, 2, 0, tmp_path / "spill")
    options = {"loo": True, "intercept": intercept}
    data = Problem.checked(kernel, targets, tests["test_targets"], **options)
    grid, rows = Grid(np.array([1.0]), summed=True), []
    assert 32 < panel_width(data, n) < 512
    taken = peak(lambda: rows.extend(solve_streamed(data, [n // 2, n], grid)))
    assert None not in rows
    assert taken <= cost_streamed(data, [n // 2, n], grid).bytes <= budget < 8 * n**2
    assert taken > 8 * n * 2 * panel_width(data, n)


def test_auto_takes_it_where_nothing_else_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(interval, "PAIRED", 40)
    features, targets, tests = problem(400, 20, 350)
    whole = np.concatenate([features, tests["test_features"]]) @ features.T
    store = stored(tmp_path, whole, 400, tile=64)
    options = {"sum_ridges": [1.0], "test_targets": tests["test_targets"], "memory": "1MiB"}
    found = ridge_path_stored(store, targets, **options, loo=True, spill=tmp_path / "spill")
    known = ridge_path(
        whole[:400],
        targets,
        test_gram=whole[400:],
        test_targets=tests["test_targets"],
        sum_ridges=[1.0],
    )
    np.testing.assert_allclose(found, known, rtol=1e-10)
    with pytest.raises(CapacityError, match="No solver fits"):
        ridge_path_stored(store, targets, **options, loo=True)
    options["memory"] = "100KiB"
    with pytest.raises(CapacityError, match=r"needs .* got 100.0 KiB"):
        ridge_path_stored(store, targets, **options, loo=True, spill=tmp_path / "spill")


def test_it_needs_a_folder_and_no_matrix_in_memory(tmp_path):
    features, targets, _ = problem()
    with pytest.raises(UsageError, match="needs a folder for half of an n×n matrix.*spill=DIR"):
        ridge_path_features(features, targets, ridges=[1.0], solver="streamed")
    with pytest.raises(UsageError, match="reads features or a store, got a matrix in memory"):
        ridge_path(features @ features.T, targets, ridges=[1.0], solver="streamed")
    with pytest.raises(UsageError, match="spill must be a path"):
        ridge_path_features(features, targets, ridges=[1.0], spill=3)
