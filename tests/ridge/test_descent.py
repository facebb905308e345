"""Gradient descent stopped early: every column against descent step by step, without samples."""

import numpy as np
import pytest
import torch
from cases import lonely_sample
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtgen
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge import descent

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def draw(n, p, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    return features, rng.standard_normal((n, outputs))


def centred(gram, intercept):
    return gram - intercept * (gram.mean(axis=0) + gram.mean(axis=1)[:, None] - gram.mean())


def largest_rate(gram, intercept):
    return 1 / np.linalg.eigvalsh(centred(gram, intercept))[-1]


def stepped(gram, targets, rows, rate, time, intercept):
    """Predictions on `rows` after `time` steps, one by one."""
    dual = np.zeros_like(targets)
    for _ in range(time):
        residual = targets - gram @ dual
        dual = dual + rate * (residual - intercept * residual.mean(axis=0))
    offset = intercept * (targets - gram @ dual).mean(axis=0)
    return rows @ dual + offset


def filtered(gram, targets, rows, rate, time, intercept):
    """The same from the eigenvalues of this kernel, for many steps."""
    n = len(gram)
    centre = np.eye(n) - intercept / n
    values, vectors = np.linalg.eigh(centre @ gram @ centre)
    positive = values > 1e-12 * values[-1]
    values, vectors = values[positive], vectors[:, positive]
    logarithm = np.log1p(-np.minimum(rate * values, 1 - 1e-16))
    dual = centre @ targets
    null = dual - vectors @ (vectors.T @ dual)
    dual = vectors @ ((-np.expm1(time * logarithm) / values)[:, None] * (vectors.T @ dual))
    dual = dual + rate * time * null * (abs(rows @ null).max() > 1e-9)
    return rows @ dual + intercept * (targets - gram @ dual).mean(axis=0)


def left_out(gram, targets, rate, time, intercept, fit=stepped):
    """Residuals of every sample of descent without it."""
    residual = np.empty_like(targets)
    for i in range(len(gram)):
        rest = np.arange(len(gram)) != i
        block = gram[np.ix_(rest, rest)]
        row = fit(block, targets[rest], gram[i, rest][None], rate, time, intercept)
        residual[i] = targets[i] - row[0]
    return residual


def risk(residual):
    return (residual**2).sum() / len(residual)


@settings(max_examples=25)
@given(
    n=st.integers(3, 14),
    p=st.integers(1, 25),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    share=st.floats(0.05, 1),
    time=st.integers(1, 60),
)
def test_leave_one_out_is_that_of_descent_without_the_sample(n, p, seed, intercept, share, time):
    features, targets = draw(n, p, seed=seed)
    gram = features @ features.T
    rate = share * largest_rate(gram, intercept)
    row = rmtgen.descent_path(gram, targets, times=[time], rate=rate, intercept=intercept).iloc[0]
    known = risk(left_out(gram, targets, rate, time, intercept))
    assert row["loo"] == pytest.approx(known, rel=1e-10)


@settings(max_examples=20)
@given(
    n=st.integers(4, 12),
    p=st.integers(1, 25),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    exponent=st.floats(0, 6),
)
def test_leave_one_out_after_any_number_of_steps(n, p, seed, intercept, exponent):
    features, targets = draw(n, p, seed=seed)
    gram = features @ features.T
    time = int(10**exponent)
    row = rmtgen.descent_path(gram, targets, times=[time], intercept=intercept).iloc[0]
    known = left_out(gram, targets, row["rate"], time, intercept, fit=filtered)
    assert row["loo"] == pytest.approx(risk(known), rel=1e-7)


@intercepts
def test_every_column_is_that_of_descent_step_by_step(intercept):
    features, _ = draw(14, 8)
    targets = np.eye(3)[np.random.default_rng(1).integers(0, 3, 14)]
    tests, test_targets = draw(6, 8, seed=3)[0], np.eye(3)[[0, 1, 2, 0, 1, 2]]
    gram, rows = features @ features.T + 0.3, tests @ features.T + 0.3
    rows += 0.1 * draw(6, 14, seed=4)[0]  # what the modes below the tolerance leave
    frame = rmtgen.descent_path(
        gram,
        targets,
        times=[1, 7, 40],
        intercept=intercept,
        test_gram=rows,
        test_targets=test_targets,
    )
    rate = largest_rate(gram, intercept)
    assert frame.attrs["outputs"] == 3
    for _, row in frame.iterrows():
        time = int(row["time"])
        options = {"rate": rate, "time": time, "intercept": intercept}
        fitted = stepped(gram, targets, gram, **options)
        smoother = stepped(gram, np.eye(14), gram, **options)
        predicted = stepped(gram, targets, rows, **options)
        outside = left_out(gram, targets, rate, time, intercept)
        tested = ((predicted - test_targets) ** 2).sum(axis=1)
        df = np.trace(smoother)
        known = {
            "n": 14,
            "time": time,
            "rate": rate,
            "train_risk": risk(targets - fitted),
            "gcv": risk(targets - fitted) / (1 - df / 14) ** 2,
            "loo": risk(outside),
            "df": df,
            "train_error": (fitted.argmax(1) != targets.argmax(1)).mean(),
            "loo_error": ((targets - outside).argmax(1) != targets.argmax(1)).mean(),
            "test_risk": tested.mean(),
            "test_risk_se": tested.std(ddof=1) / 6**0.5,
            "test_error": (predicted.argmax(1) != test_targets.argmax(1)).mean(),
        }
        assert list(known) == list(frame.columns)
        for name, value in known.items():
            assert row[name] == pytest.approx(value, rel=1e-9), name


@intercepts
def test_all_times_of_one_call_are_those_of_descent_without_the_sample(intercept):
    """Times of one path over ten decades, sums of the power series, and both at their border."""
    features, targets = draw(11, 30)
    gram = features @ features.T
    times = [10**6, 1, 2, 31, 32, 33, 34, 33, 500, 10**10]
    frame = rmtgen.descent_path(gram, targets, times=times, intercept=intercept)
    assert frame["time"].tolist() == times
    for _, row in frame.iterrows():
        fit = stepped if row["time"] < 600 else filtered
        rate, time = row["rate"], int(row["time"])
        known = left_out(gram, targets, rate, time, intercept, fit=fit)
        assert row["loo"] == pytest.approx(risk(known), rel=1e-10 if fit is stepped else 1e-7)


@intercepts
def test_endless_descent_is_the_ridgeless_limit(intercept):
    features, targets = draw(12, 60)
    gram, rows = features @ features.T, draw(5, 60, seed=2)[0] @ features.T
    tests = {"test_gram": rows, "test_targets": targets[:5], "intercept": intercept}
    last = rmtgen.descent_path(gram, targets, times=[10**12], **tests).iloc[0]
    limit = rmtgen.ridge_path(gram, targets, ridges=[0.0], **tests).iloc[0]
    for column in ("loo", "df", "test_risk"):
        assert last[column] == pytest.approx(limit[column], rel=1e-8), column
    assert np.isnan(last["gcv"])


def test_the_shortcut_of_ridge_regression_and_gcv_are_wrong():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 120))
    targets = features @ rng.standard_normal((120, 1)) / 11 + 0.5 * rng.standard_normal((60, 1))
    gram = features @ features.T
    frame = rmtgen.descent_path(gram, targets, times=[20])
    rate, loo = frame["rate"][0], frame["loo"][0]
    smoother = np.eye(60) - np.linalg.matrix_power(np.eye(60) - rate * gram, 20)
    shortcut = (targets - smoother @ targets) / (1 - np.diag(smoother)[:, None])
    known = risk(left_out(gram, targets, rate, 20, False))
    assert loo == pytest.approx(known, rel=1e-10)
    assert risk(shortcut) > 1.5 * known
    assert frame["gcv"][0] > 1.5 * known


