"""Solver `nested`: every size from one Cholesky factor per sum ridge δ.

The leading blocks of the factor L of K + δI are the factors of its leading blocks. With R = L⁻¹ and
its rows r_i, the first n samples have G_n = R_nᵀR_n, that is

    G_n = Σ_{i≤n} r_i r_iᵀ,    GY = Σ_{i≤n} r_i z_iᵀ,    k(test)GY = Σ_{i≤n} v_i z_iᵀ,
    Z = RY,    V = R k(test)ᵀ,
    tr G = Σ_{i≤n} ‖r_i‖²,    diag G = Σ_{i≤n} r_i²,    tr G² = ‖RRᵀ‖² = Σ_{i,j≤n} (r_i·r_j)².

All that a size needs is a running sum over the rows of R. A sweep over blocks of rows turns L into
R in place and adds them; a size costs what its own columns cost, n(c + m).

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
from rmtgen.ridge.definite import require_semidefinite, well_conditioned
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.traces import digits_kept, dual_columns

SWEEP_COST = 2.2
"""Cost of a δ, in n³ operations of a matrix product: 1/3 for L, 1/3 for R and 1/3 for tr G², at a
little under half the speed."""
CHECK_COST = 0.6
"""Cost of the Cholesky factor that shows whether K is semidefinite, likewise."""
LEAST_SHARE = 1e-7
"""Share of tr G² that must be left once an intercept has removed the direction 1: below it, more
than seven of sixteen digits are lost."""


def solve_nested(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer; sizes that share a δ share a factor.

    A row is None where K + δI is near-singular, as at δ = 0 for a singular K, where an intercept
    leaves too few digits of tr G², and where the differences of df or norm2 do. Beside the problem
    one float64 matrix n×n is held, n the largest size, and blocks of `BLOCK` rows.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    require_semidefinite(problem, max(sizes))
    rows: dict[tuple[int, int], dict | None] = {}
    for sum_ridge, cells in _shared(sizes, grid).items():
        found = _sweep(problem, sum_ridge, {n for _, n, _ in cells})
        rows |= {key: found[n] | {"ridge": ridge} if found[n] else None for key, n, ridge in cells}
    return [rows[key] for key in sorted(rows)]


def cost_nested(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """A Cholesky factor and its inverse per distinct δ, of the largest size that needs it."""
    outputs, tests, largest = problem.targets.shape[1], problem.tests, max(sizes)
    flops = CHECK_COST * largest**3
    for cells in _shared(sizes, grid).values():
        n = max(size for _, size, _ in cells)
        flops += (
            SWEEP_COST * n**3
            + n**2 * (outputs + tests)
            + sum(2.0 * size * outputs for _, size, _ in cells)
        )
    if problem.width:
        flops += 2.0 * len(_shared(sizes, grid)) * largest**2 * problem.width
    return Cost(flops, int(8 * (largest**2 + largest * (4 * BLOCK + tests + outputs))))


def _shared(sizes: list[int], grid: Grid) -> dict[float, list[tuple[tuple[int, int], int, float]]]:
    """The cells that need each δ: their place in the path, n and λ."""
    shared = defaultdict(list)
    for place, n in enumerate(sizes):
        for number, (ridge, sum_ridge) in enumerate(grid.at(n)):
            shared[sum_ridge].append(((place, number), n, ridge))
    return shared


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
    sums = _Sums(problem, sum_ridge, max(sizes), diagonal)
    rows: dict[int, dict | None] = {}
    for low in range(0, len(factor), BLOCK):
        high = min(low + BLOCK, len(factor))
        invert_rows_(factor, low, high)
        rows |= sums.add(factor, low, high, sorted(n for n in sizes if low < n <= high))
    return rows


class _Sums:
    """Running sums over the rows of R, and the columns of a fit from them."""

    def __init__(self, problem: Problem, sum_ridge: float, n: int, largest: float):
        self.problem, self.sum_ridge, self.largest = problem, sum_ridge, largest
        targets = problem.targets[:n]
        ones = targets.new_ones(n, 1)
        self.targets = torch.cat([targets, ones], dim=1) if problem.intercept else targets
        self.dual = torch.zeros_like(self.targets)  # GY, and G1
        self.diagonal = targets.new_zeros(n)
        self.trace = self.trace_square = 0.0
        self.test = None if problem.test_targets is None else problem.kernel.test_block(n)
        self.scores = (
            None
            if self.test is None
            else targets.new_zeros(self.test.shape[1], self.targets.shape[1])
        )

    def add(
        self, inverse: Float64[Tensor, "n n"], low: int, high: int, sizes: list[int]
    ) -> dict[int, dict | None]:
        """Add rows low … high of R.

        Returns:
            The columns at those of the `sizes`, ascending, that lie among the rows; None as in
            `solve_nested`.
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
        """Every column but the ridge at one size; None where too few digits are left.

        With an intercept, w = G1, s = 1ᵀw and b = wᵀY/s, the definition of P gives

            PY = GY − w b,    diag P = diag G − w²/s,    tr P = tr G − ‖w‖²/s,
            tr P² = tr G² − 2 wᵀGw/s + (‖w‖²/s)²,    wᵀGw = ‖Rw‖²,

        and the fit is f(x) = k(x)ᵀG(Y − 1b) + b = k(x)ᵀGY + (1 − k(x)ᵀw) b.
        """
        problem, dual, diagonal = self.problem, self.dual[:n], self.diagonal[:n]
        trace, trace_square, scores = self.trace, self.trace_square, self.scores
        if problem.intercept:
            ones, dual = dual[:, -1], dual[:, :-1]  # w and GY
            total = ones.sum()  # s
            offset = (ones @ problem.targets[:n]) / total  # b
            share = (ones.square().sum() / total).item()  # ‖w‖²/s
            image = _times(inverse, ones)  # Rw
            trace -= share
            trace_square += share**2 - 2 * (image.square().sum() / total).item()
            if trace_square < LEAST_SHARE * self.trace_square:
                return None
            dual, diagonal = dual - ones[:, None] * offset, diagonal - ones.square() / total
            scores = None if scores is None else scores[:, :-1] + (1 - scores[:, -1:]) * offset
        energy, overlap = dual.square().sum().item(), (dual * problem.targets[:n]).sum().item()
        row = dict.fromkeys(COLUMNS, np.nan) | problem.train_columns(self.sum_ridge * dual)
        row |= dual_columns(n, self.sum_ridge, energy, trace, trace_square, overlap)
        if not digits_kept(row, self.sum_ridge, self.largest):
            return None
        if problem.loo:
            row |= problem.loo_columns(dual / diagonal[:, None])
        if scores is not None:
            row |= problem.test_columns(scores)
        return row


def _times(inverse: Float64[Tensor, "N N"], vector: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """R_n times a vector; in its own columns a block of rows of R is zero above the diagonal."""
    n = len(vector)
    spans = [(low, min(low + BLOCK, n)) for low in range(0, n, BLOCK)]
    return torch.cat([inverse[low:high, :high] @ vector[:high] for low, high in spans])


def _squares(inverse: Float64[Tensor, "n n"], low: int, high: int) -> Float64[Tensor, " b"]:
    """What each of rows low … high of R adds to tr G²: Σ_{j≤i} (r_i·r_j)², twice where j < i."""
    products = lower_products(inverse, low, high)
    below = products.tril(low - 1).square().sum(dim=1)
    return 2 * below + products[:, low:].diagonal().square()
