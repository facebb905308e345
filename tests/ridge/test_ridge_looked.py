"""Leave-one-out without the matrix, from some samples: exact where it is all of them, and elsewhere
as close as it says."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ridge_matrix_free import problem, stored

from rmtgen.ridge import interval, looked, matrix_free, ridge_path, ridge_path_stored
from rmtgen.ridge.columns import LOOKED_COLUMNS
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.path import ridge_path_features, solve_path
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.solutions import Solutions
from rmtgen.ridge.stored import StoredKernel
from rmtgen.units import parse_bytes
from tests.ridge.case_memory import peak

LOO = ["loo", "loo_se", "loo_low", "loo_high", "loo_error"]
ROOMY, TIGHT = "16MiB", "900KiB"
"""Memory for whole spaces, and for a part of them, at n = 200."""


def estimated(folder, block, targets, **options):
    return ridge_path_stored(
        stored(folder, block, len(targets)), targets, loo=True, solver="matrix_free", **options
    )


def without_sampling(rows):
    """The standard error that is stated, without what the choice of samples adds."""
    added = rows.loo_sampled_se**2 + (interval.NORMAL_QUANTILE**2 + 1) * rows.loo_se_se**2
    return (rows.loo_se**2 - added) ** 0.5


@pytest.mark.parametrize("memory", [ROOMY, "400KiB"])
@pytest.mark.parametrize("intercept", [False, True])
def test_all_samples_give_the_columns_of_the_dense_solver(tmp_path, intercept, memory):
    block, targets, _ = problem(n=45, m=0)
    options = {"sum_ridges": [1e-3, 0.1, 10.0], "intercept": intercept}
    found = estimated(tmp_path, block, targets, memory=memory, **options)
    known = ridge_path(block, targets, solver="eigen", **options)
    np.testing.assert_allclose(found[LOO], known[LOO], rtol=2e-3)
    assert (found[list(LOOKED_COLUMNS)] == 0).all(axis=None)


@pytest.mark.parametrize("memory", [ROOMY, TIGHT])
@pytest.mark.parametrize("intercept", [False, True])
def test_some_samples_are_within_their_error(tmp_path, intercept, memory):
    block, targets, _ = problem(n=200, m=0)
    options = {"sum_ridges": [1e-2, 1.0, 10.0], "intercept": intercept}
    found = estimated(tmp_path, block, targets, memory=memory, **options)
    known = ridge_path(block, targets, solver="eigen", **options)
    assert ((found.loo - known.loo).abs() <= 4 * found.loo_sampled_se + 2e-3 * known.loo).all()
    assert (found.loo_sampled_se < 0.4 * found.loo_se).all()
    own = without_sampling(found)
    assert ((own - known.loo_se).abs() <= 4 * found.loo_se_se + 5e-3 * known.loo_se).all()
    assert (found.loo_error - known.loo_error).abs().max() < 0.05


@pytest.mark.parametrize("heavy", [False, True])
def test_stated_errors_are_those_of_other_samples(tmp_path, monkeypatch, heavy):
    """Also where the samples have unlike leverages."""
    rng = np.random.default_rng(4)
    features = rng.standard_normal((150, 80)) * np.arange(1, 81) ** -0.5
    if heavy:
        features *= rng.lognormal(0, 0.6, (150, 1))
    targets = features[:, :2] + 0.5 * rng.standard_normal((150, 2))
    options = {"sum_ridges": [0.3], "solver": "matrix_free", "memory": "16MiB"}
    known = ridge_path_features(features, targets, sum_ridges=[0.3], solver="eigen").iloc[0]
    draws = np.random.default_rng(5)
    monkeypatch.setattr(looked, "paired", lambda n, most: draws.permutation(n)[:50])
    rows = [ridge_path_features(features, targets, **options).iloc[0] for _ in range(50)]
    loo, claimed = (np.array([row[name] for row in rows]) for name in ("loo", "loo_sampled_se"))
    assert np.sqrt((claimed**2).mean()) == pytest.approx(loo.std(ddof=1), rel=0.3)
    assert loo.mean() == pytest.approx(known.loo, abs=4 * loo.std() / 50**0.5 + 2e-3 * known.loo)
    own = np.array([without_sampling(row) for row in rows])
    errors = np.array([row.loo_se_se for row in rows])
    made = np.sqrt(((own - known.loo_se) ** 2).mean())
    assert np.sqrt((errors**2).mean()) == pytest.approx(made, rel=0.4)
    assert own.mean() == pytest.approx(known.loo_se, rel=0.1)  # losses that are guessed vary more


def test_the_error_of_a_covariance_is_that_of_leaving_samples_out():
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((14, 20)), rng.standard_normal((14, 2))
    gram = features @ features.T
    inverse = reference.resolvent(gram, 3.0, False)
    dual = inverse @ targets
    losses = (dual**2).sum(axis=1) / np.diag(inverse) ** 2
    change = reference.leave_two_out(gram, targets, 3.0, False) - losses[:, None]
    off = ~np.eye(14, dtype=bool)
    design = np.eye(14)
    rows, columns = np.nonzero(off)
    fit = np.hstack([design[rows], design[columns]])
    values = change[off]
    residual = np.zeros((14, 14))
    residual[off] = values - fit @ np.linalg.lstsq(fit, values, rcond=None)[0]
    products = residual * residual.T
    without = [
        products[np.ix_(rest, rest)].sum() / (13 * 12)
        for rest in (np.flatnonzero(np.arange(14) != i) for i in range(14))
    ]
    known = np.sqrt(13 / 14 * ((without - np.mean(without)) ** 2).sum())
    found = interval.pair_covariance_error_(torch.from_numpy(inverse), torch.from_numpy(dual))
    assert found == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize("memory", [ROOMY, TIGHT])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("rank", [57, 400])
def test_samples_of_a_store_in_another_order_are_those_of_the_dense_solver(
    tmp_path, intercept, rank, memory
):
    """Also where K has no full rank, which the intercept lowers or not, at small ridges and great
    ones, at which the solutions for the targets are near before those for the samples are."""
    block, targets, _ = problem(n=230, m=0, p=rank)
    order = torch.from_numpy(np.random.default_rng(1).permutation(230)[:200])
    kernel = StoredKernel(
        stored(tmp_path, block, 230), torch.device("cpu"), parse_bytes(memory)
    ).chosen(order)
    checked = Problem.checked(kernel, targets[order], None, loo=True, intercept=intercept)
    sum_ridges = [1e-4, 1e-2, 1.0, 1e2, 1e4]
    found = solve_path(checked, Grid.checked(None, sum_ridges), None, "matrix_free")
    known = ridge_path(
        block[np.ix_(order, order)],
        targets[order],
        sum_ridges=sum_ridges,
        solver="eigen",
        intercept=intercept,
    )
    assert ((found.loo - known.loo).abs() <= 4 * found.loo_sampled_se + 1e-3 * known.loo).all()
    own = without_sampling(found)
    assert ((own - known.loo_se).abs() <= 5 * found.loo_se_se + 5e-3 * known.loo_se).all()


@pytest.mark.parametrize("memory", [ROOMY, TIGHT])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_samples_looked_at_are_those_of_refits(monkeypatch, intercept, memory):
    """What goes into the columns: GY and G of the samples, whose losses are those of a fit without
    the sample, and whose pairs those of a fit without both."""
    rng, seen, honest = np.random.default_rng(0), [], matrix_free.loo_columns
    features = rng.standard_normal((200, 120)) * np.arange(1, 121) ** -0.6
    targets = features[:, :2] + 0.3 * rng.standard_normal((200, 2)) + 2
    monkeypatch.setattr(
        matrix_free, "loo_columns", lambda *found: seen.append(found) or honest(*found)
    )
    options = {"solver": "matrix_free", "memory": memory, "intercept": intercept}
    ridge_path_features(features, targets, sum_ridges=[0.2], **options)
    (_, dual, _, chosen, inverse) = seen[0]
    own = dual[chosen]
    for i, j in ((0, 1), (5, 30), (33, 2)):
        a, b = chosen[i].item(), chosen[j].item()
        for left_out, weight in (([a], 0.0), ([a, b], (inverse[i, j] / inverse[j, j]).item())):
            rest = np.setdiff1d(np.arange(200), left_out)
            x, y = features[rest], targets[rest]
            centre, mean = intercept * x.mean(axis=0), intercept * y.mean(axis=0)
            x, y = x - centre, y - mean
            coefficients = np.linalg.solve(x.T @ x + 0.2 * np.eye(120), x.T @ y)
            known = targets[a] - mean - (features[a] - centre) @ coefficients
            found = (own[i] - weight * own[j]) / (inverse[i, i] - weight * inverse[i, j])
            np.testing.assert_allclose(found, known, rtol=2e-3, atol=2e-4)


@settings(max_examples=40)
@given(
    st.integers(3, 60),
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(-6, 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_g_between_samples_is_that_of_the_dense_matrix(n, p, m, power, intercept, tight, seed):
    """Any rank, any ridge, in a space that is large enough or not: to the tolerance."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p))
    sum_ridge, chosen = 10.0**power, rng.permutation(n)[: min(m, n)]
    units = np.eye(n)[:, chosen] - intercept / n
    rows = torch.from_numpy(features - intercept * features.mean(axis=0))
    solutions = Solutions(
        lambda block: rows @ (rows.mT @ block),
        torch.from_numpy(units),
        len(chosen) if tight else n - intercept,
        matrix_free.diagonal_error,
        "G",
    ).reach(sum_ridge, single=False)
    known = reference.resolvent(features @ features.T, sum_ridge, intercept)
    known = known[np.ix_(chosen, chosen)]
    found = solutions.at(sum_ridge).between().numpy()
    scale = np.sqrt(np.diag(known))
    np.testing.assert_allclose(
        found / scale / scale[:, None], known / scale / scale[:, None], atol=2e-4
    )


