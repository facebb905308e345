"""Solver `primal`: more samples than features, from one triangle p×p that grows over the rows.

The QR factorisation of [1 X Y], of which only the triangle is kept, is updated by one block of rows
at a time, so that every prefix of the rows has its triangle on the way. With [1 X Y] = QR the
columns of R replace those of [1 X Y] in every inner product: K and Y reduce to p + c rows, and a
singular value decomposition of p×p serves every ridge. Neither XᵀX nor K is formed, which would
square the condition number.

Only what belongs to single samples, 0-1 training errors and leave-one-out, takes a second pass over
the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.modes import EPS64, factored
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.eigen import DECOMPOSITION_COST
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.ridge.targets import ClassCode

ROWS = 4096
"""Number of rows that are read at a time."""
QR_COST = 3.0
"""Cost of a QR update, in n (p + c)² operations of a matrix product."""
LEAST_RESIDUAL = 1e-6
"""Value of 1 − h, h the leverage of a sample, below which its leave-one-out residual is uncertain:
it is a difference of numbers near 1."""


def solve_primal(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer.

    A row is None for sizes n ≤ p, and where leave-one-out is uncertain.

    Beside the problem a few matrices (p + c)² are held, and blocks of `ROWS` rows.

    Raises:
        NumericalError: A factorisation that failed.
    """
    tall = {n for n in sizes if n - problem.intercept > problem.width}
    rows = {
        n: Reduced.of(problem, n, triangle).rows(grid.at(n))
        for n, triangle in _triangles(problem, tall)
    }
    return [row for n in sizes for row in rows.get(n, [None] * len(grid.values))]


