"""Reduction to a band, and factors of the shifted band, against NumPy at sizes about the blocks'
edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg import band as module
from rmtgen.linalg.band import WIDTH, Band
from rmtgen.linalg.centring import restored, restored_rows

SHIFTS = (0.0, 1e-3, 1.0, 100.0)


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, n))
    return rows @ rows.T / n + 0.1 * np.eye(n), rng.standard_normal((n, 3))


def check(matrix, columns, width):
    n = len(matrix)
    lower = torch.from_numpy(np.tril(matrix))
    lower[np.triu_indices(n, 1)] = np.nan  # the upper triangle is not to be read
    band = Band.of_(lower, width)
    rotated = band.rotated(torch.from_numpy(columns))
    np.testing.assert_allclose(band.restored(rotated), columns, rtol=1e-11, atol=1e-12)
    factored = band.shifted(torch.tensor(SHIFTS, dtype=torch.float64))
    solutions = [band.restored(one) for one in factored.solve(rotated)]
    place, frame = lower.data_ptr(), band.frame_()
    assert frame.data_ptr() == place
    np.testing.assert_allclose(frame @ rotated, columns, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(frame.mT @ frame, np.eye(n), atol=1e-12)
    forms = factored.quadratic_forms(frame)
    assert factored.positive.all()
    for number, shift in enumerate(SHIFTS):
        inverse = np.linalg.inv(matrix + shift * np.eye(n))
        np.testing.assert_allclose(solutions[number], inverse @ columns, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(forms[number], inverse.diagonal(), rtol=1e-11)
        assert factored.trace[number].item() == pytest.approx(np.trace(inverse), rel=1e-11)
        squares = (inverse**2).sum()
        assert factored.trace_square[number].item() == pytest.approx(squares, rel=1e-11)


@pytest.mark.parametrize(
    "n", [1, 2, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 2 * WIDTH + 1, 5 * WIDTH + 7]
)
def test_solutions_traces_and_the_diagonal_of_the_inverse(n):
    check(*draw(n), WIDTH)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6))
def test_every_width_and_strip(n, width, strip, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIP", strip)
        check(*draw(n, seed), width)


def test_the_band_has_the_eigenvalues_of_the_matrix():
    matrix, _ = draw(107)
    reduced = Band.of_(torch.from_numpy(matrix.copy()), 25)
    whole = torch.block_diag(*reduced.diagonal)
    for number, block in enumerate(reduced.below):
        low = 25 * (number + 1)
        whole[low : low + len(block), low - 25 : low] = block
        whole[low - 25 : low, low : low + len(block)] = block.mT
    np.testing.assert_allclose(np.linalg.eigvalsh(whole), np.linalg.eigvalsh(matrix), rtol=1e-12)
    assert not whole.tril(-26).any()
    assert torch.equal(whole, whole.mT)


def test_a_shift_that_is_too_small_is_told():
    matrix, _ = draw(100)
    band = Band.of_(torch.from_numpy(matrix - 2 * np.eye(100)), WIDTH)
    factored = band.shifted(torch.tensor([0.0, 5.0], dtype=torch.float64))
    assert factored.positive.tolist() == [False, True]


@pytest.mark.parametrize("size", [1, 4, 30, 31])
def test_rows_in_blocks_are_those_of_the_whole(size):
    frame = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 30)))
    before, blocks = frame.clone(), list(restored_rows(frame, size))
    assert max(len(block) for block in blocks) <= size
    np.testing.assert_allclose(torch.cat(blocks), restored(before), rtol=1e-13, atol=1e-14)
    assert torch.equal(frame, before)


def test_the_band_is_wider_on_cuda():
    widths = [module.width_on(torch.device(kind)) for kind in ("cpu", "cuda")]
    assert widths == [WIDTH, module.CUDA_WIDTH]
    assert WIDTH < module.CUDA_WIDTH
