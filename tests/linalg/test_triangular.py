"""In-place triangular algebra against NumPy, at sizes about the blocks' edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg import triangular
from rmtgen.linalg.triangular import (
    BLOCK,
    STRIP,
    cholesky_,
    inverse_norm,
    invert_rows_,
    lower_products,
)

EDGES = (1, 2, BLOCK - 1, BLOCK, BLOCK + 1, STRIP + BLOCK + 3)


def positive(n, seed=0, garbage=True):
    """A well-conditioned matrix whose upper triangle is not to be read."""
    rows = np.random.default_rng(seed).standard_normal((n, n + 5))
    matrix = rows @ rows.T / n + np.eye(n)
    return matrix, torch.from_numpy(
        np.tril(matrix) + garbage * np.triu(np.full((n, n), np.nan), 1 if n > 1 else n)
    )


def inverted(matrix):
    for low in range(0, len(matrix), BLOCK):
        invert_rows_(matrix, low, min(low + BLOCK, len(matrix)))


@pytest.mark.parametrize("n", EDGES)
def test_factor_inverse_and_products(n):
    matrix, factor = positive(n, garbage=False)
    lower = np.linalg.cholesky(matrix)
    assert cholesky_(factor)
    np.testing.assert_allclose(np.tril(factor), lower, rtol=1e-11, atol=1e-13)
    assert inverse_norm(factor) == pytest.approx(np.linalg.norm(np.linalg.inv(lower), 2), rel=0.1)
    inverted(factor)
    inverse = np.linalg.inv(lower)
    np.testing.assert_allclose(np.tril(factor), inverse, rtol=1e-9, atol=1e-11)
    low = (n - 1) // BLOCK * BLOCK
    found = lower_products(factor, low, n)
    np.testing.assert_allclose(found, (inverse @ inverse.T)[low:n], rtol=1e-9, atol=1e-11)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6))
def test_every_block_and_strip_gives_the_same(n, block, strip, seed):
    matrix, factor = positive(n, seed, garbage=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triangular, "BLOCK", block)
        patch.setattr(triangular, "STRIP", strip)
        assert cholesky_(factor)
        np.testing.assert_allclose(
            np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-10, atol=1e-12
        )
        for low in range(0, n, block):
            invert_rows_(factor, low, min(low + block, n))
            products = lower_products(factor, low, min(low + block, n))
            inverse = np.linalg.inv(np.linalg.cholesky(matrix))
            high = low + len(products)
            np.testing.assert_allclose(
                products, (inverse @ inverse.T)[low:high, :high], rtol=1e-8, atol=1e-10
            )


def test_what_lies_above_the_diagonal_is_never_read():
    n = BLOCK + 40
    clean, dirty = positive(n, garbage=False)[1], positive(n)[1]
    for matrix in (clean, dirty):
        assert cholesky_(matrix)
    dirty[np.triu_indices(n, 1)] = np.nan
    for matrix in (clean, dirty):
        inverted(matrix)
    assert torch.equal(clean.tril(), dirty.tril())


def test_a_part_of_a_matrix_is_factored_in_its_place():
    matrix, whole = positive(50, garbage=False)
    part = whole[1:, 1:]
    assert cholesky_(part)
    np.testing.assert_allclose(np.tril(part), np.linalg.cholesky(matrix[1:, 1:]), rtol=1e-11)
    np.testing.assert_array_equal(whole[:, 0], matrix[:, 0])


@pytest.mark.parametrize("place", [0, 3, BLOCK + 7])
def test_a_matrix_that_is_not_positive_definite_has_no_factor(place):
    _, matrix = positive(BLOCK + 20, garbage=False)
    matrix[place, place] = -1.0
    assert not cholesky_(matrix)
    _, matrix = positive(BLOCK + 20, garbage=False)
    matrix[place, place] = float("nan")
    assert not cholesky_(matrix)
