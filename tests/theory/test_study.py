"""The study of a run, on a pool of Gaussian features with classes, against plain NumPy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from rmtgen.errors import UsageError
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.linalg.verified import MEMORY
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory import registry
from rmtgen.theory.forecast import forecast
from rmtgen.theory.registry import PREDICTION_COLUMNS
from rmtgen.theory.study import Study

N, M, CLASSES = 1200, 300, 4


RELATIVE = (0.0, 1e-3, 1e-2, 1e-1)


def drawn(dim, train, targets="centered"):
    """Classes follow noisy linear scores of features with a power-law covariance."""
    rng = np.random.default_rng(3)
    mix = rng.standard_normal((dim, CLASSES))
    features = rng.standard_normal((train + M, dim)) * np.arange(1, dim + 1) ** -0.75
    labels = np.argmax(features @ mix + 0.3 * rng.standard_normal((train + M, CLASSES)), axis=1)
    rows = (torch.from_numpy(part) for part in (features[:train], features[train:]))
    encoded = (encode_targets(part, CLASSES, targets) for part in (labels[:train], labels[train:]))
    return *rows, *encoded


def study_of(dim, *, sizes, trials, train=N):
    """A study of features, put together by hand."""
    pool = Pool(FeatureKernel(*drawn(dim, train)[:2]), *drawn(dim, train)[2:])
    cells = [Cell(n, trial) for n in sizes for trial in range(trials if n < train else 1)]
    orders = {cell: cell.order(0, train) for cell in cells}
    risk = pd.concat([pool.risk(cell, RELATIVE, seed=0) for cell in cells], ignore_index=True)
    spectra = {
        cell: Spectrum.of(next(pool.modes([order], MEMORY)), pool.targets.values[order])
        for cell, order in orders.items()
    }
    return Study(pool, risk, Spectra(spectra))


@pytest.fixture(scope="module")
def study():
    return study_of(80, sizes=(60, 150, 300, N), trials=2)


@pytest.fixture(scope="module")
def predictions(study):
    return study.predictions()


def test_predictions_keep_every_fit_of_the_run(study, predictions):
    assert list(predictions.columns) == list(PREDICTION_COLUMNS)
    keys = ["n", "trial", "ridge"]
    left, right = (
        table.sort_values(keys).reset_index(drop=True) for table in (predictions, study.risk)
    )
    for name in (*keys, "test_risk", "gcv", "loo", "train_risk"):
        np.testing.assert_array_equal(left[name], right[name])


def test_at_the_size_of_the_pool_transport_is_gcv(predictions):
    whole = predictions[predictions["n"] == N]
    np.testing.assert_allclose(whole["transport"], whole["gcv"], rtol=1e-9)


def test_at_the_size_of_the_pool_the_corrected_transport_is_leave_one_out(predictions):
    """Four auxiliary ridges per decade, between which the ratio to GCV is interpolated: within
    5e-5, where the two differ by more."""
    whole = predictions[(predictions["n"] == N) & (predictions["ridge"] > 0)]
    np.testing.assert_allclose(whole["transport_loo"], whole["loo"], rtol=5e-5)
    assert (np.abs(whole["loo"] / whole["gcv"] - 1) > 2e-4).any()


def test_at_the_size_of_the_pool_the_predicted_error_is_that_of_leave_one_out(study, predictions):
    whole = predictions[predictions["n"] == N]
    known = study.risk[study.risk["n"] == N]
    assert whole["predicted_error"].tolist() == known["loo_error"].tolist()
    assert predictions["test_error"].tolist() == study.risk["test_error"].tolist()


def test_a_large_pool_predicts_the_errors_of_the_best_fit_of_each_size(
    study, predictions, monkeypatch
):
    monkeypatch.setattr(registry, "MOST_PRODUCTS", 0)
    found = study.predictions()
    means = predictions.groupby(["n", "ridge"])["loo"].mean()
    best = dict(means.groupby("n").idxmin().tolist())
    there = found["ridge"] == found["n"].map(best)
    assert (found["predicted_error"].notna() == there).all()
    for column in ("predicted_error", "predicted_error_se"):
        pd.testing.assert_series_equal(found.loc[there, column], predictions.loc[there, column])


def test_predicted_errors_are_near_those_of_the_test_set(predictions):
    """Where n is small, fits differ by more, and the error at the pool's size would be far off."""
    off = (predictions["predicted_error"] - predictions["test_error"]).abs()
    assert off.median() < 0.03
    few = predictions["n"] == predictions["n"].min()
    whole = predictions.loc[predictions["n"] == N, "predicted_error"].min()
    assert predictions.loc[few, "test_error"].min() > whole + 0.05
    pairs = predictions.groupby(["n", "ridge"])["predicted_error"].nunique()
    assert (pairs == 1).all()  # every trial has the prediction of its size
    assert (predictions["predicted_error_se"] > 0).all()


