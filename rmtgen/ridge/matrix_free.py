"""Solver `matrix_free`: estimates from products with a Gram matrix that is read tile by tile.

One block Krylov space holds the solutions for the targets and for random signs z at every ridge.
From the signs come Hutchinson's estimates tr G ≈ mean zᵀGz and tr G² ≈ mean ‖Gz‖²; the spread over
the z gives their standard error. The residual r of a solution x bounds its error,
‖GY − x‖ ≤ ‖r‖/δ, and the error of zᵀGz by the square of that.

Where the memory ends before the space is large enough for a ridge, conjugate gradients go on from
its solution there, preconditioned by the Nyström approximation that the space is a sketch for
(`linalg.nystrom`). Its rank is what the memory allows.

An intercept centres both sides of every product: P is the pseudo-inverse of HKH + δH.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import UsageError, warn
from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.modes import indefinite, rounding
from rmtgen.linalg.nystrom import Nystrom, conjugate_gradients
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.traces import dual_columns

TOLERANCE = 1e-4
"""Bound on the relative error of GY and of Gz at which the space is large enough."""
GROWTH = 1.2
"""Factor by which the dimension grows between two checks of the residual."""
BASIS_SHARE = 0.7
"""Share of the memory budget for the space and blocks; the rest holds products and a tile."""
BLOCKS = 8
"""Number of matrices of all targets and signs that conjugate gradients hold."""
SQUARES = 6
"""Number of matrices k×k: T, a factor of it, and what its decomposition takes."""
MOST_STEPS = 300
"""Largest number of their iterations, each of which reads the matrix once."""


def solve_matrix_free(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` and `ERROR_COLUMNS` per (size, ridge), sizes outer.

    Raises:
        UsageError: A ridge of 0.
        NumericalError: K is indefinite on the space.

    Warns:
        RmtgenWarning: The memory does not allow a space large enough for the smallest ridge, and
            conjugate gradients do not converge from there.
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

    The memory is the budget, or what the blocks take that must be held.
    """
    kernel, columns = problem.kernel, problem.targets.shape[1] + problem.kernel.probes
    blocks = int(8 * BLOCKS * max(sizes) * columns / BASIS_SHARE)
    flops = 0.0
    for n in sizes:
        dimension = largest_space(n, columns, kernel.budget, problem.intercept)
        row = 4.0 * problem.width if problem.width else 2.0 * n
        flops += n * dimension * (row + 4.0 * dimension)
        flops += len(grid.values) * (dimension**3 / 3 + 2.0 * dimension * columns * problem.tests)
    return Cost(flops, max(kernel.budget, blocks))


def largest_space(n: int, columns: int, budget: float, intercept: bool) -> int:
    """Largest dimension k of a space that fits beside the blocks: k n + `SQUARES`·k² numbers."""
    room = max(0, int(budget * BASIS_SHARE / 8) - BLOCKS * n * columns) / SQUARES
    half = n / SQUARES / 2
    return min(n - intercept, int((half**2 + room) ** 0.5 - half))


