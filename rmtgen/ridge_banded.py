"""The ridge path at one size and every ridge, from one reduction of K to a band: no eigenvectors, and no eigenvalues either.

With K = Q B Qᵀ a ridge costs a solve with B + δI for QᵀY and the traces of its inverse and of that squared; residuals come back by one
application of Q to all ridges together. What is missing is diag G, so there are no leave-one-out columns.

An intercept is double centring, of which the direction 1 is taken out exactly: a reflection turns it into the first coordinate, and the
first row and column go.
"""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.banded import Band, Shifted
from rmtgen.errors import UsageError
from rmtgen.ridge_eigen import solve_eigen
from rmtgen.ridge_problem import COLUMNS, Grid, Problem

WORST_CONDITION = 1e10
"""Of K + δI, bounded by ‖K‖ tr (K + δI)⁻¹ (Frobenius): beyond it six digits are not sure."""


def solve_banded(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` a (size, ridge), sizes outer.

    A ridge at which K + δI is too near to being singular is left to `solve_eigen`.

    Raises:
        UsageError: Leave-one-out columns are asked for.
        NumericalError: An asymmetric or indefinite Gram matrix.
    """
    if problem.loo:
        raise UsageError(
            "solver='banded' has no leave-one-out columns, got loo=True. Pass loo=False, or another solver."
        )
    rows = []
    for n in sizes:
        rows += _solve_size(problem, n, grid)
    return rows


def _solve_size(problem: Problem, n: int, grid: Grid) -> list[dict]:
    pairs = grid.at(n)
    fit = _Fit(problem, n)
    solved = fit.band.shifted(fit.targets.new_tensor([sum_ridge for _, sum_ridge in pairs]), fit.coordinates)
    rows = fit.rows(pairs, solved)
    sure = solved.positive & (fit.norm * solved.trace < WORST_CONDITION)
    for number, (ridge, sum_ridge) in enumerate(pairs):
        if not sure[number]:
            (rows[number],) = solve_eigen(problem, [n], Grid(np.array([sum_ridge]), summed=True))
            rows[number]["ridge"] = ridge
    return rows


class _Fit:
    """One size, reduced: what every ridge shares."""

    def __init__(self, problem: Problem, n: int):
        self.problem, self.n = problem, n
        self.targets = problem.targets[:n]
        matrix, tests = problem.kernel.symmetric(n), None if problem.test_targets is None else problem.kernel.across(n)
        targets = self.targets
        if problem.intercept:
            targets = targets - targets.mean(dim=0)
            means = matrix.mean(dim=0)
            matrix.sub_(means[:, None]).sub_(means).add_(means.mean())
            if tests is not None:
                tests = tests - means[:, None]
                tests = tests - tests.mean(dim=0)
        self.norm = torch.linalg.matrix_norm(matrix).item()
        self.reflector = _reflector(n, targets) if problem.intercept else None
        if self.reflector is not None:
            matrix = _reflected(_reflected(matrix, self.reflector).mT, self.reflector)[1:, 1:]
        self.band = Band.of_(matrix.contiguous())
        self.coordinates = self.band.rotated(self._reduced(targets))
        self.tests = None if tests is None else self.band.rotated(self._reduced(tests))

    def _reduced(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n_eff c"]:
        return columns if self.reflector is None else _reflected(columns, self.reflector)[1:]

    def _restored(self, columns: Float64[Tensor, "n_eff c"]) -> Float64[Tensor, "n c"]:
        columns = self.band.restored(columns)
        if self.reflector is None:
            return columns
        return _reflected(torch.cat([columns.new_zeros(1, columns.shape[1]), columns]), self.reflector)

    def rows(self, pairs: list[tuple[float, float]], solved: Shifted) -> list[dict]:
        """Every column at every ridge."""
        count, outputs = len(pairs), self.targets.shape[1]
        flat = solved.solution.permute(1, 0, 2).reshape(-1, count * outputs)
        duals = self._restored(flat).reshape(self.n, count, outputs)
        scores = None if self.tests is None else (self.tests.mT @ flat).reshape(-1, count, outputs)
        rows = []
        for number, (ridge, sum_ridge) in enumerate(pairs):
            row = dict.fromkeys(COLUMNS, np.nan) | {"n": self.n, "ridge": ridge}
            row |= self._training(sum_ridge, duals[:, number], solved.trace[number], solved.trace_square[number])
            if scores is not None:
                offset = self.targets.mean(dim=0) if self.problem.intercept else 0.0
                row |= self.problem.test_columns(scores[:, number] + offset)
            rows.append(row)
        return rows

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


def _reflector(n: int, like: Tensor) -> Float64[Tensor, " n"]:
    """Unit v with (I − 2vvᵀ)·1/√n = −e₁."""
    vector = like.new_full((n,), n**-0.5)
    vector[0] += 1
    return vector / vector.norm()


def _reflected(matrix: Float64[Tensor, "n c"], vector: Float64[Tensor, " n"]) -> Float64[Tensor, "n c"]:
    return matrix - 2 * vector[:, None] * (vector @ matrix)
