"""The ridge path of features with more samples than features, from one triangle p×p that grows over the rows.

The QR factorisation of [1 X Y], of which only the triangle is kept, is updated by a block of rows at a time, so that every prefix of the
rows has its own on the way. With [1 X Y] = QR the columns of R stand for those of [1 X Y] in every inner product: K and Y reduce to p + c
rows, and a singular value decomposition of p×p answers every ridge. Neither XᵀX nor K is formed, which would square the condition number.

Only what belongs to single samples, 0-1 training errors and leave-one-out, takes a second pass over the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.ridge.eigen import DECOMPOSITION
from rmtgen.ridge.problem import COLUMNS, Cost, Grid, Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.spectrum import EPS64, Spectrum, factored
from rmtgen.targets import ClassCode

ROWS = 4096
"""Rows that are read at a time."""
QR = 3.0
"""Operations of a product in which each of the n (p + c)² numbers of a QR update takes as long."""
LEAST_RESIDUAL = 1e-6
"""1 − h of a sample's leverage h, below which its leave-one-out residual is not sure: it is a difference of numbers near 1."""


def solve_primal(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` a (size, ridge), sizes outer; None for sizes n ≤ p, and where leave-one-out is not sure.

    Beside the problem a few matrices (p + c)² are held, and blocks of `ROWS` rows.

    Raises:
        NumericalError: A factorisation that failed.
    """
    tall = {n for n in sizes if n - problem.intercept > problem.width}
    rows = {n: _Fit.of(problem, n, triangle).rows(grid.at(n)) for n, triangle in _triangles(problem, tall)}
    return [row for n in sizes for row in rows.get(n, [None] * len(grid.values))]


def cost_primal(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """One QR factorisation of the rows of the largest size, and a decomposition of p×p a size; sizes n ≤ p cost what `eigen` takes."""
    width, outputs, tests, ridges = problem.width, problem.targets.shape[1], problem.tests, len(grid.values)
    columns, samples = width + outputs, problem.loo or problem.code is not None
    flops = QR * max(sizes) * columns**2
    for n in sizes:
        rank = min(n, width)
        flops += DECOMPOSITION * rank**3 + 2.0 * tests * width * rank + 2.0 * ridges * rank * tests * outputs
        if n > width:
            flops += QR * columns**3 + samples * 2.0 * n * width * (width + ridges * (outputs + problem.loo))
        else:
            flops += 4.0 * n * width * rank + 2.0 * ridges * rank * n * (outputs + problem.loo)
    held = 8 * columns**2 + ROWS * (2 * columns + ridges * outputs) + tests * (width + outputs)
    return Cost(flops, 8 * held)


def _triangles(problem: Problem, sizes: set[int]) -> Iterator[tuple[int, Float64[Tensor, "k columns"]]]:
    """R of the first n rows of [1 X Y] for each of the sizes, ascending; without the 1, and its row, where there is no intercept."""
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
class _Fit:
    """One size, reduced: X − 1·means = Q U diag(σ) Vᵀ, Q a basis of p + c columns that is never formed."""

    problem: Problem
    spectrum: Spectrum
    singular: Float64[Tensor, " r"]
    right: Float64[Tensor, "p r"]
    means: Float64[Tensor, " p"]
    target_means: Float64[Tensor, " c"]

    @classmethod
    def of(cls, problem: Problem, n: int, triangle: Float64[Tensor, "k columns"]) -> "_Fit":
        width, first = problem.width, problem.intercept
        means = triangle[0, first:] / triangle[0, 0] if first else triangle.new_zeros(triangle.shape[1])
        features, targets = triangle[first:, first : first + width], triangle[first:, first + width :]
        left, singular, right, residual, orthogonality = factored(features)
        cutoff = n * EPS64 * max(singular[0].item(), n**0.5 * means[:width].norm().item())
        rank = int((singular > cutoff).sum())
        left, singular, right = left[:, :rank], singular[:rank], right[:, :rank]
        coefficients = left.mT @ targets
        null_energy = (targets - left @ coefficients).square().sum().item()
        spectrum = Spectrum(singular.square(), coefficients, null_energy, n, residual, orthogonality, first)
        return cls(problem, spectrum, singular, right, means[:width], means[width:])

    def rows(self, pairs: list[tuple[float, float]]) -> list[dict | None]:
        """Every column at every ridge."""
        problem = self.problem
        slopes = [self._slopes(sum_ridge) for _, sum_ridge in pairs]
        rows = [
            dict.fromkeys(COLUMNS, np.nan) | spectral_columns(self.spectrum, sum_ridge) | {"ridge": ridge}
            for ridge, sum_ridge in pairs
        ]
        if problem.tests:
            scores = self._scores(problem.kernel.test)
            for row, slope in zip(rows, slopes, strict=True):
                row |= problem.test_columns(scores @ slope + self.target_means)
        if problem.loo or problem.code:
            margin = self._add_sample_columns(rows, torch.cat(slopes, dim=1), [sum_ridge for _, sum_ridge in pairs])
            rows = [row if sure else None for row, sure in zip(rows, (margin > LEAST_RESIDUAL).tolist(), strict=True)]
        return rows

    def _slopes(self, sum_ridge: float) -> Float64[Tensor, "r c"]:
        """Coefficients of the fit on the scores: σ/(σ² + δ)·C."""
        return (self.singular / (self.spectrum.eigenvalues + sum_ridge))[:, None] * self.spectrum.coefficients

    def _scores(self, features: Tensor) -> Float64[Tensor, "b r"]:
        """(x − means)V of some rows."""
        return (features.double() - self.means) @ self.right

    def _add_sample_columns(
        self, rows: list[dict], slopes: Float64[Tensor, "r lc"], sum_ridges: list[float]
    ) -> Float64[Tensor, " l"]:
        """0-1 training errors and the leave-one-out columns, by a second pass over the rows; the least 1 − h_i, 1 where none is asked."""
        problem, n, count = self.problem, self.spectrum.n, len(rows)
        weights = 1 / (self.spectrum.eigenvalues[:, None] + slopes.new_tensor(sum_ridges))
        names = ("train_error",) * bool(problem.code) + ("loo", "loo_error") * problem.loo
        sums, least = {name: slopes.new_zeros(count) for name in names}, slopes.new_ones(count)
        for low in range(0, n, ROWS):
            block = slice(low, min(low + ROWS, n))
            targets, scores = problem.targets[block], self._scores(problem.kernel.train[block])
            fitted = (scores @ slopes).reshape(len(scores), count, -1) + self.target_means
            if problem.code:
                sums["train_error"] += _wrong(problem.code, fitted, targets)
            if problem.loo:
                margin = 1 - problem.intercept / n - scores.square() @ weights
                left_out = (targets[:, None] - fitted) / margin[:, :, None]
                sums["loo"] += left_out.square().sum(dim=(0, 2))
                sums["loo_error"] += _wrong(problem.code, targets[:, None] - left_out, targets)
                least = torch.minimum(least, margin.amin(dim=0))
        for number, row in enumerate(rows):
            row |= {name: values[number].item() / n for name, values in sums.items()}
        return least


def _wrong(code: ClassCode | None, predictions: Float64[Tensor, "b l c"], targets: Float64[Tensor, "b c"]) -> Tensor:
    """How many rows each ridge gives another class than their own, (l,)."""
    errors = [code.error(one, targets) if code else np.nan for one in predictions.unbind(dim=1)]
    return len(targets) * targets.new_tensor(errors)
