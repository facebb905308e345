"""Rows of an inverse Cholesky factor from those above, against the inverse of the whole factor."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.linalg import bordering
from rmtgen.linalg.bordering import border_, products_


def positive(n, seed=0, decay=1.0):
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.standard_normal((n, n)) * np.arange(1, n + 1) ** -decay)
    return rows @ rows.mT + 1e-3 * torch.eye(n, dtype=torch.float64)


def strips(inverse, stop, edge):
    return (
        inverse[at : min(at + edge, stop), : min(at + edge, stop)] for at in range(0, stop, edge)
    )


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 9), st.integers(0, 10**6))
def test_rows_and_products_are_those_of_the_inverse_factor(count, low, edge, seed):
    matrix, n = positive(low + count, seed), low + count
    inverse = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(matrix.numpy())))
    rows = torch.full((count, n), torch.nan, dtype=torch.float64)
    below = matrix[low:].tril(low)  # nothing above the diagonal is read
    assert border_(below, strips(inverse, low, edge), rows)
    np.testing.assert_allclose(rows, inverse[low:], atol=1e-12 * inverse.abs().max())
    products = torch.full_like(rows, torch.nan)
    products_(rows, strips(inverse, low, edge), products)
    known = inverse[low:] @ inverse.mT
    np.testing.assert_allclose(products.tril(low), known.tril(low), atol=1e-12 * known.abs().max())


@pytest.mark.parametrize("edge", [3, 512])
def test_products_come_in_blocks_up_to_the_diagonal(monkeypatch, edge):
    monkeypatch.setattr(bordering, "EDGE", edge)
    inverse = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(positive(20).numpy())))
    rows, products = torch.empty(11, 20, dtype=torch.float64), torch.empty(11, 20).double()
    assert border_(positive(20)[9:], strips(inverse, 9, 4), rows)
    products_(rows, strips(inverse, 9, 4), products)
    np.testing.assert_allclose(rows, inverse[9:], atol=1e-11)
    np.testing.assert_allclose(products.tril(9), (inverse[9:] @ inverse.mT).tril(9), atol=1e-8)


def test_a_matrix_that_is_not_definite_has_no_rows():
    matrix = positive(12)
    matrix[10, 10] = -1.0
    inverse = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(matrix[:8, :8].numpy())))
    rows = torch.empty(4, 12, dtype=torch.float64)
    assert not border_(matrix[8:], strips(inverse, 8, 4), rows)


@pytest.mark.parametrize("condition", [1e4, 1e7, 1e10])
def test_as_close_to_orthonormal_as_the_condition_allows(condition):
    """‖R A Rᵀ − I‖ grows with the condition number of A, and no faster."""
    rng, n = np.random.default_rng(0), 120
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    matrix = torch.from_numpy(basis * np.geomspace(1, 1 / condition, n) @ basis.T)
    inverse = torch.zeros(n, n, dtype=torch.float64)
    for low in range(0, n, 24):
        high = low + 24
        assert border_(matrix[low:high, :high], strips(inverse, low, 8), inverse[low:high, :high])
    error = torch.linalg.matrix_norm(
        inverse @ matrix @ inverse.mT - torch.eye(n, dtype=torch.float64), ord=2
    )
    assert error < 5e-16 * condition