@pytest.mark.parametrize("intercept", [False, True])
def test_the_diagonal_is_that_of_samples_of_unlike_lengths(intercept):
    """Where one share of each is left by the others, as of independent directions."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(0, 1, 400)
    features = rng.standard_normal((400, 4000)) * lengths[:, None] / 4000**0.5
    gram = features @ features.T
    inverse = np.diag(reference.resolvent(gram, 0.3, intercept))
    centred = gram - intercept * (gram.mean(axis=0) + gram.mean(axis=1)[:, None] - gram.mean())
    chosen = np.arange(0, 400, 12)
    kernel, known = torch.from_numpy(np.diag(centred).copy()), torch.from_numpy(inverse[chosen])
    shift = 0.3 / (1 - intercept / 400)
    found = looked.guessed_diagonal(kernel, torch.from_numpy(chosen), known, shift)
    np.testing.assert_allclose(found, inverse, rtol=0.1)
    assert inverse.max() / inverse.min() > 10
    nothing = looked.guessed_diagonal(0 * kernel, torch.from_numpy(chosen), 0 * known + 2, 0.5)
    assert (nothing == 2).all()


def test_the_samples_looked_at_cost_no_more_than_the_solve(monkeypatch):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((1200, 1500)) * np.arange(1, 1501) ** -0.75
    targets = rng.standard_normal((1200, 8))
    options = {"sum_ridges": [0.5, 10.0], "solver": "matrix_free", "memory": "256MiB"}
    multiplied, honest = [0], FeatureKernel.multiply

    def counted(self, columns):
        multiplied[-1] += columns.shape[1]
        return honest(self, columns)

    monkeypatch.setattr(FeatureKernel, "multiply", counted)
    ridge_path_features(features, targets, loo=False, **options)
    multiplied.append(0)
    ridge_path_features(features, targets, loo=True, **options)
    without, both = multiplied
    assert without < both <= 2.2 * without


def test_a_space_with_the_samples_keeps_to_its_budget():
    rng = np.random.default_rng(3)
    features = rng.standard_normal((300, 200)) * np.arange(1, 201) ** -0.7
    targets = rng.standard_normal((300, 3))
    options = {"sum_ridges": [3.0], "solver": "matrix_free", "memory": 5_000_000}
    taken = peak(lambda: ridge_path_features(features, targets, **options))
    assert 0.3 * 5e6 < taken <= 5e6


def test_no_interval_below_eight_samples_or_of_copies(tmp_path):
    block, targets, _ = problem(n=30, m=0)
    few = estimated(tmp_path / "few", block, targets, sum_ridges=[0.1], sizes=[7, 8])
    assert few.loo.notna().all()
    assert few[["loo_se", "loo_se_se"]].notna().all(axis=1).tolist() == [False, True]
    order = np.where(np.arange(30) == 4, 9, np.arange(30))
    copies = block[np.ix_(order, order)]
    found = estimated(tmp_path / "copies", copies, targets[order], sum_ridges=[1e-9, 1.0])
    assert found.loo_se.notna().tolist() == [False, True]


def test_targets_of_zero_have_a_risk_of_zero(tmp_path):
    block, targets, _ = problem(n=90, m=0)
    found = estimated(tmp_path, block, 0 * targets, sum_ridges=[0.1])
    assert (found[["loo", "loo_se", *LOOKED_COLUMNS]] < 1e-25).all(axis=None)


def test_estimates_are_the_choice_where_nothing_exact_fits(tmp_path):
    block, targets, _ = problem(n=600, m=0)
    store = stored(tmp_path, block, 600)
    found = ridge_path_stored(store, targets, ridges=[0.1], loo=True, memory="2600KiB")
    assert found.attrs["estimate"]
    assert found[LOO].notna().all(axis=None)


def test_with_an_intercept_nothing_depends_on_the_origin():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((150, 200)) * rng.lognormal(0, 1, (150, 1))
    targets = features[:, :1] + rng.standard_normal((150, 1))
    options = {"sum_ridges": [5.0], "intercept": True, "solver": "matrix_free", "memory": "16MiB"}
    found, moved = (
        ridge_path_features(features + offset, targets, **options)
        for offset in (0, 2 * rng.standard_normal(200))
    )
    columns = [*LOO, *LOOKED_COLUMNS]
    np.testing.assert_allclose(moved[columns], found[columns], rtol=1e-3)
