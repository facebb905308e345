"""Solver `matrix_free`: estimates from products with a Gram matrix that is read tile by tile.

One block Krylov space holds the solutions for the targets and for random signs z at every ridge.
From the signs come Hutchinson's estimates tr G ≈ mean zᵀGz and tr G² ≈ mean ‖Gz‖²; the spread over
the z gives their standard error. The residual r of a solution x bounds the error of the space,
‖GY − x‖ ≤ ‖r‖/δ, and the error of zᵀGz by the square of that.

An intercept centres both sides of every product: P is the pseudo-inverse of HKH + δH.
"""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import UsageError, warn
from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.modes import indefinite, rounding
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.traces import dual_columns

TOLERANCE = 1e-4
"""Bound on the relative error of GY and of Gz at which the space is large enough."""
GROWTH = 1.2
"""Factor by which the dimension grows between two checks of the residual."""
BASIS_SHARE = 0.7
"""Share of the memory budget for the basis and T; the rest holds blocks, a factor of T, a tile."""


def solve_matrix_free(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` and `ERROR_COLUMNS` per (size, ridge), sizes outer.

    Raises:
        UsageError: A ridge of 0.
        NumericalError: K is indefinite on the space.

    Warns:
        RmtgenWarning: The memory does not allow a space large enough for the smallest ridge.
    """
    if not grid.values.all():
        raise UsageError(
            "solver='matrix_free' needs ridges > 0, got 0. Leave it out, or choose another solver."
        )
    rows = []
    for n in sizes:
        rows += _Estimate(problem, n).rows(grid.at(n))
    return rows


def cost_matrix_free(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """Spaces as large as the memory allows; how large they must be, the spectrum decides.

    The memory is the budget.
    """
    kernel, columns = problem.kernel, problem.targets.shape[1] + problem.kernel.probes
    flops = 0.0
    for n in sizes:
        dimension = _room(n, kernel.budget, problem.intercept)
        row = 4.0 * problem.width if problem.width else 2.0 * n
        flops += n * dimension * (row + 4.0 * dimension)
        flops += len(grid.values) * (dimension**3 / 3 + 2.0 * dimension * columns * problem.tests)
    return Cost(flops, kernel.budget)


def _room(n: int, budget: float, intercept: bool) -> int:
    """Largest dimension k of a space for which k n + k² numbers fit."""
    room = int(budget * BASIS_SHARE / 8)
    return min(n - intercept, int((n**2 / 4 + room) ** 0.5 - n / 2))


class _Estimate:
    """One size: the space of its targets and signs."""

    def __init__(self, problem: Problem, n: int):
        self.problem, self.n = problem, n
        kernel, targets = problem.kernel, problem.targets[:n]
        generator = torch.Generator().manual_seed(kernel.seed)
        signs = torch.randint(0, 2, (n, kernel.probes), generator=generator).to(targets) * 2 - 1
        self.right = self._centred(torch.cat([targets, signs], dim=1))
        self.outputs = targets.shape[1]
        self.means = (
            kernel.multiply(targets.new_ones(n, 1))[:, 0] / n if problem.intercept else None
        )
        most = _room(n, kernel.budget, problem.intercept)
        self.space = Krylov(
            lambda columns: self._centred(kernel.multiply(columns)), self.right, most
        )

    def _centred(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        return columns - columns.mean(dim=0) if self.problem.intercept else columns

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict]:
        """Every column at every ridge."""
        self._require_semidefinite()
        self._reach(min(sum_ridge for _, sum_ridge in pairs))
        self._require_semidefinite()
        basis = self.space.basis[: self.space.dimension]
        scores = self.problem.kernel.multiply_tests(basis.mT) if self.problem.tests else None
        return [self._row(ridge, sum_ridge, basis, scores) for ridge, sum_ridge in pairs]

    def _require_semidefinite(self) -> None:
        """Refuse a K that is indefinite on the space."""
        matrix = self.space.matrix()
        tolerance = (
            rounding(self.n, self.problem.kernel.single) * torch.linalg.matrix_norm(matrix).item()
        )
        if torch.linalg.cholesky_ex(self.space.matrix(tolerance)).info.item():
            values = torch.linalg.eigvalsh(matrix)
            raise indefinite(values[0].item(), values[-1].item(), self.n, tolerance)

    def _reach(self, sum_ridge: float) -> None:
        """Grow the space until the smallest ridge is solved, or the memory is full."""
        look = self.space.dimension
        while (error := self._error(sum_ridge)) > TOLERANCE:
            look = GROWTH * look
            while self.space.dimension < look:
                if not self.space.grow():
                    break
            else:
                continue
            error = self._error(sum_ridge)
            break
        if error > TOLERANCE:
            warn(
                f"the relative error of (K + δI)⁻¹Y should be <= {TOLERANCE:g}, got up to"
                f" {error:.2g} at δ = {sum_ridge:.3g} with {self.space.dimension} of {self.n}"
                " dimensions, all that the memory allows. Raise memory, or trust larger ridges."
            )

    def _error(self, sum_ridge: float) -> float:
        """The largest ‖r‖/(δ‖x‖), of all targets together and of each sign vector."""
        solution, residuals = self.space.solve(sum_ridge)
        norms = torch.linalg.vector_norm(solution, dim=0)
        targets = slice(self.outputs)
        whole = residuals[targets].norm() / norms[targets].norm().clamp_min(
            torch.finfo(norms.dtype).tiny
        )
        return max(whole.item(), (residuals / norms)[self.outputs :].max().item()) / sum_ridge

    def _row(self, ridge: float, sum_ridge: float, basis: Tensor, scores: Tensor | None) -> dict:
        problem, n, c = self.problem, self.n, self.outputs
        solution, residuals = self.space.solve(sum_ridge)
        energy = solution[:, :c].square().sum().item()
        start = solution.new_zeros(solution.shape)
        start[: len(self.space.start)] = self.space.start
        traces, squares = (start * solution)[:, c:].sum(dim=0), solution[:, c:].square().sum(dim=0)
        trace, trace_square = traces.mean().item(), squares.mean().item()
        overlap = (start * solution)[:, :c].sum().item()
        power = self.right[:, :c].square().sum().sqrt().item()
        row = dict.fromkeys(COLUMNS, np.nan) | {
            "ridge": ridge,
            "train_risk": sum_ridge**2 * energy / n,
            **dual_columns(n, sum_ridge, energy, trace, trace_square, overlap),
            "residual": residuals[:c].norm().item() / power if power else 0.0,
        }
        spread = _standard_error(traces) / trace
        both = _standard_error(squares / trace_square - 2 * traces / trace)
        row |= {
            "gcv_se": 2 * row["gcv"] * spread,
            "df_se": sum_ridge * trace * spread,
            "kappa_se": row["kappa"] * spread,
            "kappa_prime_se": row["kappa_prime"] * both,
        }
        if problem.code or problem.tests:
            dual = basis.mT @ solution[:, :c]
            row |= problem.train_errors(sum_ridge * dual)
        if scores is not None:
            offset = (
                problem.targets[:n].mean(dim=0) - self.means @ dual if problem.intercept else 0.0
            )
            row |= problem.test_columns(scores @ solution[:, :c] + offset)
        return row


def _standard_error(values: Float64[Tensor, " q"]) -> float:
    return values.std().item() / len(values) ** 0.5
