"""The Nyström preconditioner against its formula in plain NumPy, and what it spares."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.nystrom import Nystrom, conjugate_gradients


def power_law(n, decay, seed=0):
    rng = np.random.default_rng(seed)
    frame, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return torch.from_numpy((frame * np.arange(1, n + 1) ** -decay) @ frame.T)


def grown(matrix, columns, most):
    space = Krylov(lambda block: matrix @ block, columns, most)
    while space.grow():
        pass
    return space


def right(n, b, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, b)))


def known_inverse(matrix, sketch, shift):
    """P⁻¹ of Frangella, Tropp & Udell from K and an orthonormal sketch (n, k)."""
    nu = 1e-13 * np.linalg.norm(matrix, 2)
    image = matrix @ sketch + nu * sketch
    half = np.linalg.solve(np.linalg.cholesky(sketch.T @ image), image.T).T
    frame, singular, _ = np.linalg.svd(half, full_matrices=False)
    values = np.maximum(singular**2 - nu, 0)
    inner = (frame / (values + shift)) @ frame.T
    return (values[-1] + shift) * inner + np.eye(len(matrix)) - frame @ frame.T


@pytest.mark.parametrize("most", [8, 30, 61])
def test_the_preconditioner_is_that_of_the_sketch(most):
    matrix, columns = power_law(80, 1.0), right(80, 4)
    space = grown(matrix, columns, most)
    found = Nystrom(space).precondition(torch.eye(80, dtype=torch.float64), 1e-3)
    sketch = space.basis[: space.dimension].mT.numpy()
    np.testing.assert_allclose(found, known_inverse(matrix.numpy(), sketch, 1e-3), atol=1e-9)


@settings(max_examples=30)
@given(
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(0, 40),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_any_rank_and_any_space_give_the_dense_answer(n, b, p, most, seed):
    """Zero kernels, ranks below the sketch, and spaces that are whole."""
    rows = right(n, p, seed)
    matrix, columns = rows @ rows.mT, right(n, b, seed + 1)
    nystrom = Nystrom(grown(matrix, columns, most))
    solution, shift = torch.zeros_like(columns), 0.3
    shifted = matrix + shift * torch.eye(n, dtype=torch.float64)
    residual, _ = conjugate_gradients(
        lambda block: shifted @ block,
        lambda block: nystrom.precondition(block, shift),
        columns,
        solution,
        lambda _, found: found.max().item() < 1e-10,
        500,
    )
    np.testing.assert_allclose(solution, torch.linalg.solve(shifted, columns), atol=1e-9)
    np.testing.assert_allclose(residual, columns - shifted @ solution, atol=1e-14)


@pytest.mark.parametrize(("decay", "share"), [(1.0, 0.55), (1.5, 0.35)])
def test_iterations_fall(decay, share):
    """At a ridge far below the eigenvalues, where plain conjugate gradients take many."""
    n, shift = 300, 1e-4
    matrix, columns = power_law(n, decay), right(n, 6)
    shifted = matrix + shift * torch.eye(n, dtype=torch.float64)
    nystrom, counts = Nystrom(grown(matrix, columns, 60)), []
    for precondition in (torch.clone, lambda block: nystrom.precondition(block, shift)):
        solution = torch.zeros_like(columns)
        _, count = conjugate_gradients(
            lambda block: shifted @ block,
            precondition,
            columns,
            solution,
            lambda _, norms: norms.max().item() < 1e-6,
            2000,
        )
        np.testing.assert_allclose(solution, torch.linalg.solve(shifted, columns), atol=1e-2)
        counts.append(count)
    assert counts[1] < share * counts[0]


def test_iterations_end_where_they_must():
    matrix, columns = power_law(50, 1.0), right(50, 2)
    solution = torch.zeros_like(columns)
    residual, count = conjugate_gradients(
        lambda block: matrix @ block, torch.clone, columns, solution, lambda *_: False, 7
    )
    assert count == 7
    np.testing.assert_allclose(residual, columns - matrix @ solution, rtol=1e-12)
