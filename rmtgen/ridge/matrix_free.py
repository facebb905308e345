"""Solver `matrix_free`: estimates from products with a Gram matrix that is read tile by tile.

The solutions for the targets and for random signs z at every ridge come from one Krylov space
(`solutions`). From the signs come Hutchinson's estimates tr G ≈ mean zᵀGz and tr G² ≈ mean ‖Gz‖²;
the spread over the z gives their standard error. The residual r of a solution x bounds its error,
‖GY − x‖ ≤ ‖r‖/δ, and the error of zᵀGz by the square of that.

Leave-one-out needs G between some samples, the solutions for their unit vectors (`looked`). They
come from a space of their own, which is left before that of the targets begins.

An intercept centres both sides of every product: P is the pseudo-inverse of HKH + δH.
"""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.errors import UsageError
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.looked import guessed_diagonal, loo_columns, looked_at
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.solutions import Measure, Solutions, Solved, block_bytes, largest_space
from rmtgen.ridge.traces import dual_columns


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
    flops, blocks = 0.0, 0
    for n in sizes:
        row = 4.0 * problem.width if problem.width else 2.0 * n
        for width in (columns, *([len(looked_at(n, columns))] if problem.loo else [])):
            dimension = largest_space(n, width, kernel.budget, problem.intercept)
            flops += n * dimension * (row + 4.0 * dimension)
            flops += len(grid.values) * dimension**3 / 3
            blocks = max(blocks, block_bytes(n, width))
        flops += len(grid.values) * 2.0 * dimension * columns * problem.tests
    return Cost(flops, max(kernel.budget, blocks))


class _Estimate:
    """One size: its targets and signs."""

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

    def _times(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        """HKH times `columns`, also where rounding has left some of 1 in them."""
        return self._centred(self.problem.kernel.multiply(self._centred(columns)))

    def _centred(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        return columns - columns.mean(dim=0) if self.problem.intercept else columns

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict]:
        """Every column at every ridge."""
        problem, sum_ridges = self.problem, [sum_ridge for _, sum_ridge in pairs]
        chosen = looked_at(self.n, self.right.shape[1]).to(self.right.device)
        inverses = self._between(chosen, sum_ridges) if problem.loo else []
        self.solutions = self._solutions(self.right, self._error, "(K + δI)⁻¹Y", sum_ridges)
        rows = []
        for number, (ridge, sum_ridge) in enumerate(pairs):
            solved = self.solutions.at(sum_ridge)
            row = self._row(ridge, sum_ridge, solved)
            if problem.loo:
                inverse, dual = inverses[number], solved.full(self.outputs)
                shift = sum_ridge / (1 - problem.intercept / self.n)
                guess = guessed_diagonal(self._diagonal, chosen, inverse.diagonal(), shift)
                row |= loo_columns(problem, dual, guess, chosen, inverse)
            rows.append(row)
        return rows

    @cached_property
    def _diagonal(self) -> Float64[Tensor, " n"]:
        """K_ii, or with an intercept those of HKH."""
        diagonal = self.problem.kernel.diagonal()[: self.n]
        return diagonal if self.means is None else diagonal - 2 * self.means + self.means.mean()

    def _solutions(
        self, right: Float64[Tensor, "n b"], measure: Measure, name: str, sum_ridges: list[float]
    ) -> Solutions:
        """Those for some right-hand sides, which `Solutions` describes."""
        kernel = self.problem.kernel
        most = largest_space(self.n, right.shape[1], kernel.budget, self.problem.intercept)
        solutions = Solutions(self._times, right, most, measure, name)
        return solutions.reach(min(sum_ridges), single=kernel.single)

    def _between(
        self, chosen: Int64[Tensor, " m"], sum_ridges: list[float]
    ) -> list[Float64[Tensor, "m m"]]:
        """G between some samples, at every sum ridge."""
        units = self.right.new_zeros(self.n, len(chosen))
        units[chosen, torch.arange(len(chosen), device=chosen.device)] = 1
        name = "(K + δI)⁻¹ between samples"
        solutions = self._solutions(self._centred(units), diagonal_error, name, sum_ridges)
        return [solutions.at(sum_ridge).between() for sum_ridge in sum_ridges]

    def _error(self, right: Tensor, solution: Tensor, residuals: Tensor) -> float:
        """The largest ‖r‖/‖x‖, of all targets together and of each sign vector."""
        norms = torch.linalg.vector_norm(solution, dim=0)
        targets = slice(self.outputs)
        whole = residuals[targets].norm() / norms[targets].norm().clamp_min(
            torch.finfo(norms.dtype).tiny
        )
        return max(whole.item(), (residuals / norms)[self.outputs :].max().item())

    @cached_property
    def _scores(self) -> Float64[Tensor, "m k"]:
        """Predictions on the test set of the basis of the space."""
        space = self.solutions.space
        return self.problem.kernel.multiply_tests(space.basis[: space.dimension].mT)

    def _row(self, ridge: float, sum_ridge: float, solved: Solved) -> dict:
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
            dual = solved.full(c)
            row |= problem.train_errors(sum_ridge * dual)
            if problem.tests:
                row |= problem.test_columns(self._predictions(solved, dual))
        return row

    def _predictions(self, solved: Solved, dual: Float64[Tensor, "n c"]) -> Float64[Tensor, "m c"]:
        problem = self.problem
        if solved.basis is None:
            scores = problem.kernel.multiply_tests(dual)
        else:
            scores = self._scores @ solved.solution[:, : self.outputs]
        if not problem.intercept:
            return scores
        return scores + (problem.targets[: self.n].mean(dim=0) - self.means @ dual)


def diagonal_error(right: Tensor, solution: Tensor, residuals: Tensor) -> float:
    """The largest ‖r‖²/G_ii, over δ a bound on the relative error of G_ii."""
    diagonal = (right * solution).sum(dim=0).clamp_min(torch.finfo(solution.dtype).tiny)
    return (residuals.square() / diagonal).max().item()


def _standard_error(values: Float64[Tensor, " q"]) -> float:
    return values.std().item() / len(values) ** 0.5
