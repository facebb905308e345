"""Solver `nested`: every size from one Cholesky factor per sum ridge δ, in one matrix n×n.

A sweep over blocks of rows turns the factor L of K + δI into R = L⁻¹ in place, and adds its rows to
the running sums of `sums`. Predictions on the test set are one of them: with V = R k(test)ᵀ and Z =
RY, k(test)GY = Σ_{i≤n} v_i z_iᵀ.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.triangular import BLOCK, cholesky_, inverse_norm, invert_rows_, lower_products
from rmtgen.ridge.definite import require_semidefinite, well_conditioned
from rmtgen.ridge.interval import all_paired, pair_bytes, pair_cost
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.sums import Sums, shared, swept

SWEEP_COST = 2.2
"""Cost of a δ, in n³ operations of a matrix product: 1/3 for L, 1/3 for R and 1/3 for tr G², at a
little under half the speed."""
CHECK_COST = 0.6
"""Cost of the Cholesky factor that shows whether K is semidefinite, likewise."""


def solve_nested(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer; sizes that share a δ share a factor.

    A row is None where K + δI is near-singular, as at δ = 0 for a singular K, where an intercept
    leaves too few digits of tr G², and where the differences of df or norm2 do. Beside the problem
    one float64 matrix n×n is held, n the largest size, and blocks of `BLOCK` rows.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    require_semidefinite(problem, max(sizes))
    return swept(_sweep, problem, sizes, grid)


def cost_nested(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """A Cholesky factor and its inverse per distinct δ, of the largest size that needs it."""
    outputs, tests, largest = problem.targets.shape[1], problem.tests, max(sizes)
    flops = CHECK_COST * largest**3
    for cells in shared(sizes, grid).values():
        n = max(size for _, size, _ in cells)
        flops += (
            SWEEP_COST * n**3
            + n**2 * (outputs + tests)
            + sum(2.0 * size * outputs + problem.loo * pair_cost(size, 0) for _, size, _ in cells)
            + problem.loo * 2.0 * n * all_paired(n) ** 2
        )
    if problem.width:
        flops += 2.0 * len(shared(sizes, grid)) * largest**2 * problem.width
    pairs = problem.loo * (8 * all_paired(largest) ** 2 + pair_bytes(largest))
    return Cost(flops, int(8 * (largest**2 + largest * (4 * BLOCK + tests + outputs)) + pairs))


def _sweep(problem: Problem, sum_ridge: float, sizes: set[int]) -> dict[int, dict | None]:
    """The columns at one δ for each of the sizes, without `ridge`; None as in `solve_nested`."""
    factor = problem.kernel.symmetric(max(sizes))
    norm = torch.linalg.matrix_norm(factor).item()
    diagonal = factor.diagonal().max().item()
    factor.diagonal().add_(sum_ridge)
    if not cholesky_(factor) or not well_conditioned(
        problem.kernel, norm, sum_ridge, inverse_norm(factor) ** 2
    ):
        return dict.fromkeys(sizes)
    predictions = _Running(problem, max(sizes)) if problem.tests else None
    sums = Sums(problem, sum_ridge, sizes, diagonal, predictions)
    rows: dict[int, dict | None] = {}
    for low in range(0, len(factor), BLOCK):
        high = min(low + BLOCK, len(factor))
        invert_rows_(factor, low, high)
        products = lower_products(factor, low, high)
        here = sorted(n for n in sizes if low < n <= high)
        rows |= sums.add(factor[low:high, :high], products, here)
    return rows


class _Running:
    """k(test)GY, and k(test)G1 with an intercept, as a running sum."""

    def __init__(self, problem: Problem, n: int):
        self.block = problem.kernel.test_block(n)
        columns = problem.targets.shape[1] + problem.intercept
        self.scores = self.block.new_zeros(self.block.shape[1], columns)

    def add(self, rows: Float64[Tensor, "b n"], targets: Float64[Tensor, "b c"]) -> None:
        """Add some rows of R."""
        self.scores.addmm_((rows @ self.block[: rows.shape[1]]).mT, targets)

    def at(self, dual: Float64[Tensor, "n c"]) -> Float64[Tensor, "m c"]:
        """The sum over all rows so far."""
        return self.scores
