"""The ridge path at one sum ridge δ and every size, from one Cholesky factor: the leading blocks of
L factor every prefix.

With K + δI = LLᵀ and R = L⁻¹, rows r_i, the first n samples have

    G_n = Σ_{i≤n} r_i r_iᵀ,    GY = Σ_{i≤n} r_i z_iᵀ,    k(test)GY = Σ_{i≤n} v_i z_iᵀ,    Z = RY,  V
    = R k(test)ᵀ,

so that all a size asks for is a running sum over the rows of R: tr G of ‖r_i‖², diag G of r_i², tr
G² of (r_i·r_j)². A sweep over blocks of rows turns L into R in place and adds; a size costs what
its own columns cost, n(c + m).

With an intercept P = G − wwᵀ/(1ᵀw), w = G1, takes the place of G; w is one more column of GY.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.triangular import BLOCK, cholesky_, inverse_norm, invert_rows_, lower_products
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.definite import require_semidefinite, sure
from rmtgen.ridge.problem import Cost, Grid, Problem

SWEEP = 2.2
"""n³ operations of a matrix product that a δ takes as long as: 1/3 for L, 1/3 for R and 1/3 for tr
G², at a little under half the speed."""
LEAST_LEFT = 1e-7
"""The share of tr G² that must be left when the direction 1 is taken out: below, more than seven of
sixteen digits go with it."""
CHECK = 0.6
"""The same for the Cholesky factor that tells whether K is semidefinite."""


def solve_nested(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` a (size, ridge), sizes outer; sizes that share a δ share a factor.

    None stands where K + δI is too near to being singular, δ = 0 on a singular K above all, and
    where an intercept takes all but the last digits of tr G² with it.

    Beside the problem one float64 matrix n×n is held, n the largest size, and blocks of `BLOCK`
    rows.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    require_semidefinite(problem, max(sizes))
    rows = {}
    for sum_ridge, cells in _shared(sizes, grid).items():
        found = _sweep(problem, sum_ridge, {n for _, n, _ in cells})
        rows |= {key: found[n] | {"ridge": ridge} if found[n] else None for key, n, ridge in cells}
    return [rows[key] for key in sorted(rows)]


def cost_nested(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """A Cholesky factor and its inverse for each distinct δ, as large as the largest size that asks
    for it.
    """
    outputs, tests, largest = problem.targets.shape[1], problem.tests, max(sizes)
    flops = CHECK * largest**3
    for cells in _shared(sizes, grid).values():
        n = max(size for _, size, _ in cells)
        flops += (
            SWEEP * n**3
            + n**2 * (outputs + tests)
            + sum(2.0 * size * outputs for _, size, _ in cells)
        )
    if problem.width:
        flops += 2.0 * len(_shared(sizes, grid)) * largest**2 * problem.width
    return Cost(flops, int(8 * (largest**2 + largest * (4 * BLOCK + tests + outputs))))


def _shared(sizes: list[int], grid: Grid) -> dict[float, list[tuple[tuple[int, int], int, float]]]:
    """For each δ the cells that ask for it: their place in the path, n and λ."""
    shared = defaultdict(list)
    for place, n in enumerate(sizes):
        for number, (ridge, sum_ridge) in enumerate(grid.at(n)):
            shared[sum_ridge].append(((place, number), n, ridge))
    return shared


def _sweep(problem: Problem, sum_ridge: float, sizes: set[int]) -> dict[int, dict | None]:
    """The columns at one δ for each of the sizes, `ridge` left out; None where they would not be
    sure.
    """
    factor = problem.kernel.symmetric(max(sizes))
    norm = torch.linalg.matrix_norm(factor).item()
    factor.diagonal().add_(sum_ridge)
    if not cholesky_(factor) or not sure(
        problem.kernel, norm, sum_ridge, inverse_norm(factor) ** 2
    ):
        return dict.fromkeys(sizes)
    sums, rows = _Sums(problem, sum_ridge, max(sizes)), {}
    for low in range(0, len(factor), BLOCK):
        high = min(low + BLOCK, len(factor))
        invert_rows_(factor, low, high)
        rows |= sums.add(factor, low, high, sorted(n for n in sizes if low < n <= high))
    return rows


class _Sums:
    """Running sums over the rows of R, and the columns they give at a size."""

    def __init__(self, problem: Problem, sum_ridge: float, n: int):
        self.problem, self.sum_ridge = problem, sum_ridge
        targets = problem.targets[:n]
        ones = targets.new_ones(n, 1)
        self.targets = torch.cat([targets, ones], dim=1) if problem.intercept else targets
        self.dual = torch.zeros_like(self.targets)  # GY, and G1
        self.diagonal = targets.new_zeros(n)
        self.trace = self.trace_square = 0.0
        self.test = None if problem.test_targets is None else problem.kernel.across(n)
        self.scores = (
            None
            if self.test is None
            else targets.new_zeros(self.test.shape[1], self.targets.shape[1])
        )

    def add(
        self, inverse: Float64[Tensor, "n n"], low: int, high: int, sizes: list[int]
    ) -> dict[int, dict | None]:
        """Add rows low … high of R; the columns at the sizes, ascending, that lie among them, None
        where they would not be sure.
        """
        block = inverse[low:high, :high]
        targets = block @ self.targets[:high]
        scores = None if self.test is None else block @ self.test[:high]
        traces = block.square().sum(dim=1).cumsum(dim=0)
        squares = _squares(inverse, low, high).cumsum(dim=0)
        before, rows = (self.trace, self.trace_square), {}
        for start, stop in pairwise([low, *sizes] + [high] * (sizes[-1:] != [high])):
            part, here = slice(start - low, stop - low), inverse[start:stop, :stop]
            self.dual[:stop].addmm_(here.mT, targets[part])
            if self.problem.loo:
                self.diagonal[:stop] += here.square().sum(dim=0)
            if scores is not None:
                self.scores.addmm_(scores[part].mT, targets[part])
            self.trace = before[0] + traces[stop - low - 1].item()
            self.trace_square = before[1] + squares[stop - low - 1].item()
            if stop in sizes:
                rows[stop] = self._row(inverse, stop)
        return rows

    def _row(self, inverse: Tensor, n: int) -> dict | None:
        """Every column but the ridge at a size; None where taking out the direction 1 leaves too
        few digits of tr G².
        """
        problem, dual, diagonal = self.problem, self.dual[:n], self.diagonal[:n]
        trace, trace_square, scores = self.trace, self.trace_square, self.scores
        if problem.intercept:
            ones, dual = dual[:, -1], dual[:, :-1]
            total = ones.sum()
            offset = (ones @ problem.targets[:n]) / total
            along, norm = _times(inverse, ones), ones.square().sum()
            trace_square += (-2 * along.square().sum() / total + (norm / total) ** 2).item()
            trace -= (norm / total).item()
            if trace_square < LEAST_LEFT * self.trace_square:
                return None
            dual, diagonal = dual - ones[:, None] * offset, diagonal - ones.square() / total
            scores = None if scores is None else scores[:, :-1] + (1 - scores[:, -1:]) * offset
        residual = self.sum_ridge * dual
        row = dict.fromkeys(COLUMNS, np.nan) | problem.train_columns(residual)
        energy = dual.square().sum().item()
        row |= {
            "n": n,
            "gcv": n * energy / trace**2,
            "df": n - self.sum_ridge * trace,
            "kappa": 1 / trace,
            "kappa_prime": n * trace_square / trace**2,
            "norm2": (dual * problem.targets[:n]).sum().item() - self.sum_ridge * energy,
        }
        if problem.loo:
            row |= problem.loo_columns(dual / diagonal[:, None])
        if scores is not None:
            row |= problem.test_columns(scores)
        return row


def _times(inverse: Float64[Tensor, "N N"], vector: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """R_n times a vector; a block of rows of R is zero behind the diagonal within its own columns."""
    n = len(vector)
    spans = [(low, min(low + BLOCK, n)) for low in range(0, n, BLOCK)]
    return torch.cat([inverse[low:high, :high] @ vector[:high] for low, high in spans])


def _squares(inverse: Float64[Tensor, "n n"], low: int, high: int) -> Float64[Tensor, " b"]:
    """What each of some rows of R adds to tr G²: Σ_{j≤i} (r_i·r_j)², twice where j < i."""
    products = lower_products(inverse, low, high)
    below = products.tril(low - 1).square().sum(dim=1)
    return 2 * below + products[:, low:].diagonal().square()
