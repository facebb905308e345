"""Solver `primal`: more samples than features, from one triangle p×p that grows over the rows.

The QR factorisation of [1 X], of which only the triangle is kept, is updated by one block of rows
at a time, so that every prefix of the rows has its triangle on the way. The same reflections turn Y
into QᵀY, of which the first p rows and the energy of all others are kept. With [1 X] = QR the rows
of R and of QᵀY replace those of X and Y in every inner product, and a singular value decomposition
of p×p serves every ridge. Neither XᵀX nor K is formed, which would square the condition number.

Only what belongs to single samples, 0-1 training errors and leave-one-out, takes a second pass over
the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.modes import EPS64
from rmtgen.linalg.reflectors import append_rows_
from rmtgen.linalg.rows import Matrix, first
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.linalg.verified import factored
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.eigen import DECOMPOSITION_COST
from rmtgen.ridge.interval import interval_columns, pair_bytes, pair_cost, pair_covariance_, paired
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.ridge.targets import ClassCode

ROWS = 4096
"""Number of rows that are read at a time."""
ROWS_PREDICTED = 1024
"""Number of rows whose predictions at every ridge are computed at a time: what a cache holds."""
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
        n: Reduced.of(problem, n, triangle, energy).rows(grid.at(n))
        for n, triangle, energy in _triangles(problem, tall)
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
    flops = QR_COST * max(sizes) * width * (width + 2 * outputs)
    for n in sizes:
        rank = min(n, width)
        flops += DECOMPOSITION_COST * rank**3 + 2.0 * ridges * rank * tests * outputs
        if n > width:
            flops += problem.loo * 2.0 * n * width * (width + ridges)
            flops += problem.loo * ridges * pair_cost(n, width)
            flops += (problem.loo or problem.code is not None) * 2.0 * n * width * ridges * outputs
        else:
            flops += 4.0 * n * width * rank + 2.0 * ridges * rank * n * (outputs + problem.loo)
    held = (
        8 * width * columns
        + ROWS * 2 * columns
        + ROWS_PREDICTED * 2 * (width + ridges * outputs)
        + tests * ridges
        + 3 * width * ridges * outputs
        + problem.loo * ridges * max(sizes)
    )
    rows = 2 * width + ridges * outputs
    return Cost(flops, 8 * held + problem.loo * pair_bytes(max(sizes), rows))


def cost_tall_spectrum(problem: Problem, n: int) -> Cost:
    """The cost of `tall_spectrum` of n samples."""
    width, outputs = problem.width, problem.targets.shape[1]
    flops = QR_COST * n * width * (width + 2 * outputs) + DECOMPOSITION_COST * width**3
    return Cost(flops, 8 * (8 * width * (width + outputs) + ROWS * 3 * (width + outputs)))


def tall_spectrum(problem: Problem) -> Spectrum:
    """The spectrum of all samples of features, n − intercept > p; p×(p + c) numbers are held.

    Raises:
        NumericalError: A factorisation that failed.
    """
    return _whole(problem).spectrum


def tall_fit(
    problem: Problem, sum_ridge: float
) -> tuple[Float64[Tensor, "p c"], Float64[Tensor, " c"]]:
    """W and b of the fit to all samples of features, n − intercept > p, at one δ.

    As for `tall_spectrum`, p×(p + c) numbers are held.

    Raises:
        NumericalError: A factorisation that failed.
    """
    return _whole(problem).fit(sum_ridge)


def _whole(problem: Problem) -> "Reduced":
    """All samples, reduced."""
    n = len(problem.kernel)
    ((_, triangle, energy),) = _triangles(problem, {n})
    return Reduced.of(problem, n, triangle, energy)


def _triangles(
    problem: Problem, sizes: set[int]
) -> Iterator[tuple[int, Float64[Tensor, "k columns"], float]]:
    """R and the first k rows of QᵀY, side by side, of the first n rows, for each size, ascending.

    Without an intercept there is no column 1, and no row of it. The energy of the rows of QᵀY below
    is the third. Each is valid until the next.
    """
    train, targets = problem.kernel.train, problem.targets
    k, low, energy = problem.intercept + problem.width, 0, 0.0
    triangle = torch.zeros(k, k + targets.shape[1], dtype=torch.float64, device=targets.device)
    for n in sorted(sizes):
        while low < n:
            high = min(low + ROWS, n)
            ones = triangle.new_ones(high - low, problem.intercept)
            block = torch.cat([ones, train[low:high].double(), targets[low:high]], dim=1)
            append_rows_(triangle, block)
            energy += block[:, k:].square().sum().item()
            low = high
        yield n, triangle, energy


@dataclass(frozen=True, eq=False)
class Reduced:
    """One size, reduced: X − 1·means = Q U diag(σ) Vᵀ, Q with p columns, never formed."""

    problem: Problem
    spectrum: Spectrum
    singular: Float64[Tensor, " r"]
    coefficients: Float64[Tensor, "r c"]
    right: Float64[Tensor, "p r"]
    means: Float64[Tensor, " p"]
    target_means: Float64[Tensor, " c"]

    @classmethod
    def of(
        cls, problem: Problem, n: int, triangle: Float64[Tensor, "k columns"], energy: float
    ) -> "Reduced":
        """The first n samples, from what `_triangles` makes of them."""
        width, ones = problem.width, int(problem.intercept)
        means = (
            triangle[0, ones:] / triangle[0, 0] if ones else triangle.new_zeros(len(triangle[0]))
        )
        features, targets = triangle[ones:, ones : ones + width], triangle[ones:, ones + width :]
        left, singular, right, residual, orthogonality = factored(features)
        cutoff = n * EPS64 * max(singular[0].item(), n**0.5 * means[:width].norm().item())
        rank = int((singular > cutoff).sum())
        left, singular, right = left[:, :rank], singular[:rank], right[:, :rank]
        coefficients = left.mT @ targets
        arrays = singular.square().cpu().numpy(), coefficients.cpu().numpy()
        null_energy = (targets - left @ coefficients).square().sum().item() + energy
        spectrum = Spectrum(*arrays, null_energy, n, residual, orthogonality, problem.intercept)
        return cls(problem, spectrum, singular, coefficients, right, means[:width], means[width:])

    def fit(self, sum_ridge: float) -> tuple[Float64[Tensor, "p c"], Float64[Tensor, " c"]]:
        """W and b at one δ."""
        slopes = self.singular / (self.singular.square() + sum_ridge)
        weights = self.right @ (slopes[:, None] * self.coefficients)
        return weights, self.target_means - self.means @ weights

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
            self._add_tests(rows, weights)
        if problem.loo:
            margin = self._leave_one_out(rows, slopes, inverses)
            return [
                row if certain else None
                for row, certain in zip(rows, (margin > LEAST_RESIDUAL).tolist(), strict=True)
            ]
        if problem.code:
            self._add_train_errors(rows, weights)
        return rows

    def _centred(self, rows: Matrix) -> Iterator[Float64[Tensor, "b p"]]:
        """Rows of features without their means, one block at a time."""
        return (block.double() - self.means for block in rows.split(ROWS_PREDICTED))

    def _blocks(self) -> Iterator[tuple[Float64[Tensor, "b p"], Float64[Tensor, "b c"]]]:
        """The rows of the size once more, with their targets."""
        n, problem = self.spectrum.n, self.problem
        targets = first(problem.targets, n).split(ROWS_PREDICTED)
        return zip(self._centred(first(problem.kernel.train, n)), targets, strict=True)

    def _predicted(
        self, block: Float64[Tensor, "b r"], weights: Float64[Tensor, "r lc"]
    ) -> Float64[Tensor, "b l c"]:
        """Predictions at every ridge: one product."""
        outputs = len(self.target_means)
        offset = self.target_means.repeat(weights.shape[1] // outputs)
        return torch.addmm(offset, block, weights).reshape(len(block), -1, outputs)

    def _add_tests(self, rows: list[dict], weights: Float64[Tensor, "p lc"]) -> None:
        problem, losses, wrong = self.problem, [], weights.new_zeros(len(rows))
        targets = problem.test_targets.split(ROWS_PREDICTED)
        for block, wanted in zip(self._centred(problem.kernel.test), targets, strict=True):
            predictions = self._predicted(block, weights)
            wrong += _wrong(problem.test_code, predictions, wanted)
            losses.append(_losses(predictions.sub_(wanted[:, None])))
        errors = (wrong / problem.tests).tolist()
        for row, loss, error in zip(rows, torch.cat(losses).unbind(dim=1), errors, strict=True):
            row |= problem.loss_columns(loss, error)

    def _add_train_errors(self, rows: list[dict], weights: Float64[Tensor, "p lc"]) -> None:
        wrong = weights.new_zeros(len(rows))
        for features, targets in self._blocks():
            wrong += _wrong(self.problem.code, self._predicted(features, weights), targets)
        self._add_means(rows, {"train_error": wrong})

    def _leave_one_out(
        self, rows: list[dict], slopes: Float64[Tensor, "r lc"], inverses: Float64[Tensor, "r l"]
    ) -> Float64[Tensor, " l"]:
        """Add the columns of single samples; the least 1 − h_i per ridge, h the leverages."""
        problem, n = self.problem, self.spectrum.n
        sums = {name: slopes.new_zeros(len(rows)) for name in ("train_error", "loo_error")}
        least, losses = slopes.new_ones(len(rows)), []
        for features, targets in self._blocks():
            scores, wanted = features @ self.right, targets[:, None]
            fitted = self._predicted(scores, slopes)
            margin = 1 - problem.intercept / n - scores.square() @ inverses
            sums["train_error"] += _wrong(problem.code, fitted, targets)
            left_out = fitted.sub_(wanted).div_(margin[:, :, None])  # of the other sign
            losses.append(_losses(left_out))
            sums["loo_error"] += _wrong(problem.code, left_out.add_(wanted), targets)
            least = torch.minimum(least, margin.amin(dim=0))
        self._add_means(rows, sums)
        self._add_intervals(rows, slopes, inverses, torch.cat(losses))
        return least

    def _add_intervals(
        self,
        rows: list[dict],
        slopes: Float64[Tensor, "r lc"],
        inverses: Float64[Tensor, "r l"],
        losses: Float64[Tensor, "n l"],
    ) -> None:
        """Add the leave-one-out risk with its interval, from δG = I − X(XᵀX + δI)⁻¹Xᵀ."""
        problem, n = self.problem, self.spectrum.n
        chosen = torch.from_numpy(paired(n)).to(slopes.device)
        features = problem.kernel.train[chosen].double() - self.means
        scores, targets = features @ self.right, problem.targets[chosen]
        duals = targets[:, None] - self._predicted(scores, slopes)
        for number, row in enumerate(rows):
            inverse = (scores * -inverses[:, number]) @ scores.mT - problem.intercept / n
            inverse.diagonal().add_(1)
            covariance = pair_covariance_(inverse, duals[:, number])
            own = losses[:, number]
            row |= {"loo": own.mean().item(), **interval_columns(own, covariance)}

    def _add_means(self, rows: list[dict], sums: dict[str, Float64[Tensor, " l"]]) -> None:
        for number, row in enumerate(rows):
            row |= {name: values[number].item() / self.spectrum.n for name, values in sums.items()}


def _losses(residual: Float64[Tensor, "b l c"]) -> Float64[Tensor, "b l"]:
    return torch.linalg.vector_norm(residual, dim=2).square()


def _wrong(
    code: ClassCode | None, predictions: Float64[Tensor, "b l c"], targets: Float64[Tensor, "b c"]
) -> Float64[Tensor, " l"]:
    """Number of rows that are classified wrongly, per ridge; NaN without classes."""
    if code is None:
        return predictions.new_full((predictions.shape[1],), np.nan)
    return (code.decode(predictions) != code.decode(targets)[:, None]).sum(dim=0).double()
