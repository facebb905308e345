"""Solver `banded`: every ridge of a size from one reduction of K to a band, without eigenvectors.

With K = Q B Qᵀ a ridge costs a solve with B + δI for QᵀY and the traces of its inverse and of the
square of that; one application of Q to all ridges together gives the residuals. For leave-one-out
Q takes the place of its reflectors, and G_ii = qᵢᵀ(B + δI)⁻¹qᵢ, qᵢ the rows of Q. All of this
happens in one matrix n×n.

An intercept removes the direction 1 exactly (`centring`).
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.linalg.band import Band, width_on
from rmtgen.linalg.centring import reduced, reduced_matrix_, restored, restored_rows
from rmtgen.linalg.modes import rounding
from rmtgen.linalg.shifted import Shifted
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.definite import require_semidefinite, resolved, well_conditioned
from rmtgen.ridge.interval import PAIRED, pair_bytes, pair_cost, pair_covariance_, paired
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.traces import digits_kept, dual_columns

REDUCTION_COST = 2.3
"""Cost of a reduction to a band, in n³ operations of a matrix product: 4/3 n³ at little more than
half the speed."""
FRAME_COST = 1.8
"""Cost of forming Q, likewise."""
SHIFT_COST = 80
"""Cost of a ridge, in n b² operations of a matrix product, b the width of the band."""
LEVERAGE_COST = 6
"""Cost of diag G at a ridge, in n² b operations of a matrix product."""
ROWS, CUDA_ROWS = 256, 4096
"""Number of samples whose leverages are computed at a time: on a CPU what a cache holds."""
TEST_ROWS = 1024
"""Number of test samples whose predictions are computed at a time."""


def solve_banded(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer.

    A row is None where K + δI is near-singular, and where the differences of df or norm2 leave too
    few digits. All rows of a size are None where δ is below the rounding of K at one of them: that
    takes an eigensolve, which serves all.

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
    width = width_on(problem.kernel.device)
    for n in sizes:
        columns = outputs * (1 + ridges)
        flops += REDUCTION_COST * n**3 + SHIFT_COST * ridges * n * width**2 + 4.0 * n**2 * columns
        if problem.loo:
            flops += FRAME_COST * n**3 + LEVERAGE_COST * ridges * n**2 * width
            flops += ridges * pair_cost(n, n)
        flops += 2.0 * ridges * outputs * n * tests + 2.0 * n**2 * (problem.width or 0)
    n = max(sizes)
    held = 2 * tests + 4 * outputs * ridges + 3 * width * ridges + 2048
    pairs = problem.loo * pair_bytes(n, n + ridges * (min(n, PAIRED) + 2 * width))
    return Cost(flops, int(8 * (n**2 + n * held) + pairs))


def _solve_size(problem: Problem, n: int, grid: Grid) -> list[dict | None]:
    pairs = grid.at(n)
    matrix = problem.kernel.symmetric(n)
    norm = torch.linalg.matrix_norm(matrix).item()
    if not all(resolved(problem.kernel, norm, sum_ridge) for _, sum_ridge in pairs):
        return [None] * len(pairs)
    fit = _Fit(problem, matrix, norm)
    del matrix
    if not fit.semidefinite():
        require_semidefinite(problem, n)
    shifted = fit.band.shifted(fit.targets.new_tensor([sum_ridge for _, sum_ridge in pairs]))
    rows = fit.rows(pairs, shifted)
    return [
        row
        if definite
        and well_conditioned(problem.kernel, fit.norm, sum_ridge, trace)
        and digits_kept(row, sum_ridge, fit.largest)
        else None
        for row, definite, trace, (_, sum_ridge) in zip(
            rows, shifted.positive.tolist(), shifted.trace.tolist(), pairs, strict=True
        )
    ]


class _Fit:
    """One size, reduced: what all ridges share."""

    def __init__(self, problem: Problem, matrix: Float64[Tensor, "n n"], norm: float):
        self.problem, self.n, self.norm = problem, len(matrix), norm
        self.targets = targets = problem.targets[: self.n]
        self.largest = matrix.diagonal().max().item()
        self.means = matrix.mean(dim=0) if problem.intercept else None
        if problem.intercept:
            targets, matrix = reduced(targets), reduced_matrix_(matrix)
        self.band = Band.of_(matrix, width_on(matrix.device))
        self.coordinates = self.band.rotated(targets)

    def semidefinite(self) -> bool:
        """Whether K is positive definite with its rounding added to the diagonal."""
        tolerance = rounding(self.n, self.problem.kernel.single) * self.norm
        return self.band.shifted(self.targets.new_tensor([tolerance])).positive.item()

    def rows(self, pairs: list[tuple[float, float]], shifted: Shifted) -> list[dict]:
        """Every column at every ridge; the band is used up."""
        duals = self._duals(shifted)
        scores = self._scores(duals) if self.problem.tests else None
        if self.problem.loo:
            leverages, inverses, chosen = self._inverse(shifted)
        rows = []
        for number, (ridge, sum_ridge) in enumerate(pairs):
            dual = duals[:, number]
            row = dict.fromkeys(COLUMNS, np.nan) | {"ridge": ridge}
            row |= self._training(
                sum_ridge, dual, shifted.trace[number], shifted.trace_square[number]
            )
            if self.problem.loo:
                covariance = pair_covariance_(inverses[number], dual[chosen])
                row |= self.problem.loo_columns(dual / leverages[number, :, None], covariance)
            if scores is not None:
                row |= self.problem.test_columns(scores[:, number])
            rows.append(row)
        return rows

    def _duals(self, shifted: Shifted) -> Float64[Tensor, "n l c"]:
        """GY."""
        flat = shifted.solve(self.coordinates).permute(1, 0, 2).flatten(1)
        duals = self.band.restored(flat)
        duals = restored(duals) if self.problem.intercept else duals
        return duals.reshape(self.n, len(shifted.trace), -1)

    def _inverse(
        self, shifted: Shifted
    ) -> tuple[Float64[Tensor, "l n"], Float64[Tensor, "l m m"], Int64[Tensor, " m"]]:
        """The diagonal of G, its block of the samples whose pairs are looked at, and these."""
        frame, size = self.band.frame_(), CUDA_ROWS if self.targets.is_cuda else ROWS
        blocks = restored_rows(frame, size) if self.problem.intercept else frame.split(size)
        chosen = torch.from_numpy(paired(self.n)).to(frame.device)
        rows, forms, low = [], [], 0
        for block in blocks:
            forms.append(shifted.quadratic_forms(block))
            rows.append(block[chosen[(chosen >= low) & (chosen < low + len(block))] - low])
            low += len(block)
        return torch.cat(forms, dim=1), shifted.grams(torch.cat(rows)), chosen

    def _scores(self, duals: Float64[Tensor, "n l c"]) -> Float64[Tensor, "m l c"]:
        """Predictions on the test set.

        With an intercept the duals of a ridge sum to 0, and the mean of the fit is that of Y.
        """
        tests, flat = self.problem.kernel.test_block(self.n).mT, duals.flatten(1)
        if self.problem.intercept:
            offset = self.targets.mean(dim=0).repeat(duals.shape[1])
            parts = [(rows - self.means) @ flat + offset for rows in tests.split(TEST_ROWS)]
        else:
            parts = [rows @ flat for rows in tests.split(TEST_ROWS)]
        return torch.cat(parts).reshape(-1, *duals.shape[1:])

    def _training(
        self, sum_ridge: float, dual: Float64[Tensor, "n c"], trace: Tensor, trace_square: Tensor
    ) -> dict[str, float]:
        sums = dual.square().sum(), trace, trace_square, (dual * self.targets).sum()
        return {
            **self.problem.train_columns(sum_ridge * dual),
            **dual_columns(self.n, sum_ridge, *(value.item() for value in sums)),
        }
