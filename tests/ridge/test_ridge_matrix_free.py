"""Estimates from products alone, against the dense answer: as close as their errors say, and honest
where they are not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import (
    CapacityError,
    CorruptInputError,
    MissingInputError,
    NumericalError,
    RmtgenWarning,
    UsageError,
)
from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.nystrom import Nystrom
from rmtgen.ridge import COLUMNS, ridge_path, ridge_path_stored, solutions
from rmtgen.ridge.columns import ERROR_COLUMNS, LOOKED_COLUMNS
from rmtgen.ridge.solutions import TOLERANCE
from rmtgen.ridge.targets import encode_targets
from rmtgen.store.gram_store import GramLayout, GramStore
from tests.ridge.case_memory import peak

SMALL = "300KiB"
"""Too little for a space that is large enough for small ridges."""


def counted_steps(monkeypatch):
    """A list that grows by the number of iterations of each run of conjugate gradients."""
    steps, honest = [], solutions.conjugate_gradients

    def counted(*arguments):
        found = honest(*arguments)
        steps.append(found[1])
        return found

    monkeypatch.setattr(solutions, "conjugate_gradients", counted)
    return steps


def problem(n=160, m=23, p=400, seed=0, decay=0.7):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n + m, p)) * np.arange(1, p + 1) ** -decay
    targets = encode_targets(rng.integers(0, 3, n + m), 3, "centered").values.numpy()
    return features @ features[:n].T, targets[:n], targets[n:]


def stored(folder, block, n, *, dtype="float64", tile=48):
    layout = GramLayout(n, len(block) - n, dtype, tile)
    store = GramStore.create(folder, layout)
    for one in layout.tiles():
        store.write(one, block[one.row_start : one.row_stop, one.column_start : one.column_stop])
    return store


@pytest.fixture
def store(tmp_path):
    return stored(tmp_path, problem()[0], 160)


def dense(block, targets, test_targets, **options):
    n = len(targets)
    return ridge_path(
        block[:n], targets, test_gram=block[n:], test_targets=test_targets, loo=False, **options
    )


@settings(max_examples=30)
@given(st.integers(2, 50), st.integers(1, 6), st.integers(1, 40), st.integers(0, 10**6))
def test_a_space_that_is_whole_solves_exactly(n, b, p, seed):
    """Rank-deficient matrices and right-hand sides end early, or in the whole space; either is
    exact."""
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.standard_normal((n, p)))
    matrix, columns = (
        rows @ rows.mT,
        torch.from_numpy(rng.standard_normal((n, b)) @ np.diag(np.arange(b) % 3)),
    )
    if b == 1:
        columns += 1
    space = Krylov(lambda block: matrix @ block, columns, n)
    while space.grow():
        pass
    basis = space.basis[: space.dimension]
    np.testing.assert_allclose(basis @ basis.mT, np.eye(space.dimension), atol=1e-12)
    np.testing.assert_allclose(
        space.matrix(), basis @ matrix @ basis.mT, atol=1e-11 * matrix.norm()
    )
    solution, residuals = space.solve(0.5)
    known = torch.linalg.solve(matrix + 0.5 * torch.eye(n, dtype=torch.float64), columns)
    np.testing.assert_allclose(basis.mT @ solution, known, atol=1e-9)
    assert residuals.max() <= 1e-9 * columns.norm()


def test_residuals_are_those_of_the_solution():
    block, targets, _ = problem()
    matrix, columns = torch.from_numpy(block[:160]), torch.from_numpy(targets)
    space = Krylov(lambda some: matrix @ some, columns, 60)
    while space.grow():
        pass
    solution, residuals = space.solve(0.01)
    dual = space.basis[: space.dimension].mT @ solution
    known = torch.linalg.vector_norm(columns - matrix @ dual - 0.01 * dual, dim=0)
    assert known.max() > 1e-8
    np.testing.assert_allclose(residuals, known, rtol=1e-6)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("sizes", [[160], [100, 31]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_needs_no_trace_is_exact_and_the_rest_within_its_error(
    tmp_path, intercept, sizes, dtype
):
    block, targets, test_targets = problem()
    block = block.astype(dtype).astype(np.float64)
    store = stored(tmp_path, block, 160, dtype=dtype)
    options = {"ridges": [1e-3, 1e-1, 10.0], "sizes": sizes, "intercept": intercept}
    known = dense(block, targets, test_targets, **options)
    found = ridge_path_stored(
        store, targets, test_targets=test_targets, **options, solver="matrix_free", probes=24
    )
    assert tuple(found.columns) == COLUMNS + ERROR_COLUMNS
    assert found.attrs == {"outputs": 3, "estimate": True}
    for column in (
        "n",
        "ridge",
        "train_risk",
        "norm2",
        "test_risk",
        "test_risk_se",
        "train_error",
        "test_error",
    ):
        np.testing.assert_allclose(
            found[column], known[column], rtol=20 * TOLERANCE, err_msg=column
        )
    for column in ("gcv", "df", "kappa", "kappa_prime"):
        allowed = 4 * found[f"{column}_se"] + 20 * TOLERANCE * known[column].abs()
        assert ((found[column] - known[column]).abs() <= allowed).all(), column
        assert (found[f"{column}_se"] < 0.3 * known[column]).all(), column
    assert found[["loo", "loo_error", *LOOKED_COLUMNS]].isna().all(axis=None)
    assert (found.residual < 1e-4).all()


def test_standard_errors_are_those_of_repeated_estimates(store):
    _, targets, test_targets = problem()
    options = {
        "sum_ridges": [1.0],
        "test_targets": test_targets,
        "solver": "matrix_free",
        "probes": 8,
    }
    frames = [ridge_path_stored(store, targets, **options, seed=seed).iloc[0] for seed in range(60)]
    for column in ("gcv", "df", "kappa", "kappa_prime"):
        spread = np.std([frame[column] for frame in frames], ddof=1)
        claimed = np.sqrt(np.mean([frame[f"{column}_se"] ** 2 for frame in frames]))
        assert claimed == pytest.approx(spread, rel=0.3), column  # sd of a spread of 60 is 9 %


def test_dense_solvers_read_the_store(store):
    block, targets, test_targets = problem()
    options = {"ridges": [0.0, 1e-2], "sizes": [50, 160]}
    known = dense(block, targets, test_targets, **options)
    for solver in ("auto", "eigen", "nested", "banded"):
        found = ridge_path_stored(
            store, targets, test_targets=test_targets, **options, solver=solver
        )
        np.testing.assert_allclose(found, known, rtol=1e-8, atol=1e-20, err_msg=solver)
        assert found.attrs == {"outputs": 3}


def test_auto_is_dense_where_it_fits(store):
    _, targets, test_targets = problem()
    options = {"ridges": [0.1], "test_targets": test_targets}
    assert "estimate" not in ridge_path_stored(store, targets, **options, memory="2MiB").attrs
    assert ridge_path_stored(store, targets, **options, memory="400KiB").attrs["estimate"]
    with pytest.raises(
        CapacityError,
        match=r"solver='nested' needs .* got 400.0 KiB available. solver='matrix_free' fits",
    ):
        ridge_path_stored(store, targets, **options, memory="400KiB", solver="nested")


@pytest.mark.parametrize("intercept", [False, True])
def test_small_ridges_are_solved_beyond_the_space_that_fits(store, monkeypatch, intercept):
    """Conjugate gradients go on where the memory ends, to the answer of a dense solver."""
    steps = counted_steps(monkeypatch)
    block, targets, test_targets = problem()
    options = {"sum_ridges": [1e-4, 1e-2, 1.0], "intercept": intercept}
    known = dense(block, targets, test_targets, **options)
    found = ridge_path_stored(
        store,
        targets,
        test_targets=test_targets,
        **options,
        solver="matrix_free",
        memory=SMALL,
    )
    assert len(steps) == 3
    assert steps == sorted(steps, reverse=True)
    for column in ("train_risk", "norm2", "test_risk", "test_risk_se", "test_error"):
        np.testing.assert_allclose(
            found[column], known[column], rtol=20 * TOLERANCE, err_msg=column
        )
    for column in ("gcv", "df", "kappa", "kappa_prime"):
        allowed = 4 * found[f"{column}_se"] + 20 * TOLERANCE * known[column].abs()
        assert ((found[column] - known[column]).abs() <= allowed).all(), column
    assert (found.residual < 1e-4).all()


def test_the_space_spares_iterations(store, monkeypatch):
    """A larger budget is a better preconditioner."""
    _, targets, test_targets = problem()
    options = {"sum_ridges": [1e-4], "test_targets": test_targets, "solver": "matrix_free"}
    steps = counted_steps(monkeypatch)
    for memory in (SMALL, "600KiB"):
        ridge_path_stored(store, targets, **options, memory=memory)
    monkeypatch.setattr(Nystrom, "precondition", lambda self, columns, shift: columns.clone())
    ridge_path_stored(store, targets, **options, memory=SMALL)
    small, large, bare = steps
    assert large < small < 0.75 * bare


def test_a_ridge_that_is_not_reached_is_told(store, monkeypatch):
    monkeypatch.setattr(solutions, "MOST_STEPS", 3)
    _, targets, test_targets = problem()
    options = {"sum_ridges": [1e-4], "test_targets": test_targets, "solver": "matrix_free"}
    with pytest.warns(
        RmtgenWarning,
        match=r"should be <= 0.0001, got up to .* at δ = 0.0001 after 3 iterations from \d+ of 160",
    ):
        found = ridge_path_stored(store, targets, **options, memory=SMALL)
    assert found.residual[0] > 1e-3


def test_a_budget_that_holds_no_blocks_is_refused(store):
    _, targets, test_targets = problem()
    options = {"sum_ridges": [1e-4], "test_targets": test_targets, "solver": "matrix_free"}
    with pytest.raises(CapacityError, match=r"solver='matrix_free' needs .*, got 200.0 KiB"):
        ridge_path_stored(store, targets, **options, memory="200KiB")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridges": [1.0, 0.0]}, r"needs ridges > 0, got 0. Leave it out"),
        ({"ridges": [1.0], "probes": 1}, "probes must be a whole number >= 2: got 1"),
        (
            {"ridges": [1.0], "memory": "much"},
            "expected an amount of memory such as 4GiB, got 'much'",
        ),
        ({"ridges": [1.0], "test_targets": None}, "got test samples without test targets"),
    ],
)
def test_what_makes_no_sense_is_refused(store, options, message):
    _, targets, test_targets = problem()
    with pytest.raises(UsageError, match=message):
        ridge_path_stored(
            store, targets, **{"test_targets": test_targets, "solver": "matrix_free"} | options
        )


@pytest.mark.parametrize("intercept", [False, True])
def test_fewer_modes_than_samples_are_no_indefinite_matrix(tmp_path, intercept):
    """Rounding has left some of 1 in the basis when the space runs out of modes."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((180, 60))
    targets, gram = features @ rng.standard_normal(60) + 1, features @ features.T
    options = {"sum_ridges": [1e-4], "intercept": intercept, "loo": False}
    store = stored(tmp_path, gram, 180, tile=180)
    found = ridge_path_stored(store, targets, solver="matrix_free", probes=2, **options)
    known = ridge_path(gram, targets, solver="eigen", **options)
    np.testing.assert_allclose(found.norm2, known.norm2, rtol=20 * TOLERANCE)


