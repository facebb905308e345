"""The solver that rests on a reduction to a band, against the eigen solver."""

import contextlib

import numpy as np
import pytest

from rmtgen.linalg.band import WIDTH, Band
from rmtgen.ridge import path, ridge_path


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
        "sizes": [2, WIDTH, 150, 9, WIDTH + 1],
        "intercept": intercept,
    }
    eigen = ridge_path(**data, **options, solver="eigen")
    monkeypatch.setattr(path, "solve_eigen", None)
    np.testing.assert_allclose(
        ridge_path(**data, **options, solver="banded"), eigen, rtol=1e-8, atol=1e-20
    )


def test_what_is_singular_is_left_to_the_eigen_solver():
    data = problem(120, 40)
    options = {"ridges": [0.0, 1e-14, 1.0], "sizes": [120, 20]}
    banded_rows, eigen = (
        ridge_path(**data, **options, solver=solver) for solver in ("banded", "eigen")
    )
    np.testing.assert_allclose(banded_rows, eigen, rtol=1e-8, atol=1e-20)


@pytest.mark.parametrize(("smallest", "reductions"), [(1e-9, 0), (1e-2, 1)])
def test_nothing_is_reduced_where_a_ridge_needs_the_eigen_solver(monkeypatch, smallest, reductions):
    """A float32 matrix does not resolve the smallest ridge: all come from one eigensolve."""
    data = {key: block.astype(np.float32) for key, block in problem().items() if "gram" in key}
    data |= {"targets": problem()["targets"], "test_targets": problem()["test_targets"]}
    options, calls = {"ridges": [smallest, 1.0, 10.0]}, []
    reduce = Band.of_
    monkeypatch.setattr(Band, "of_", lambda *given: calls.append(0) or reduce(*given))
    with pytest.warns(match="float32") if not reductions else contextlib.nullcontext():
        found = ridge_path(**data, **options, solver="banded")
        known = ridge_path(**data, **options, solver="eigen")
    assert len(calls) == reductions
    np.testing.assert_allclose(found, known, rtol=1e-8)
