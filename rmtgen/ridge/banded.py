"""Solver `banded`: every ridge of a size from one reduction of K to a band, without eigenvectors.

With K = Q B Qᵀ a ridge costs a solve with B + δI for QᵀY and the traces of its inverse and of the
square of that; one application of Q to all ridges together gives the residuals. There is no diag G,
and so there are no leave-one-out columns.

An intercept removes the direction 1 exactly (`centring`).
"""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.band import WIDTH, Band, Shifted
from rmtgen.linalg.centring import reduced, reduced_matrix_, restored
from rmtgen.linalg.modes import rounding
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.definite import require_semidefinite, well_conditioned
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.traces import digits_kept, dual_columns

REDUCTION_COST = 2.1
"""Cost of a reduction to a band, in n³ operations of a matrix product: 4/3 n³ at two thirds of the
speed."""
SHIFT_COST = 90
"""Cost of a ridge, in n·`WIDTH`² operations of a matrix product."""


def solve_banded(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer.

    A row is None where K + δI is near-singular, and where the differences of df or norm2 leave too
    few digits.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    rows = []
    for n in sizes:
        rows += _solve_size(problem, n, grid)
    return rows


def cost_banded(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """A reduction per size, and a sweep along the band per ridge."""
    outputs, tests, ridges, flops = problem.targets.shape[1], problem.tests, len(grid.values), 0.0
    for n in sizes:
        columns = outputs * (1 + ridges)
        flops += REDUCTION_COST * n**3 + SHIFT_COST * ridges * n * WIDTH**2 + 4.0 * n**2 * columns
        flops += 2.0 * ridges * outputs * n * tests + 2.0 * n**2 * (problem.width or 0)
    n = max(sizes)
    return Cost(
        flops, int(8 * (n**2 + n * (2 * tests + 4 * outputs * ridges + 4 * WIDTH * ridges + 2048)))
    )


def _solve_size(problem: Problem, n: int, grid: Grid) -> list[dict | None]:
    pairs = grid.at(n)
    fit = _Fit(problem, n)
    if not fit.semidefinite():
        require_semidefinite(problem, n)
    solved = fit.band.shifted(
        fit.targets.new_tensor([sum_ridge for _, sum_ridge in pairs]), fit.coordinates
    )
    positive, traces = solved.positive.tolist(), solved.trace.tolist()
    return [
        row
        if definite
        and well_conditioned(problem.kernel, fit.norm, sum_ridge, trace)
        and digits_kept(row, sum_ridge, fit.largest)
        else None
        for row, definite, trace, (_, sum_ridge) in zip(
            fit.rows(pairs, solved), positive, traces, pairs, strict=True
        )
    ]


class _Fit:
    """One size, reduced: what all ridges share."""

    def __init__(self, problem: Problem, n: int):
        self.problem, self.n = problem, n
        self.targets = problem.targets[:n]
        matrix, targets = problem.kernel.symmetric(n), self.targets
        self.norm = torch.linalg.matrix_norm(matrix).item()
        self.largest = matrix.diagonal().max().item()
        self.means = matrix.mean(dim=0) if problem.intercept else None
        if problem.intercept:
            targets, matrix = reduced(targets), reduced_matrix_(matrix).contiguous()
        self.band = Band.of_(matrix)
        self.coordinates = self.band.rotated(targets)

    def semidefinite(self) -> bool:
        """Whether K is positive definite with its rounding added to the diagonal."""
        tolerance = rounding(self.n, self.problem.kernel.single) * self.norm
        return self.band.shifted(
            self.targets.new_tensor([tolerance]), self.coordinates[:, :0]
        ).positive.item()

    def rows(self, pairs: list[tuple[float, float]], solved: Shifted) -> list[dict]:
        """Every column at every ridge."""
        count, outputs = len(pairs), self.targets.shape[1]
        flat = solved.solution.permute(1, 0, 2).reshape(-1, count * outputs)
        duals = self.band.restored(flat)
        duals = (restored(duals) if self.problem.intercept else duals).reshape(
            self.n, count, outputs
        )
        scores = self._scores(duals) if self.problem.tests else None
        rows = []
        for number, (ridge, sum_ridge) in enumerate(pairs):
            row = dict.fromkeys(COLUMNS, np.nan) | {"ridge": ridge}
            row |= self._training(
                sum_ridge, duals[:, number], solved.trace[number], solved.trace_square[number]
            )
            if scores is not None:
                row |= self.problem.test_columns(scores[:, number])
            rows.append(row)
        return rows

    def _scores(self, duals: Float64[Tensor, "n l c"]) -> Float64[Tensor, "m l c"]:
        """Predictions on the test set.

        With an intercept the duals of a ridge sum to 0, and the mean of the fit is that of Y.
        """
        tests, flat = self.problem.kernel.test_block(self.n), duals.flatten(1)
        if self.problem.intercept:
            offset = self.targets.mean(dim=0).repeat(duals.shape[1])
            return ((tests - self.means[:, None]).mT @ flat + offset).reshape(-1, *duals.shape[1:])
        return (tests.mT @ flat).reshape(-1, *duals.shape[1:])

    def _training(
        self, sum_ridge: float, dual: Float64[Tensor, "n c"], trace: Tensor, trace_square: Tensor
    ) -> dict[str, float]:
        sums = dual.square().sum(), trace, trace_square, (dual * self.targets).sum()
        return {
            **self.problem.train_columns(sum_ridge * dual),
            **dual_columns(self.n, sum_ridge, *(value.item() for value in sums)),
        }
