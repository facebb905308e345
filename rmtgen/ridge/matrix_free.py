"""The ridge path of a Gram matrix that is only multiplied with, read tile by tile: estimates, each
with its error.

One block Krylov space holds the solutions for the targets and for random signs z at every ridge. Of
the signs Hutchinson's estimates are made, tr G ≈ mean zᵀGz and tr G² ≈ mean ‖Gz‖², whose spread
over the z is their standard error. A residual r of a solution x bounds what the space leaves out:
‖GY − x‖ ≤ ‖r‖/δ, and zᵀGz is even that squared away.

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

TOLERANCE = 1e-4
"""Bound on the relative error of GY and of Gz at which the space is large enough."""
GROWTH = 1.2
"""Dimensions between two looks at the residual."""
SHARE = 0.7
"""Of the memory budget, what the basis and T may take; the rest are blocks, a factor of T and a
tile."""


def solve_matrix_free(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` and `ERROR_COLUMNS` a (size, ridge), sizes outer.

    Raises:
        UsageError: A ridge of 0.
        NumericalError: K is seen to be indefinite.

    Warns:
        RmtgenWarning: The memory did not allow a space large enough for the smallest ridge.
    """
    if not grid.values.all():
        raise UsageError(
            "solver='matrix_free' needs ridges > 0, got 0. Leave it out, or take another solver."
        )
    rows = []
    for n in sizes:
        rows += _Estimate(problem, n).rows(grid.at(n))
    return rows


def cost_matrix_free(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """Its memory is its budget; its time depends on the spectrum, and is not to be known before."""
    return Cost(np.inf, problem.kernel.budget)


class _Estimate:
    """One size: the space that its targets and signs span."""

    def __init__(self, problem: Problem, n: int):
        self.problem, self.n = problem, n
        kernel, targets = problem.kernel, problem.targets[:n]
        generator = torch.Generator().manual_seed(kernel.seed)
        signs = torch.randint(0, 2, (n, kernel.probes), generator=generator).to(targets) * 2 - 1
        self.right = self._centred(torch.cat([targets, signs], dim=1))
        self.outputs = targets.shape[1]
        self.means = kernel.times(targets.new_ones(n, 1))[:, 0] / n if problem.intercept else None
        room = int(kernel.budget * SHARE / 8)
        most = min(
            n - problem.intercept, int((n**2 / 4 + room) ** 0.5 - n / 2)
        )  # k n + k² numbers fit
        self.space = Krylov(lambda columns: self._centred(kernel.times(columns)), self.right, most)

    def _centred(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        return columns - columns.mean(dim=0) if self.problem.intercept else columns

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict]:
        """Every column at every ridge."""
        self._require_semidefinite()
        self._reach(min(sum_ridge for _, sum_ridge in pairs))
        self._require_semidefinite()
        basis = self.space.basis[: self.space.count]
        scores = self.problem.kernel.test_times(basis.mT) if self.problem.tests else None
        return [self._row(ridge, sum_ridge, basis, scores) for ridge, sum_ridge in pairs]

    def _require_semidefinite(self) -> None:
        """Of K as far as the space shows it."""
        matrix = self.space.matrix()
        tolerance = (
            rounding(self.n, self.problem.kernel.single) * torch.linalg.matrix_norm(matrix).item()
        )
        if torch.linalg.cholesky_ex(self.space.matrix(tolerance)).info.item():
            values = torch.linalg.eigvalsh(matrix)
            raise indefinite(values[0].item(), values[-1].item(), self.n, tolerance)

    def _reach(self, sum_ridge: float) -> None:
        """Grow the space until the smallest ridge is solved."""
        look = self.space.count
        while (error := self._error(sum_ridge)) > TOLERANCE:
            look = GROWTH * look
            while self.space.count < look:
                if not self.space.grow():
                    break
            else:
                continue
            error = self._error(sum_ridge)
            break
        if error > TOLERANCE:
            warn(
                f"the relative error of (K + δI)⁻¹Y should be <= {TOLERANCE:g}, got up to"
                f" {error:.2g} at δ = {sum_ridge:.3g} with {self.space.count} of {self.n}"
                " dimensions, all that the memory allows. Raise memory, or trust larger ridges."
            )

    def _error(self, sum_ridge: float) -> float:
        """The largest ‖r‖/(δ‖x‖), of the targets together and of any sign vector."""
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
        gcv, kappa_prime = n * energy / trace**2, n * trace_square / trace**2
        spread = _standard_error(traces) / trace
        power = self.right[:, :c].square().sum().sqrt().item()
        row = dict.fromkeys(COLUMNS, np.nan) | {
            "n": n,
            "ridge": ridge,
            "train_risk": sum_ridge**2 * energy / n,
            "gcv": gcv,
            "gcv_se": 2 * gcv * spread,
            "df": n - sum_ridge * trace,
            "df_se": sum_ridge * trace * spread,
            "kappa": 1 / trace,
            "kappa_se": spread / trace,
            "kappa_prime": kappa_prime,
            "kappa_prime_se": (
                kappa_prime * _standard_error(squares / trace_square - 2 * traces / trace)
            ),
            "norm2": (start * solution)[:, :c].sum().item() - sum_ridge * energy,
            "residual": residuals[:c].norm().item() / power if power else 0.0,
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
