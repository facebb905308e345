"""Ensembles and stopped descent on subsets of a pool, against fits made one by one."""

import numpy as np
import pandas as pd
import pytest
import reference
import torch

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.spectrum import Spectra
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.targets import Targets, encode_targets
from rmtgen.theory import beyond
from rmtgen.theory.study import ANALYSES, Study

N, M, CLASSES, SEED = 36, 7, 3, 5
SIZES = (9, 18, 36)
MEASURED = ["test_risk", "test_risk_se", "test_error"]

kinds = pytest.mark.parametrize("kind", ["features", "gram"])
codings = pytest.mark.parametrize("coding", ["centered", "intercept"])


def drawn(n=N, p=50):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((n + M, p)) * np.arange(1, p + 1) ** -0.5
    return features[:n], features[n:], rng.integers(0, CLASSES, n), rng.integers(0, CLASSES, M)


def pool_of(kind="gram", coding="centered", n=N, p=50, dtype=torch.float64):
    features, tests, *labels = drawn(n, p)
    rows = (torch.from_numpy(part) for part in (features, tests))
    encoded = (encode_targets(part, CLASSES, coding) for part in labels)
    if kind == "features":
        return Pool(FeatureKernel(*rows), *encoded)
    grams = (features @ features.T, tests @ features.T)
    return Pool(GramKernel(*(torch.from_numpy(gram).to(dtype) for gram in grams)), *encoded)


def subset(coding, n, trial):
    """K, Y, k(test), Y(test) of a subset: the first n of the trial's shuffle."""
    order = np.random.default_rng([SEED, trial]).permutation(N)[:n]
    features, tests, labels, test_labels = drawn()
    shift = 1 / CLASSES if coding == "centered" else 0
    targets, test_targets = (np.eye(CLASSES)[part] - shift for part in (labels, test_labels))
    chosen = features[order]
    return chosen @ chosen.T, targets[order], tests @ chosen.T, test_targets


def cells():
    return [(n, trial) for n in SIZES for trial in range(2 if n < N else 1)]


def risk(residual):
    return (residual**2).sum() / len(residual)


def keys(table, *names):
    return list(table[["n", "trial", *names]].itertuples(index=False, name=None))


# --- ensembles


def ensemble(gram, targets, rows, test_targets, ridge, intercept):
    """Every estimate, from members that are fitted anew without each sample."""
    n, half = len(gram), len(gram) // 2
    bags = [
        np.sort(np.random.default_rng([SEED, member]).permutation(n)[:half])
        for member in range(beyond.MEMBERS)
    ]
    fitted, left_out, off, df = [], [], [], []
    for bag in bags:
        fit = gram[np.ix_(bag, bag)], targets[bag], half * ridge, intercept
        fitted.append(targets - reference.predict(*fit, gram[:, bag]))
        off.append(test_targets - reference.predict(*fit, rows[:, bag]))
        df.append(half - half * ridge * np.trace(reference.resolvent(fit[0], fit[2], intercept)))
        outside = fitted[-1].copy()
        for i in bag:
            rest = bag[bag != i]
            fit = gram[np.ix_(rest, rest)], targets[rest], half * ridge, intercept
            outside[i] = targets[i] - reference.predict(*fit, gram[i, rest][None])[0]
        left_out.append(outside)
    train, loo, test = (np.mean(parts, axis=0) for parts in (fitted, left_out, off))
    return {
        "gcv": risk(train) / (1 - np.mean(df) / n) ** 2,
        "loo": risk(loo),
        "loo_limit": shared(left_out),
        "test_risk": risk(test),
        "test_limit": shared(off),
        "df": np.mean(df),
    }


def shared(errors):
    """What the errors of two members share, the mean over pairs."""
    pairs = [(a, b) for a in range(len(errors)) for b in range(len(errors)) if a != b]
    return np.mean([(errors[a] * errors[b]).sum() / len(errors[a]) for a, b in pairs])