def test_a_sample_that_alone_owns_a_feature():
    features, targets = lonely_sample()
    gram = features @ features.T
    frame = rmtgen.descent_path(gram, targets, times=[3, 10**5])
    for _, row in frame.iterrows():
        known = left_out(gram, targets, row["rate"], int(row["time"]), False, fit=filtered)
        assert row["loo"] == pytest.approx(risk(known), rel=1e-9)


def test_results_do_not_depend_on_blocks_or_on_the_order_of_samples(monkeypatch):
    features, targets = draw(20, 15)
    gram = features @ features.T
    whole = rmtgen.descent_path(gram, targets, times=[1, 9, 400])
    monkeypatch.setattr(descent, "COLUMNS_AT_ONCE", 4)
    parts = rmtgen.descent_path(gram, targets, times=[1, 9, 400])
    order = np.random.default_rng(0).permutation(20)
    turned = rmtgen.descent_path(gram[np.ix_(order, order)], targets[order], times=[1, 9, 400])
    scaled = rmtgen.descent_path(64 * gram, 3 * targets, times=[1, 9, 400])
    for column in ("loo", "gcv", "df"):
        np.testing.assert_allclose(parts[column], whole[column], rtol=1e-12)
        np.testing.assert_allclose(turned[column], whole[column], rtol=1e-9)
        factor = 1 if column == "df" else 9
        np.testing.assert_allclose(scaled[column], factor * whole[column], rtol=1e-11)


def test_refusals():
    features, targets = draw(10, 15)
    gram = features @ features.T
    most = largest_rate(gram, False)
    for times in ([], [0], [1.5], [[1]], [-3]):
        with pytest.raises(UsageError, match="whole numbers of steps >= 1: got"):
            rmtgen.descent_path(gram, targets, times=times)
    for rate in (0.0, -1.0, 1.5 * most, np.nan):
        with pytest.raises(UsageError, match=rf"expected at most {most:.6g}, got {rate:.6g}"):
            rmtgen.descent_path(gram, targets, times=[1], rate=rate)
    with pytest.raises(NumericalError, match="got no eigenvalue above"):
        rmtgen.descent_path(np.zeros((4, 4)), targets[:4], times=[1])
    with pytest.raises(NumericalError, match="semidefinite"):
        rmtgen.descent_path(gram - 5 * np.eye(10), targets, times=[1])


def test_a_float32_kernel_is_that_of_its_modes():
    features, targets = draw(16, 40)
    gram = features @ features.T
    single = torch.from_numpy(gram).float()
    one, other = (rmtgen.descent_path(k, targets, times=[4, 50]) for k in (gram, single))
    np.testing.assert_allclose(other["loo"], one["loo"], rtol=1e-5)