def cost_primal(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """One QR factorisation of the rows of the largest size, and a decomposition of p×p per size.

    Sizes n ≤ p cost what `eigen` costs.
    """
    width, outputs, tests, ridges = (
        problem.width,
        problem.targets.shape[1],
        problem.tests,
        len(grid.values),
    )
    columns = width + outputs
    flops = QR_COST * max(sizes) * columns**2
    for n in sizes:
        rank = min(n, width)
        flops += DECOMPOSITION_COST * rank**3 + 2.0 * ridges * rank * tests * outputs
        if n > width:
            flops += QR_COST * columns**3 + problem.loo * 2.0 * n * width * (width + ridges)
            flops += (problem.loo or problem.code is not None) * 2.0 * n * width * ridges * outputs
        else:
            flops += 4.0 * n * width * rank + 2.0 * ridges * rank * n * (outputs + problem.loo)
    held = (
        8 * columns**2
        + ROWS * (2 * columns + ridges * outputs)
        + tests * (width + outputs)
        + 3 * width * ridges * outputs
    )
    return Cost(flops, 8 * held)


def _triangles(
    problem: Problem, sizes: set[int]
) -> Iterator[tuple[int, Float64[Tensor, "k columns"]]]:
    """R of the first n rows of [1 X Y] for each of the sizes, ascending.

    Without an intercept there is no column 1, and no row of it.
    """
    train, targets = problem.kernel.train, problem.targets
    triangle = targets.new_zeros(0, problem.intercept + problem.width + targets.shape[1])
    low = 0
    for n in sorted(sizes):
        while low < n:
            high = min(low + max(ROWS, 2 * triangle.shape[1]), n)
            ones = targets.new_ones(high - low, problem.intercept)
            block = torch.cat([ones, train[low:high].double(), targets[low:high]], dim=1)
            triangle = torch.linalg.qr(torch.cat([triangle, block]), mode="r").R
            low = high
        yield n, triangle


@dataclass(frozen=True, eq=False)
class Reduced:
    """One size, reduced: X − 1·means = Q U diag(σ) Vᵀ, Q with p + c columns, never formed."""

    problem: Problem
    spectrum: Spectrum
    singular: Float64[Tensor, " r"]
    coefficients: Float64[Tensor, "r c"]
    right: Float64[Tensor, "p r"]
    means: Float64[Tensor, " p"]
    target_means: Float64[Tensor, " c"]

    @classmethod
    def of(cls, problem: Problem, n: int, triangle: Float64[Tensor, "k columns"]) -> "Reduced":
        """The first n samples, from their triangle."""
        width, first = problem.width, problem.intercept
        means = (
            triangle[0, first:] / triangle[0, 0] if first else triangle.new_zeros(triangle.shape[1])
        )
        features, targets = (
            triangle[first:, first : first + width],
            triangle[first:, first + width :],
        )
        left, singular, right, residual, orthogonality = factored(features)
        cutoff = n * EPS64 * max(singular[0].item(), n**0.5 * means[:width].norm().item())
        rank = int((singular > cutoff).sum())
        left, singular, right = left[:, :rank], singular[:rank], right[:, :rank]
        coefficients = left.mT @ targets
        null_energy = (targets - left @ coefficients).square().sum().item()
        arrays = singular.square().cpu().numpy(), coefficients.cpu().numpy()
        spectrum = Spectrum(*arrays, null_energy, n, residual, orthogonality, first)
        return cls(problem, spectrum, singular, coefficients, right, means[:width], means[width:])

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict | None]:
        """Every column at every ridge."""
        problem = self.problem
        rows = [
            dict.fromkeys(COLUMNS, np.nan)
            | spectral_columns(self.spectrum, sum_ridge)
            | {"ridge": ridge}
            for ridge, sum_ridge in pairs
        ]
        shifts = self.singular.new_tensor([sum_ridge for _, sum_ridge in pairs])
        # coefficients in the modes, σ/(σ² + δ)·C, all ridges side by side
        inverses = 1 / (self.singular.square()[:, None] + shifts)
        slopes = (self.singular[:, None] * inverses)[:, :, None] * self.coefficients[:, None]
        slopes = slopes.flatten(1)
        weights = self.right @ slopes
        if problem.tests:
            tests = problem.kernel.test.double() - self.means
            for row, weight in zip(rows, weights.chunk(len(rows), dim=1), strict=True):
                row |= problem.test_columns(tests @ weight + self.target_means)
        if problem.loo:
            margin = self._leave_one_out(rows, slopes, inverses)
            return [
                row if certain else None
                for row, certain in zip(rows, (margin > LEAST_RESIDUAL).tolist(), strict=True)
            ]
        if problem.code:
            self._add_train_errors(rows, weights)
        return rows

    def blocks(self) -> Iterator[tuple[Float64[Tensor, "b p"], Float64[Tensor, "b c"]]]:
        """The rows once more, one block at a time: features without their means, and targets."""
        for low in range(0, self.spectrum.n, ROWS):
            block = slice(low, min(low + ROWS, self.spectrum.n))
            yield (
                self.problem.kernel.train[block].double() - self.means,
                self.problem.targets[block],
            )

    def _add_train_errors(self, rows: list[dict], weights: Float64[Tensor, "p lc"]) -> None:
        wrong = weights.new_zeros(len(rows))
        for features, targets in self.blocks():
            fitted = (features @ weights).reshape(len(targets), len(rows), -1) + self.target_means
            wrong += _wrong(self.problem.code, fitted, targets)
        self._add_means(rows, {"train_error": wrong})

    def _leave_one_out(
        self, rows: list[dict], slopes: Float64[Tensor, "r lc"], inverses: Float64[Tensor, "r l"]
    ) -> Float64[Tensor, " l"]:
        """Add the columns of single samples; the least 1 − h_i per ridge, h the leverages."""
        problem, n = self.problem, self.spectrum.n
        sums = {name: slopes.new_zeros(len(rows)) for name in ("train_error", "loo", "loo_error")}
        least = slopes.new_ones(len(rows))
        for features, targets in self.blocks():
            scores, wanted = features @ self.right, targets[:, None]
            fitted = (scores @ slopes).reshape(len(targets), len(rows), -1) + self.target_means
            margin = 1 - problem.intercept / n - scores.square() @ inverses
            left_out = (wanted - fitted) / margin[:, :, None]
            sums["train_error"] += _wrong(problem.code, fitted, targets)
            sums["loo"] += left_out.square().sum(dim=(0, 2))
            sums["loo_error"] += _wrong(problem.code, wanted - left_out, targets)
            least = torch.minimum(least, margin.amin(dim=0))
        self._add_means(rows, sums)
        return least

    def _add_means(self, rows: list[dict], sums: dict[str, Float64[Tensor, " l"]]) -> None:
        for number, row in enumerate(rows):
            row |= {name: values[number].item() / self.spectrum.n for name, values in sums.items()}


def _wrong(
    code: ClassCode | None, predictions: Float64[Tensor, "b l c"], targets: Float64[Tensor, "b c"]
) -> Float64[Tensor, " l"]:
    """Number of rows that are classified wrongly, per ridge."""
    errors = [code.error(one, targets) if code else np.nan for one in predictions.unbind(dim=1)]
    return len(targets) * targets.new_tensor(errors)
