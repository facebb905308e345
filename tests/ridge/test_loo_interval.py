"""The interval of the leave-one-out risk, against refits without two samples."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.ridge import interval, ridge_path, ridge_path_features

COLUMNS = ["loo_se", "loo_low", "loo_high", "loo_kurtosis"]
DENSE = ("eigen", "nested", "banded")


def draw(n, p, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    return features, rng.standard_normal((n, outputs))


def refitted(gram, targets, sum_ridge, intercept):
    """ℓ_i^(−j) − ℓ_i from fits without one and without two samples."""
    n = len(gram)
    losses = np.full((n, n), np.nan)
    single = reference.refit_loo(gram, targets, sum_ridge, intercept) - targets
    for j in range(n):
        rest = np.flatnonzero(np.arange(n) != j)
        block = gram[np.ix_(rest, rest)]
        left_out = reference.refit_loo(block, targets[rest], sum_ridge, intercept)
        losses[rest, j] = ((left_out - targets[rest]) ** 2).sum(axis=1)
    return losses - (single**2).sum(axis=1)[:, None]


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
@pytest.mark.parametrize("sum_ridge", [0.0, 0.3, 30.0])
def test_the_covariance_of_pairs_is_that_of_refits(sum_ridge, intercept):
    features, targets = draw(11, 15)
    gram = features @ features.T
    frame = ridge_path(gram, targets, sum_ridges=[sum_ridge], intercept=intercept, solver="eigen")
    covariance = reference.pair_covariance(refitted(gram, targets, sum_ridge, intercept))
    left_out = reference.refit_loo(gram, targets, sum_ridge, intercept) - targets
    losses = (left_out**2).sum(axis=1)
    error = np.sqrt(losses.var(ddof=1) / 11 + max(covariance, 0) * 10 / 11)
    assert frame["loo_se"][0] == pytest.approx(error, rel=1e-8)
    assert frame["loo_high"][0] / frame["loo"][0] == pytest.approx(
        np.exp(1.959963984540054 * error / losses.mean()), rel=1e-8
    )
    assert frame["loo_low"][0] * frame["loo_high"][0] == pytest.approx(frame["loo"][0] ** 2)


@settings(max_examples=30)
@given(
    n=st.integers(8, 30),
    p=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    relative=st.floats(-4, 1),
)
def test_all_solvers_have_the_interval_of_leaving_two_out(n, p, seed, intercept, relative):
    features, targets = draw(n, p, seed=seed)
    gram = features @ features.T
    delta = 10**relative * np.trace(gram) / n
    left_out = reference.refit_loo(gram, targets, delta, intercept) - targets
    known = reference.interval(gram, targets, delta, intercept, (left_out**2).sum(axis=1))
    options = {"sum_ridges": [delta], "intercept": intercept}
    frames = [ridge_path(gram, targets, solver=solver, **options) for solver in DENSE]
    frames.append(ridge_path_features(features, targets, solver="primal", **options))
    for frame in frames:
        for column in COLUMNS:
            assert frame[column][0] == pytest.approx(known[column], rel=1e-7), column


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
def test_solvers_agree_where_only_some_pairs_are_looked_at(intercept, monkeypatch):
    monkeypatch.setattr(interval, "PAIRED", 40)
    features, targets = draw(150, 60)
    gram, sizes = features @ features.T, [30, 75, 76, 150]
    options = {"sum_ridges": [0.1, 3.0], "sizes": sizes, "intercept": intercept}
    first, *others = (ridge_path(gram, targets, solver=solver, **options) for solver in DENSE)
    others.append(ridge_path_features(features, targets, solver="primal", **options))
    for other in others:
        np.testing.assert_allclose(other[COLUMNS], first[COLUMNS], rtol=1e-8)
    chosen = interval.paired(150)
    for row, delta in zip(first.to_dict("records")[-2:], options["sum_ridges"], strict=True):
        inverse = reference.resolvent(gram, delta, intercept)
        dual = inverse @ targets
        losses = (dual**2).sum(axis=1) / np.diag(inverse) ** 2
        change = reference.leave_two_out(gram, targets, delta, intercept) - losses[:, None]
        covariance = reference.pair_covariance(change[np.ix_(chosen, chosen)])
        variance = losses.var(ddof=1) / 150 + max(covariance, 0) * 149 / 150
        assert row["loo_se"] == pytest.approx(np.sqrt(variance), rel=1e-8)


def test_the_pairs_of_some_samples_estimate_those_of_all():
    features, targets = draw(400, 300, seed=3)
    gram = features @ features.T
    inverse = reference.resolvent(gram, 1e-3 * np.trace(gram) / 400, False)
    dual = inverse @ targets

    def covariance(chosen):
        block = torch.from_numpy(inverse[np.ix_(chosen, chosen)])
        return interval.pair_covariance_(block, torch.from_numpy(dual[chosen]))

    rng = np.random.default_rng(0)
    some = [covariance(rng.permutation(400)[:60]) for _ in range(200)]
    error = np.std(some) / np.sqrt(200)
    assert np.mean(some) == pytest.approx(covariance(np.arange(400)), abs=3 * error)
    assert error < 0.05 * covariance(np.arange(400))


def test_the_samples_looked_at_are_all_of_a_small_size_and_mostly_shared_by_two():
    assert interval.paired(interval.PAIRED).tolist() == list(range(interval.PAIRED))
    before, after = interval.paired(2000), interval.paired(2050)
    assert len(before) == len(set(before)) == interval.PAIRED
    assert before.max() > 1900
    assert len(set(before) & set(after)) > 0.9 * interval.PAIRED


def test_fewer_than_eight_samples_have_no_interval():
    features, targets = draw(8, 12)
    frame = ridge_path_features(features, targets, ridges=[0.1], sizes=[2, 7, 8])
    assert frame["loo"].notna().all()
    assert frame[COLUMNS].notna().all(axis=1).tolist() == [False, False, True]


def test_without_leave_one_out_there_is_no_interval():
    features, targets = draw(20, 12)
    for solver in (*DENSE, "primal"):
        frame = ridge_path_features(features, targets, ridges=[0.1], loo=False, solver=solver)
        assert frame[COLUMNS].isna().all(axis=None)


@pytest.mark.parametrize("width", [12, 40])
def test_a_sample_that_is_there_twice_leaves_no_interval_without_a_ridge(width):
    features, targets = draw(30, width)
    features[7], targets[7] = features[3], targets[3]
    options = {"solver": "eigen"}
    frame = ridge_path_features(features, targets, ridges=[0.0, 1e-13, 0.1], **options)
    assert frame["loo"].notna().all()
    tiny = frame.iloc[:2] if width == 40 else frame.iloc[:0]
    assert tiny[COLUMNS[:3]].isna().all(axis=None)
    assert frame[COLUMNS].iloc[2].notna().all()


def test_an_interval_may_be_all_positive_numbers():
    """As where the losses without two samples are beyond all measure."""
    losses = torch.full((9,), 1e-3, dtype=torch.float64)
    found = interval.interval_columns(losses, 1e6)
    assert (found["loo_low"], found["loo_high"]) == (0.0, np.inf)


def test_targets_of_zero_have_an_interval_of_zero():
    features, _ = draw(20, 30)
    frame = ridge_path_features(features, np.zeros(20), ridges=[0.1])
    assert frame[["loo", *COLUMNS[:3]]].to_numpy().tolist() == [[0.0] * 4]
    assert frame["loo_kurtosis"].isna().all()
