"""The ridge path at one size and every ridge, from one reduction of K to a band: no eigenvectors,
and no eigenvalues either.

With K = Q B Qᵀ a ridge costs a solve with B + δI for QᵀY and the traces of its inverse and of that
squared; residuals come back by one application of Q to all ridges together. What is missing is diag
G, so there are no leave-one-out columns.

An intercept takes the direction 1 out exactly (`centring`).
"""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.band import WIDTH, Band, Shifted
from rmtgen.linalg.centring import reduced, reduced_matrix_, restored
from rmtgen.linalg.modes import rounding
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.definite import require_semidefinite, sure
from rmtgen.ridge.problem import Cost, Grid, Problem

REDUCTION = 2.1
"""n³ operations of a matrix product that a reduction to a band takes as long as: 4/3 n³ at two
thirds of their speed."""
SHIFT = 90
"""n·`WIDTH`² of them that a ridge takes."""


def solve_banded(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` a (size, ridge), sizes outer; None where K + δI is too near to being
    singular.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    rows = []
    for n in sizes:
        rows += _solve_size(problem, n, grid)
    return rows


def cost_banded(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """A reduction a size, and a sweep along the band a ridge."""
    outputs, tests, ridges, flops = problem.targets.shape[1], problem.tests, len(grid.values), 0.0
    for n in sizes:
        columns = outputs * (1 + ridges)
        flops += REDUCTION * n**3 + SHIFT * ridges * n * WIDTH**2 + 4.0 * n**2 * columns
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
        row if definite and sure(problem.kernel, fit.norm, sum_ridge, trace) else None
        for row, definite, trace, (_, sum_ridge) in zip(
            fit.rows(pairs, solved), positive, traces, pairs, strict=True
        )
    ]


class _Fit:
    """One size, reduced: what every ridge shares."""

    def __init__(self, problem: Problem, n: int):
        self.problem, self.n = problem, n
        self.targets = problem.targets[:n]
        matrix, targets = problem.kernel.symmetric(n), self.targets
        self.norm = torch.linalg.matrix_norm(matrix).item()
        self.means = matrix.mean(dim=0) if problem.intercept else None
        if problem.intercept:
            targets, matrix = reduced(targets), reduced_matrix_(matrix).contiguous()
        self.band = Band.of_(matrix)
        self.coordinates = self.band.rotated(targets)

    def semidefinite(self) -> bool:
        """Whether K is definite once its rounding is added to the diagonal."""
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
            row = dict.fromkeys(COLUMNS, np.nan) | {"n": self.n, "ridge": ridge}
            row |= self._training(
                sum_ridge, duals[:, number], solved.trace[number], solved.trace_square[number]
            )
            if scores is not None:
                row |= self.problem.test_columns(scores[:, number])
            rows.append(row)
        return rows

    def _scores(self, duals: Float64[Tensor, "n l c"]) -> Float64[Tensor, "m l c"]:
        """Predictions on the test set; with an intercept the duals of a ridge sum to 0, and the fit
        is right on average.
        """
        tests, flat = self.problem.kernel.across(self.n), duals.flatten(1)
        if self.problem.intercept:
            offset = self.targets.mean(dim=0).repeat(duals.shape[1])
            return ((tests - self.means[:, None]).mT @ flat + offset).reshape(-1, *duals.shape[1:])
        return (tests.mT @ flat).reshape(-1, *duals.shape[1:])

    def _training(
        self, sum_ridge: float, dual: Float64[Tensor, "n c"], trace: Tensor, trace_square: Tensor
    ) -> dict[str, float]:
        trace, trace_square, energy = trace.item(), trace_square.item(), dual.square().sum().item()
        return {
            **self.problem.train_columns(sum_ridge * dual),
            "gcv": self.n * energy / trace**2,
            "df": self.n - sum_ridge * trace,
            "kappa": 1 / trace,
            "kappa_prime": self.n * trace_square / trace**2,
            "norm2": (dual * self.targets).sum().item() - sum_ridge * energy,
        }