def test_an_indefinite_matrix_is_named(tmp_path):
    block, targets, _ = problem()
    vector = np.linalg.eigh(block[:160])[1][:, 80]
    spoilt = block[:160] - 3 * np.outer(vector, vector)
    store = stored(tmp_path, spoilt, 160)
    with pytest.raises(
        NumericalError, match=r"must be positive semidefinite: .* got -2\.\d+ \(the largest"
    ):
        ridge_path_stored(store, targets, ridges=[1.0], solver="matrix_free")


@pytest.mark.parametrize("solver", ["matrix_free", "nested"])
def test_tiles_that_are_missing_damaged_or_not_finite_are_named(tmp_path, solver):
    block, targets, _ = problem()
    options = {"ridges": [0.1], "solver": solver}
    store = stored(tmp_path / "nan", np.where(np.arange(160) == 100, np.nan, block[:160]), 160)
    with pytest.raises(
        NumericalError, match=r"gram must be finite: got \d+ NaN .* in tile-00000096-0"
    ):
        ridge_path_stored(store, targets, **options)
    store = stored(tmp_path / "damaged", block[:160], 160)
    file = store.shards.path("tile-00000096-00000048")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        CorruptInputError, match=r"tile-00000096-00000048.h5 is not what was written"
    ):
        ridge_path_stored(store, targets, **options)
    file.unlink()
    with pytest.raises(MissingInputError, match=r"tile-00000096-00000048.h5 is not there"):
        ridge_path_stored(store, targets, **options)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(
    ("loo", "sum_ridge", "memory"),
    [(False, 1e-4, 1.4e6), (False, 1e-4, 2.5e6), (True, 1e-2, 3e6)],
)
def test_a_budget_is_kept(tmp_path, monkeypatch, intercept, loo, sum_ridge, memory):
    """All that torch takes, conjugate gradients included."""
    block, targets, test_targets = problem(n=600)
    store, steps = stored(tmp_path, block, 600, tile=64), counted_steps(monkeypatch)
    options = {"sum_ridges": [sum_ridge], "test_targets": test_targets, "intercept": intercept}
    taken = peak(
        lambda: ridge_path_stored(
            store, targets, **options, loo=loo, solver="matrix_free", memory=int(memory)
        )
    )
    assert steps
    assert 0.5 * memory < taken <= memory
