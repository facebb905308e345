"""Solvers that work in one matrix n×n: every byte that torch takes, against the stated cost."""

import numpy as np
import pytest
import torch

from rmtgen.linalg import band, modes, triangular
from rmtgen.ridge import banded, interval, nested
from rmtgen.ridge.banded import cost_banded, solve_banded
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.nested import cost_nested, solve_nested
from rmtgen.ridge.problem import Grid, Problem
from tests.ridge.case_memory import peak

SOLVERS = {"banded": (solve_banded, cost_banded), "nested": (solve_nested, cost_nested)}


def problem(n, intercept, tests=30, loo=True):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n + tests, 2 * n)) * np.arange(1, 2 * n + 1) ** -0.5
    kernel = GramKernel.checked(*(part @ rows[:n].T for part in (rows[:n], rows[n:])))
    targets = rng.standard_normal((n + tests, 2))
    return Problem.checked(kernel, targets[:n], targets[n:], loo=loo, intercept=intercept)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", [False, True])
def test_the_peak_is_within_the_stated_cost(solver, intercept):
    solve, cost = SOLVERS[solver]
    n, grid = 600, Grid(np.array([0.1, 1.0]), summed=True)
    data, rows = problem(n, intercept), []
    taken = peak(lambda: rows.extend(solve(data, [n], grid)))
    assert all(row is not None for row in rows)
    assert 8 * n**2 < taken <= cost(data, [n], grid).bytes


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", [False, True])
def test_the_peak_is_little_more_than_one_matrix(solver, intercept, monkeypatch):
    """At the ratio of blocks to samples that they have at large n."""
    for module, name in (
        (band, "STRIP"),
        (triangular, "STRIP"),
        (nested, "BLOCK"),
        (modes, "ROWS"),
        (interval, "PAIRED"),
    ):
        monkeypatch.setattr(module, name, 16)
    monkeypatch.setattr(band, "WIDTH", 8)
    monkeypatch.setattr(banded, "ROWS", 16)
    n, grid = 500, Grid(np.array([1.0]), summed=True)
    data = problem(n, intercept, tests=5)
    taken = peak(lambda: SOLVERS[solver][0](data, [n], grid))
    assert 8 * n**2 < taken < 1.2 * 8 * n**2


@pytest.mark.parametrize(("ridges", "outputs"), [(10, 10), (10, 100)])
def test_sixty_thousand_samples_take_less_than_a_third_beside_their_matrix(ridges, outputs):
    n, tests = 60_000, 2000
    shapes = GramKernel(*(torch.empty(m, n, device="meta") for m in (n, tests)))
    targets, test_targets = (
        torch.empty(m, outputs, dtype=torch.float64, device="meta") for m in (n, tests)
    )
    data = Problem(shapes, targets, test_targets, True, True, None, None)
    grid = Grid(np.geomspace(1e-3, 1, ridges), summed=False)
    assert cost_banded(data, [n], grid).bytes <= 1.3 * 8 * n**2