def test_the_rivals_are_what_plain_numpy_says(study, predictions):
    row = predictions.query("n == 150 and trial == 1 and relative_ridge == 1e-3").iloc[0]
    order = np.random.default_rng([study.seed, 1]).permutation(N)[:150]
    features, targets = (
        study.pool.kernel.train[order].numpy(),
        study.pool.targets.values[order].numpy(),
    )
    gram, n, ridge = features @ features.T, 150, row["ridge"]
    inverse = np.linalg.inv(gram + n * ridge * np.eye(n))
    dual = inverse @ targets
    norm2, train, df = (
        np.trace(dual.T @ gram @ dual),
        n * ridge**2 * np.square(dual).sum(),
        np.trace(gram @ inverse),
    )
    largest = np.square(study.pool.kernel.train.numpy()).sum(axis=1).max()
    prior = np.square(targets).sum() / np.trace(gram)
    expected = {
        "norm_proxy": norm2 * np.trace(gram) / n**2,
        "rademacher": np.sqrt(norm2 * np.trace(gram)) / n,
        "arora": np.sqrt(2 * norm2 * largest / n),
        "akaike": train * np.exp(2 * df / n),
        "isotropic": n * prior * np.trace(inverse @ gram @ inverse) / np.trace(inverse) ** 2,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-8), name


def test_transport_is_near_the_test_risk_where_the_rivals_are_not(predictions):
    fits = predictions[(predictions["relative_ridge"] > 0) & (predictions["n"] >= 150)]
    off = {
        name: np.log(fits[name] / fits["test_risk"]).abs().median()
        for name in ("transport", "isotropic", "train_risk")
    }
    assert off["transport"] < 0.05 < min(off["isotropic"], off["train_risk"])


def test_a_hindcast_sees_a_tenth_and_predicts_the_rest(study):
    found = study.hindcast()
    assert list(found["n"]) == [150, 300, N]
    assert set(found["seen"]) == {N // 10}
    best = study.risk.groupby(["n", "ridge"])["test_risk"].mean().groupby("n").min()
    np.testing.assert_allclose(found["test_risk"], best[found["n"]])
    assert (np.log(found["predicted_risk"] / found["test_risk"]).abs() < 0.1).all()


def test_a_hindcast_does_not_look_at_the_samples_it_hides(study):
    hidden = np.setdiff1d(
        np.arange(N), np.random.default_rng([study.seed, 0]).permutation(N)[: N // 10]
    )
    features = study.pool.kernel.train.clone()
    features[hidden] = 7.0
    other = Study(
        replace(study.pool, kernel=FeatureKernel(features, study.pool.kernel.test)),
        study.risk,
        Spectra(),
    )
    pd.testing.assert_frame_equal(other.hindcast(), study.hindcast())


def test_a_run_too_small_for_a_hindcast_says_so():
    with pytest.raises(
        UsageError,
        match=r"a hindcast sees N/10 samples, at least 100.*got N = 300, sizes up to 300",
    ):
        study_of(40, train=300, sizes=(150, 300), trials=1).hindcast()


def test_a_representation_is_described_by_plain_sums(study):
    found = study.representation().set_index("quantity")["value"]
    gram = (study.pool.kernel.train @ study.pool.kernel.train.mT).numpy()
    outer = (study.pool.targets.values @ study.pool.targets.values.mT).numpy()
    assert found["participation_ratio"] == pytest.approx(
        np.trace(gram) ** 2 / np.square(gram).sum()
    )
    cosine = (gram * outer).sum() / np.linalg.norm(gram) / np.linalg.norm(outer)
    assert found["kernel_target_alignment"] == pytest.approx(cosine)
    assert found["df1 at 0.1"] < found["df1 at 0.001"] < found["df1 at 1e-05"] <= 80
    assert 1 >= found["unlearnt at 0.1"] > found["unlearnt at 0.001"] > 0


def test_modes_are_described_by_plain_sums(study):
    values, vectors = np.linalg.eigh((study.pool.kernel.train @ study.pool.kernel.train.mT).numpy())
    values, vectors = values[::-1][:80], vectors[:, ::-1][:, :80]
    energy = np.square(vectors.T @ study.pool.targets.values.numpy()).sum(axis=1)
    table = study.modes()
    assert table["mode"].tolist()[:3] == [1, 2, 3]
    assert table["mode"].iloc[-1] == 80
    np.testing.assert_allclose(table["eigenvalue"], values[table["mode"] - 1] / N, rtol=1e-9)
    np.testing.assert_allclose(table["power"], energy[table["mode"] - 1] / N, rtol=1e-6, atol=1e-12)
    total = np.square(study.pool.targets.values.numpy()).sum()
    np.testing.assert_allclose(
        table["cumulative_power"], energy.cumsum()[table["mode"] - 1] / total, rtol=1e-9
    )
    tail = np.array([values[mode - 1 :].sum() for mode in table["mode"]])
    np.testing.assert_allclose(table["r"], tail / values[table["mode"] - 1], rtol=1e-9)
    assert table["learnability"].is_monotonic_decreasing
    assert (table["R"] >= table["r"] - 1e-9).all()


def test_labels_lie_on_the_forecast(study):
    """At the labels that a risk takes, the forecast is that risk."""
    table = study.labels()
    reached = table[np.isfinite(table["labels"]) & (table["labels"] > 20)]
    assert len(reached)
    for row in reached.itertuples():
        assert forecast(study.influence, row.labels)["predicted_risk"][0] == pytest.approx(
            row.risk, rel=2e-3
        )
        assert row.low <= row.labels <= row.high
    assert table["extrapolated"].all()


def test_the_local_law_is_tested_below_a_quarter_of_the_pool(study):
    law = study.local_law()
    assert set(law["test"]) == {"diagonal_rms", "off_diagonal_rms", "trace", "gcv", "loo"}
    assert law[law["test"] == "diagonal_rms"]["n"].max() == N // 4
    assert law[law["test"] == "trace"]["n"].max() == N // 4
