"""Solver `eigen`: every ridge of a size from one eigensolve, and every column at every ridge.

After the eigensolve a ridge costs one product n×r×c. The formulas, and the matrix G̃ = (s_min + δ)G
for which they are evaluated, are in `spectral`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rmtgen.linalg.modes import Modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.interval import changes_, pair_cost, pair_covariance_, paired
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.spectral import resolvent_scale, spectral_columns

ROWS_AT_ONCE = 4096
"""Number of samples whose leverages are computed at a time."""
LEFT_OUT_AT_ONCE = 1024
"""Number of samples whose leave-one-out residuals are: they stay in a cache."""
EIGENSOLVE_COST = 12
"""Cost of an eigensolve with vectors, in n³ operations of a matrix product: half of its reduction
runs at the speed of memory."""
DECOMPOSITION_COST = 15
"""Cost of a singular value decomposition with vectors of a square matrix, likewise."""


def solve_eigen(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` per (size, ridge), sizes outer.

    Rows of a float32 Gram matrix also have `rounding`, the δ at or below which they are uncertain.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix, or a failed eigensolve.
    """
    rows = []
    for n in sizes:
        rows += _solve_size(problem, n, grid.at(n))
    return rows


def cost_eigen(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """An eigensolve per size, or a QR factorisation and a singular value decomposition."""
    tests, outputs, width = problem.tests, problem.targets.shape[1], problem.width
    flops, largest = 0.0, max(sizes)
    for n in sizes:
        rank = n if width is None else min(n, width)
        solve = (
            EIGENSOLVE_COST * n**3
            if width is None
            else 4.0 * n * width * rank + DECOMPOSITION_COST * rank**3
        )
        project = 2.0 * tests * (width or n) * rank
        flops += (
            solve
            + project
            + len(grid.values) * 2.0 * rank * ((n + tests) * outputs + n * problem.loo)
            + len(grid.values) * problem.loo * pair_cost(n, rank)
        )
    held = (
        5.0 * largest * min(largest, width) if width else 6.0 * largest**2 + 4.0 * tests * largest
    )
    return Cost(flops, int(8 * held))


def _solve_size(problem: Problem, n: int, ridges: list[tuple[float, float]]) -> list[dict]:
    """The rows of one size; its modes are gone when those of the next size are computed."""
    fits = Fits(problem, problem.kernel.modes(n, problem.intercept))
    rows = [fits.at(sum_ridge).row(ridge, sum_ridge) for ridge, sum_ridge in ridges]
    if problem.kernel.single:
        rows = [row | {"rounding": fits.modes.tolerance} for row in rows]
    return rows


class Fits:
    """The first n samples of a problem at every sum ridge.

    Attributes:
        modes: Their modes.
    """

    def __init__(self, problem: Problem, modes: Modes):
        self._problem, self._fits = problem, dict[bool, Fit]()
        self.modes = modes

    def at(self, sum_ridge: float) -> "Fit":
        """What all ridges share, with the modes that count at this one."""
        modes = self.modes.at(sum_ridge)
        truncated = modes is self.modes
        if truncated not in self._fits:
            self._fits[truncated] = Fit.of(self._problem, modes)
        return self._fits[truncated]


def leave_one_out(
    diagonal: Float[Tensor, "n 1"],
    sum_ridge: float,
    spanned: Float[Tensor, "n c"],
    null_part: Float[Tensor, "n c"],
    null_leverage: Float[Tensor, " n"],
) -> Float[Tensor, "n c"]:
    """Leave-one-out residuals (GY)_i/G_ii, from δG, which has the same ratios.

    Where a sample has no null leverage, δG leaves 0/0 at δ = 0. The limit is (K⁺Y)_i/(K⁺)_ii.

    Args:
        diagonal: That of U diag(w) Uᵀ.
        sum_ridge: δ.
        spanned: U(wC), w = 1/(s + δ), C and the null part as `Modes.split` has them.
        null_part: The null part of Y.
        null_leverage: That of the modes.
    """
    null = null_leverage[:, None]
    shrunk = torch.add(null_part, spanned, alpha=sum_ridge).div_(sum_ridge * diagonal + null)
    if (null_leverage > 0).all():
        return shrunk
    return torch.where(null > 0, shrunk, spanned / diagonal)


def leverages(modes: Modes, weights: Float64[Tensor, "r l"]) -> Float64[Tensor, "n l"]:
    """Diagonals of U diag(w) Uᵀ, one column for each w."""
    weights = weights.to(modes.vectors.dtype)
    parts = modes.vectors.split(ROWS_AT_ONCE)
    return torch.cat([part.square() @ weights for part in parts]).double()


@dataclass(frozen=True, eq=False)
class Fit:
    """One size, decomposed: what all ridges share."""

    problem: Problem
    modes: Modes
    spectrum: Spectrum
    coefficients: Float64[Tensor, "r c"]
    null_part: Float64[Tensor, "n c"]
    null_leverage: Float64[Tensor, " n"]
    scores: tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]] | None

    @classmethod
    def of(cls, problem: Problem, modes: Modes) -> "Fit":
        """The fit of a problem on these modes of its first samples."""
        targets = problem.targets[: modes.n]
        coefficients, null_part = modes.split(targets)
        scores = (
            None if problem.test_targets is None else problem.kernel.test_scores(modes, null_part)
        )
        return cls(
            problem,
            modes,
            Spectrum.of_powers(modes, coefficients, null_part.square().sum().item()),
            coefficients,
            null_part,
            modes.null_leverage(),
            scores,
        )

    def row(self, ridge: float, sum_ridge: float) -> dict:
        """Every column at one ridge."""
        problem, factor = self.problem, resolvent_scale(self.spectrum, sum_ridge)
        weights = 1 / (self.modes.values + sum_ridge)
        weighted = weights[:, None] * self.coefficients
        row = (
            dict.fromkeys(COLUMNS, np.nan)
            | spectral_columns(self.spectrum, sum_ridge)
            | {"ridge": ridge}
        )
        if problem.loo or problem.code:
            spanned = self.modes.times(weighted).double()
            dual = factor * spanned + self.null_part  # G̃Y
            residual = dual if self.modes.null_dim else dual * (sum_ridge / factor)  # δGY
            row |= problem.train_errors(residual)
            if problem.loo:
                null = self.null_part, self.null_leverage
                diagonal = leverages(self.modes, weights[:, None])
                left_out = leave_one_out(diagonal, sum_ridge, spanned, *null)
                row |= problem.loo_columns(left_out, self._pair_covariance(factor, weights, dual))
        if self.scores is not None:
            row |= problem.test_columns(self._predictions(sum_ridge, weighted))
        return row

    def diagonals(self, sum_ridges: Float64[np.ndarray, " l"]) -> Float64[Tensor, "n l"]:
        """Diagonals of U diag(w) Uᵀ at some sum ridges, w = 1/(s + δ)."""
        deltas = torch.from_numpy(sum_ridges).to(self.modes.values)
        return leverages(self.modes, 1 / (self.modes.values[:, None] + deltas))

    def left_out(self, sum_ridge: float) -> Float64[Tensor, "n c"]:
        """Leave-one-out residuals at one sum ridge."""
        found = torch.empty_like(self.null_part)
        for place, rows in self.left_out_rows(sum_ridge, self.diagonals(np.array([sum_ridge]))):
            found[place] = rows
        return found

    def left_out_rows(
        self, sum_ridge: float, diagonal: Float64[Tensor, "n 1"]
    ) -> Iterator[tuple[slice, Float64[Tensor, "b c"]]]:
        """Leave-one-out residuals of some samples, and which they are, in turn.

        Args:
            sum_ridge: δ.
            diagonal: That of `diagonals` at δ.
        """
        weighted = self._weighted(sum_ridge).to(self.modes.vectors.dtype)
        for start in range(0, self.modes.n, LEFT_OUT_AT_ONCE):
            place = slice(start, min(start + LEFT_OUT_AT_ONCE, self.modes.n))
            spanned = (self.modes.vectors[place] @ weighted).double()
            null = self.null_part[place], self.null_leverage[place]
            yield place, leave_one_out(diagonal[place], sum_ridge, spanned, *null)

    def changes(self, sum_ridge: float) -> Float64[Tensor, "m m"] | None:
        """`interval.changes_` of the samples that are paired, at one sum ridge."""
        return changes_(*self.pairs(sum_ridge))

    def pairs(self, sum_ridge: float) -> tuple[Float64[Tensor, "m m"], Float64[Tensor, "m c"]]:
        """G̃ and G̃Y of the samples that are paired, at one sum ridge."""
        factor = resolvent_scale(self.spectrum, sum_ridge)
        weights = 1 / (self.modes.values + sum_ridge)
        chosen, vectors, _ = self._paired
        spanned = vectors @ (weights[:, None] * self.coefficients)
        return self._block(factor, weights), factor * spanned + self.null_part[chosen]

    def dual(self, sum_ridge: float) -> Float64[Tensor, "n c"]:
        """G̃Y at one sum ridge."""
        factor = resolvent_scale(self.spectrum, sum_ridge)
        weights = factor / (self.modes.values + sum_ridge)
        return self.modes.times(weights[:, None] * self.coefficients) + self.null_part

    def resolvent_diagonal(self, sum_ridge: float) -> Float64[Tensor, " n"]:
        """The diagonal of G̃ at one sum ridge."""
        factor = resolvent_scale(self.spectrum, sum_ridge)
        return factor * self.diagonals(np.array([sum_ridge]))[:, 0] + self.null_leverage

    def resolvent_rows(self, sum_ridge: float, rows: Int64[Tensor, " b"]) -> Float64[Tensor, "b n"]:
        """Some rows of G̃ at one sum ridge, in the precision of the modes."""
        modes, vectors = self.modes, self.modes.vectors[rows]
        weights = resolvent_scale(self.spectrum, sum_ridge) / (modes.values + sum_ridge)
        found = ((vectors * weights.to(vectors)) @ modes.vectors.mT).double()
        if not modes.null_dim:
            return found
        null = (vectors @ modes.vectors.mT).double().neg_().sub_(modes.intercept / modes.n)
        null[torch.arange(len(rows)), rows] = self.null_leverage[rows]
        return found.add_(null)

    def predictions(self, sum_ridge: float) -> Float64[Tensor, "m c"]:
        """Predictions on the test set at one sum ridge."""
        weights = 1 / (self.modes.values + sum_ridge)
        return self._predictions(sum_ridge, weights[:, None] * self.coefficients)

    def _weighted(self, sum_ridge: float) -> Float64[Tensor, "r c"]:
        """wC, w = 1/(s + δ)."""
        return self.coefficients / (self.modes.values + sum_ridge)[:, None]

    @cached_property
    def _paired(self) -> tuple[Int64[Tensor, " m"], Float64[Tensor, "m r"], Tensor]:
        """The samples whose pairs are looked at, with their rows of U and their block of P₀."""
        modes = self.modes
        chosen = torch.from_numpy(paired(modes.n)).to(modes.vectors.device)
        vectors = modes.vectors[chosen].double()
        if not modes.null_dim:
            return chosen, vectors, vectors.new_zeros(())
        null_block = (vectors @ vectors.mT).neg_().sub_(modes.intercept / modes.n)
        null_block.diagonal().copy_(self.null_leverage[chosen])
        return chosen, vectors, null_block

    def _pair_covariance(
        self, factor: float, weights: Float64[Tensor, " r"], dual: Float64[Tensor, "n c"]
    ) -> float:
        """That of G̃, of which `dual` is the product with Y."""
        return pair_covariance_(self._block(factor, weights), dual[self._paired[0]])

    def _block(self, factor: float, weights: Float64[Tensor, " r"]) -> Float64[Tensor, "m m"]:
        """G̃ of the samples that are paired."""
        _, vectors, null_block = self._paired
        return (vectors * (factor * weights)) @ vectors.mT + null_block

    def _predictions(self, sum_ridge: float, weighted: Tensor) -> Float64[Tensor, "m c"]:
        scores, null_scores = self.scores
        predictions = scores @ weighted
        if sum_ridge > 0:
            predictions += null_scores / sum_ridge
        if self.modes.intercept:
            predictions += self.problem.targets[: self.modes.n].mean(dim=0)
        return predictions