@dataclass(frozen=True, eq=False)
class _Solved:
    """GY and Gz at one sum ridge.

    Attributes:
        solution: Both side by side, or their coordinates in the basis of the space.
        right: [Y z], or its coordinates.
        residuals: Norms of the residuals of each column.
        basis: The basis by rows; None where the solution is given as it is.
    """

    solution: Float64[Tensor, "k b"]
    right: Float64[Tensor, "k b"]
    residuals: Float64[Tensor, " b"]
    basis: Float64[Tensor, "k n"] | None = None

    def dual(self, outputs: int) -> Float64[Tensor, "n c"]:
        """GY."""
        solution = self.solution[:, :outputs]
        return solution if self.basis is None else self.basis.mT @ solution


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
        most = largest_space(n, self.right.shape[1], kernel.budget, problem.intercept)
        self.space = Krylov(self._times, self.right, most)

    def _times(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        return self._centred(self.problem.kernel.multiply(columns))

    def _centred(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        return columns - columns.mean(dim=0) if self.problem.intercept else columns

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict]:
        """Every column at every ridge."""
        self._require_semidefinite()
        self._reach(min(sum_ridge for _, sum_ridge in pairs))
        self._require_semidefinite()
        return [self._row(ridge, sum_ridge, self._solved(sum_ridge)) for ridge, sum_ridge in pairs]

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
        while self._error(*self.space.solve(sum_ridge)) > TOLERANCE * sum_ridge:
            look = GROWTH * look
            while self.space.dimension < look:
                if not self.space.grow():
                    return

    def _error(self, solution: Tensor, residuals: Tensor) -> float:
        """The largest ‖r‖/‖x‖, of all targets together and of each sign vector."""
        norms = torch.linalg.vector_norm(solution, dim=0)
        targets = slice(self.outputs)
        whole = residuals[targets].norm() / norms[targets].norm().clamp_min(
            torch.finfo(norms.dtype).tiny
        )
        return max(whole.item(), (residuals / norms)[self.outputs :].max().item())

    @cached_property
    def _nystrom(self) -> Nystrom:
        return Nystrom(self.space)

    def _solved(self, sum_ridge: float) -> _Solved:
        """The solution in the space, or where it is not close enough the one that goes on there."""
        space, allowed = self.space, TOLERANCE * sum_ridge
        basis = space.basis[: space.dimension]
        solution, residuals = space.solve(sum_ridge)
        if self._error(solution, residuals) <= allowed:
            start = solution.new_zeros(solution.shape)
            start[: len(space.start)] = space.start
            return _Solved(solution, start, residuals, basis)
        solution = basis.mT @ solution
        residuals, steps = conjugate_gradients(
            lambda columns: self._times(columns).add_(columns, alpha=sum_ridge),
            lambda columns: self._nystrom.precondition(columns, sum_ridge),
            self.right,
            solution,
            lambda *found: self._error(*found) <= allowed,
            MOST_STEPS,
        )
        error = self._error(solution, residuals) / sum_ridge
        if error > 2 * TOLERANCE:  # rounding of the recurrence
            warn(
                f"the relative error of (K + δI)⁻¹Y should be <= {TOLERANCE:g}, got up to"
                f" {error:.2g} at δ = {sum_ridge:.3g} after {steps} iterations from"
                f" {space.dimension} of {self.n} dimensions, all that the memory allows. Raise"
                " memory, or trust larger ridges."
            )
        return _Solved(solution, self.right, residuals)

    @cached_property
    def _scores(self) -> Float64[Tensor, "m k"]:
        """Predictions on the test set of the basis of the space."""
        return self.problem.kernel.multiply_tests(self.space.basis[: self.space.dimension].mT)

    def _row(self, ridge: float, sum_ridge: float, solved: _Solved) -> dict:
        problem, n, c = self.problem, self.n, self.outputs
        solution, residuals = solved.solution, solved.residuals
        energy = solution[:, :c].square().sum().item()
        traces = (solved.right * solution)[:, c:].sum(dim=0)
        squares = solution[:, c:].square().sum(dim=0)
        trace, trace_square = traces.mean().item(), squares.mean().item()
        overlap = (solved.right * solution)[:, :c].sum().item()
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
            dual = solved.dual(c)
            row |= problem.train_errors(sum_ridge * dual)
            if problem.tests:
                row |= problem.test_columns(self._predictions(solved, dual))
        return row

    def _predictions(self, solved: _Solved, dual: Float64[Tensor, "n c"]) -> Float64[Tensor, "m c"]:
        problem = self.problem
        if solved.basis is None:
            scores = problem.kernel.multiply_tests(dual)
        else:
            scores = self._scores @ solved.solution[:, : self.outputs]
        if not problem.intercept:
            return scores
        return scores + (problem.targets[: self.n].mean(dim=0) - self.means @ dual)


def _standard_error(values: Float64[Tensor, " q"]) -> float:
    return values.std().item() / len(values) ** 0.5
