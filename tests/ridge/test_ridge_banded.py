"""Reduction to a band against NumPy, at sizes about the band's edges, and the solver that rests on
it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.linalg import band as module
from rmtgen.linalg.band import WIDTH, Band
from rmtgen.ridge import path, ridge_path

SHIFTS = (0.0, 1e-3, 1.0, 100.0)


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, n))
    return rows @ rows.T / n + 0.1 * np.eye(n), rng.standard_normal((n, 3))


def check(matrix, columns):
    n = len(matrix)
    lower = torch.from_numpy(np.tril(matrix))
    lower[np.triu_indices(n, 1)] = np.nan  # the upper triangle is not to be read
    band = Band.of_(lower)
    rotated = band.rotated(torch.from_numpy(columns))
    np.testing.assert_allclose(band.restored(rotated), columns, rtol=1e-11, atol=1e-12)
    found = band.shifted(torch.tensor(SHIFTS, dtype=torch.float64), rotated)
    assert found.positive.all()
    for number, shift in enumerate(SHIFTS):
        inverse = np.linalg.inv(matrix + shift * np.eye(n))
        solution = band.restored(found.solution[number])
        np.testing.assert_allclose(solution, inverse @ columns, rtol=1e-9, atol=1e-11)
        assert found.trace[number].item() == pytest.approx(np.trace(inverse), rel=1e-11)
        assert found.trace_square[number].item() == pytest.approx((inverse**2).sum(), rel=1e-11)


@pytest.mark.parametrize(
    "n", [1, 2, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 2 * WIDTH + 1, 5 * WIDTH + 7]
)
def test_solutions_and_traces(n):
    check(*draw(n))


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6))
def test_every_width_and_strip(n, width, strip, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WIDTH", width)
        patch.setattr(module, "STRIP", strip)
        check(*draw(n, seed))


def test_a_shift_that_is_too_small_is_told():
    matrix, columns = draw(100)
    band = Band.of_(torch.from_numpy(matrix - 2 * np.eye(100)))
    found = band.shifted(
        torch.tensor([0.0, 5.0], dtype=torch.float64), band.rotated(torch.from_numpy(columns))
    )
    assert found.positive.tolist() == [False, True]


def problem(n=150, p=400, m=11):
    rng = np.random.default_rng(1)
    features, test = (
        rng.standard_normal((count, p)) * np.arange(1, p + 1) ** -0.5 for count in (n, m)
    )
    weights = rng.standard_normal((p, 2))
    return {
        "gram": features @ features.T,
        "targets": features @ weights,
        "test_gram": test @ features.T,
        "test_targets": test @ weights,
    }


@pytest.mark.parametrize("intercept", [False, True])
def test_the_solver_agrees_with_the_eigen_solver_even_without_a_ridge(intercept, monkeypatch):
    data = problem()
    options = {
        "ridges": [0.0, 1e-6, 1.0],
        "sizes": [2, WIDTH, 150, 9],
        "intercept": intercept,
        "loo": False,
    }
    eigen = ridge_path(**data, **options, solver="eigen")
    monkeypatch.setattr(path, "solve_eigen", None)
    np.testing.assert_allclose(
        ridge_path(**data, **options, solver="banded"), eigen, rtol=1e-8, atol=1e-20
    )


def test_what_is_singular_is_left_to_the_eigen_solver():
    data = problem(120, 40)
    options = {"ridges": [0.0, 1e-14, 1.0], "sizes": [120, 20], "loo": False}
    banded_rows, eigen = (
        ridge_path(**data, **options, solver=solver) for solver in ("banded", "eigen")
    )
    np.testing.assert_allclose(banded_rows, eigen, rtol=1e-8, atol=1e-20)


def test_leave_one_out_is_refused():
    with pytest.raises(
        UsageError, match=r"solver='banded' has no leave-one-out columns, got loo=True"
    ):
        ridge_path(**problem(), ridges=[1.0], solver="banded")