@kinds
@codings
def test_ensembles_are_those_of_members_fitted_without_each_sample(kind, coding):
    pool, ridges = pool_of(kind, coding), np.array([1e-3, 0.5])
    table = beyond.ensembles(pool, ridges, SEED)
    assert keys(table, "ridge") == [(*cell, ridge) for cell in cells() for ridge in ridges]
    for row in table.itertuples():
        problem = subset(coding, row.n, row.trial)
        known = ensemble(*problem, row.ridge, coding == "intercept")
        for name, value in known.items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-8), name
    assert table["relative_ridge"].tolist() == pytest.approx(
        (table["ridge"] * N / pool.trace).tolist()
    )
    assert (table["members"] == beyond.MEMBERS).all()
    assert (table["subsample"] == table["n"] // 2).all()


# --- descent


def stepped(gram, targets, rows, rate, time, intercept):
    """Predictions on `rows` after `time` steps, one by one."""
    dual = np.zeros_like(targets)
    for _ in range(time):
        residual = targets - gram @ dual
        dual = dual + rate * (residual - intercept * residual.mean(axis=0))
    return rows @ dual + intercept * (targets - gram @ dual).mean(axis=0)


@kinds
@codings
def test_descent_is_that_step_by_step_without_each_sample(kind, coding):
    table = beyond.descent(pool_of(kind, coding), SEED)
    intercept = coding == "intercept"
    assert list(dict.fromkeys(keys(table))) == cells()
    few = table[table["time"] <= 64]
    assert set(few["time"]) == {1, 4, 16, 64}
    for row in few.itertuples():
        gram, targets, rows, test_targets = subset(coding, row.n, row.trial)
        centre = np.eye(row.n) - intercept / row.n
        assert row.rate == pytest.approx(1 / np.linalg.eigvalsh(centre @ gram @ centre)[-1])
        options = {"rate": row.rate, "time": int(row.time), "intercept": intercept}
        fitted = stepped(gram, targets, gram, **options)
        smoother = stepped(gram, np.eye(row.n), gram, **options)
        errors = np.empty_like(targets)
        for i in range(row.n):
            rest = np.arange(row.n) != i
            block = gram[np.ix_(rest, rest)]
            errors[i] = targets[i] - stepped(block, targets[rest], gram[i, rest][None], **options)
        known = {
            "train_risk": risk(targets - fitted),
            "gcv": risk(targets - fitted) / (1 - np.trace(smoother) / row.n) ** 2,
            "loo": risk(errors),
            "test_risk": risk(test_targets - stepped(gram, targets, rows, **options)),
            "df": np.trace(smoother),
        }
        for name, value in known.items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-8), name


def test_descent_ends_when_all_modes_are_learnt():
    table = beyond.descent(pool_of(), SEED)
    for _, rows in table.groupby(["n", "trial"]):
        times, learnt = rows["time"].tolist(), rows["df"] / rows["n"]
        assert times == [4**place for place in range(len(times))]
        assert (learnt[:-1] < beyond.LEARNT).all() and learnt.iloc[-1] >= beyond.LEARNT
    steep = np.diag(10.0 ** -np.arange(12))  # the last modes would take 10¹¹ steps
    pool = Pool(GramKernel(torch.from_numpy(steep), None), Targets(torch.ones(12, 1), False), None)
    assert beyond.descent(pool, SEED)["time"].max() == 4.0 ** (beyond.TIMES - 1)
    flat = Pool(GramKernel(torch.eye(12), None), pool.targets, None)
    assert beyond.descent(flat, SEED)["time"].unique().tolist() == [1]


# --- pools of any kind


def both(pool):
    ridges = np.array([0.0, 1e-2, 1.0])
    return beyond.ensembles(pool, ridges, SEED), beyond.descent(pool, SEED)


@codings
def test_a_pool_rounded_to_float32_is_near_its_own_float64(coding):
    exact, rounded = (
        both(pool_of("gram", coding, dtype=t)) for t in (torch.float64, torch.float32)
    )
    for one, other in zip(exact, rounded, strict=True):
        assert len(one) == len(other)
        for name in ("loo", "test_risk", "df"):
            np.testing.assert_allclose(other[name], one[name], rtol=1e-3, err_msg=name)


def test_more_samples_than_features_leave_a_null_space():
    for table in both(pool_of("features", p=6)):
        assert np.isfinite(table[["loo", "gcv", "test_risk"]]).all(axis=None)
        assert (table["df"] < 6.001).all()
    assert beyond.descent(pool_of("features", p=6), SEED)["df"].max() > 5.9


def test_a_large_pool_gives_two_subsets_of_each_size(monkeypatch):
    monkeypatch.setattr(beyond, "LARGEST", 20)
    for table in both(pool_of()):
        assert list(dict.fromkeys(keys(table))) == [(n, t) for n in (10, 20) for t in (0, 1)]


def test_the_first_tests_are_measured(monkeypatch):
    pool = pool_of(n=200)
    monkeypatch.setattr(beyond, "LARGEST", 3)
    monkeypatch.setattr(beyond, "SMALLEST", 3)
    monkeypatch.setattr(beyond, "TESTED", 4)
    row = beyond.descent(pool, SEED).iloc[0]
    order = np.random.default_rng([SEED, 0]).permutation(200)[:3]
    features, tests, labels, test_labels = drawn(200)
    chosen, shift = features[order], 1 / CLASSES
    problem = chosen @ chosen.T, np.eye(CLASSES)[labels[order]] - shift, tests[:4] @ chosen.T
    options = {"rate": row["rate"], "time": int(row["time"]), "intercept": False}
    off = np.eye(CLASSES)[test_labels[:4]] - shift - stepped(*problem, **options)
    assert row["test_risk"] == pytest.approx(risk(off), rel=1e-9)


def test_without_a_test_set_only_what_is_measured_is_missing():
    pool = pool_of()
    alone = Pool(GramKernel(pool.kernel.train, None), pool.targets, None)
    for table, known in zip(both(alone), both(pool), strict=True):
        missing = [*MEASURED, *(["test_limit"] if "test_limit" in table else [])]
        assert table[missing].isna().all(axis=None)
        pd.testing.assert_frame_equal(table.drop(columns=missing), known.drop(columns=missing))


@pytest.mark.parametrize(("n", "sizes"), [(8, [8]), (15, [15]), (17, [8, 17]), (33, [8, 16, 33])])
def test_small_pools_have_fewer_sizes(n, sizes):
    for table in both(pool_of(n=n)):
        assert table["n"].unique().tolist() == sizes


@pytest.mark.parametrize("n", [2, 7])
def test_a_pool_of_less_than_eight_samples_is_refused(n):
    pool = pool_of(n=n)
    message = f"fitted to at least 8 samples: got N = {n}. Take a larger pool"
    for made in (lambda: beyond.ensembles(pool, np.ones(1), SEED), lambda: beyond.descent(pool, 0)):
        with pytest.raises(UsageError, match=message):
            made()


def test_one_class_alone_is_learnt_by_the_intercept():
    labels = torch.zeros(N, dtype=torch.int64)
    one = (
        encode_targets(labels, CLASSES, "intercept"),
        encode_targets(labels[:M], CLASSES, "intercept"),
    )
    pool = Pool(pool_of().kernel, *one)
    for table in both(pool):
        for name in ("loo", "test_risk", "train_risk"):
            assert table[name].abs().max() < 1e-20, name


def test_a_constant_kernel_has_no_modes_beside_an_intercept():
    targets = pool_of(coding="intercept")
    kernel = GramKernel(torch.ones(N, N).double(), torch.ones(M, N).double())
    pool = Pool(kernel, targets.targets, targets.test_targets)
    with pytest.raises(NumericalError, match="descent needs modes"):
        beyond.descent(pool, SEED)
    table = beyond.ensembles(pool, np.array([0.0, 1.0]), SEED)
    # each member predicts the mean of its bag
    assert table["test_risk"].nunique() == len(cells())
    assert np.isfinite(table[["loo", "gcv", "test_risk"]]).all(axis=None)
    plain = Pool(kernel, *(Targets(t.values, False) for t in (pool.targets, pool.test_targets)))
    assert set(beyond.descent(plain, SEED)["time"]) == {1}


def test_a_study_has_both_tables_at_its_ridges_and_its_seed():
    pool = pool_of()
    study = Study(pool, pd.DataFrame({"ridge": [0.5, 0.1, 0.5]}), Spectra({}), seed=SEED)
    known = beyond.ensembles(pool, np.array([0.1, 0.5]), SEED), beyond.descent(pool, SEED)
    for name, table in zip(beyond.FITS, known, strict=True):
        pd.testing.assert_frame_equal(ANALYSES[name](study), table)


def test_the_cost_counts_subsets_tests_outputs_and_ridges():
    base = beyond.cost(4000, 1000, 10, 18)
    assert beyond.cost(10**6, 1000, 10, 18) == base  # subsets do not grow
    assert beyond.cost(500, 1000, 10, 18).flops < base.flops / 4
    for one, factor in {(4000, 2000, 10, 18): 1.1, (4000, 1000, 100, 18): 2.5}.items():
        assert beyond.cost(*one).flops > factor * base.flops
    assert beyond.cost(4000, 1000, 10, 180).flops > 1.1 * base.flops
    assert beyond.cost(4000, 10**6, 10, 18) == beyond.cost(4000, 2000, 10, 18)
    assert beyond.cost(2, 1, 1, 1).flops > 0  # which the stage refuses, not its plan
