"""The ridge path from one eigensolve a size, after which a ridge costs one product n×r×c.

Every column is a sum of positive terms over the modes (s_k, U_k) and the null space of K, with w_k = 1/(s_k + δ),
C = UᵀY and Y₀ = Y − UC, of which a size without a null space has none:

    G = U diag(w) Uᵀ + P₀/δ,        GY = U(wC) + Y₀/δ.

The formulas are ratios in G, so they are evaluated for the matrix G̃ = (s_min + δ)G, s_min the smallest eigenvalue (0 with
a null space). Then G̃ = δ·U diag(w) Uᵀ + P₀ has no 0/0 at δ = 0, and the ridgeless limit is the same line of code: never
1 − df/n by subtraction, never λ divided by λ.
"""

import operator
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import RmtgenWarning
from rmtgen.ridge_kernel import GramKernel
from rmtgen.ridge_problem import COLUMNS, Grid, Problem
from rmtgen.spectrum import Modes

ROWS_AT_ONCE = 4096


def solve_eigen(problem: Problem, sizes: list[int], grid: Grid) -> list[dict]:
    """One row of `COLUMNS` a (size, ridge), sizes outer.

    Raises:
        NumericalError: An asymmetric or indefinite Gram matrix, or a failed eigensolve.

    Warns:
        RmtgenWarning: As `ridge.ridge_path`.
    """
    rows = []
    for n in sizes:
        rows += _solve_size(problem, n, grid.at(n))
    return rows


def _solve_size(problem: Problem, n: int, ridges: list[tuple[float, float]]) -> list[dict]:
    """A function of its own, so that the modes of one size are gone before those of the next are made."""
    modes = problem.kernel.modes(n, problem.intercept)
    fit = _Fit.of(problem, modes)
    rows = [fit.row(ridge, sum_ridge) for ridge, sum_ridge in ridges]
    if isinstance(problem.kernel, GramKernel) and problem.kernel.train.dtype == torch.float32:
        _warn_single(n, modes.tolerance, rows)
    return rows


@dataclass(frozen=True, eq=False)
class _Fit:
    """One size, decomposed: what every ridge shares."""

    problem: Problem
    modes: Modes
    targets: Float64[Tensor, "n c"]
    coefficients: Float64[Tensor, "r c"]
    null_part: Float64[Tensor, "n c"]
    null_leverage: Float64[Tensor, " n"]
    scores: tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]] | None

    @classmethod
    def of(cls, problem: Problem, modes: Modes) -> "_Fit":
        targets = problem.targets[: modes.n]
        coefficients, null_part = modes.split(targets)
        scores = None if problem.test_targets is None else problem.kernel.onto(modes, null_part)
        return cls(problem, modes, targets, coefficients, null_part, modes.null_leverage(), scores)

    def row(self, ridge: float, sum_ridge: float) -> dict:
        """Every column at one ridge."""
        weights = 1 / (self.modes.values + sum_ridge)
        weighted = weights[:, None] * self.coefficients
        spanned = self.modes.vectors @ weighted
        row = dict.fromkeys(COLUMNS, np.nan) | {"n": self.modes.n, "ridge": ridge}
        row |= self._training(sum_ridge, weights, weighted, spanned)
        if self.problem.loo:
            row |= self.problem.loo_columns(self._leave_one_out(sum_ridge, weights, spanned))
        if self.scores is not None:
            row |= self.problem.test_columns(self._predictions(sum_ridge, weighted))
        return row

    def _unit(self, sum_ridge: float) -> float:
        """s_min + δ, the factor of G̃ = (s_min + δ)G."""
        return sum_ridge if self.modes.null_dim else self.modes.values[-1].item() + sum_ridge

    def _training(self, sum_ridge: float, weights: Tensor, weighted: Tensor, spanned: Tensor) -> dict[str, float]:
        n, values, null_dim, unit = self.modes.n, self.modes.values, self.modes.null_dim, self._unit(sum_ridge)
        dual = unit * spanned + self.null_part  # G̃Y
        trace = (unit * weights).sum().item() + null_dim
        trace_square = (unit * weights).square().sum().item() + null_dim
        residual = dual if null_dim else dual * (sum_ridge / unit)  # δGY
        return {
            **self.problem.train_columns(residual),
            "gcv": n * dual.square().sum().item() / trace**2,
            "df": (values * weights).sum().item() + self.modes.intercept,
            "kappa": unit / trace,
            "kappa_prime": n * trace_square / trace**2,
            "norm2": (values[:, None] * weighted.square()).sum().item(),
        }

    def _leave_one_out(self, sum_ridge: float, weights: Tensor, spanned: Tensor) -> Float64[Tensor, "n c"]:
        """(GY)_i/G_ii; a sample without null leverage has the limit (K⁺Y)_i/(K⁺)_ii at δ = 0, where G̃ leaves it 0/0."""
        unit = self._unit(sum_ridge)
        diagonal = torch.cat([part.square() @ weights for part in self.modes.vectors.split(ROWS_AT_ONCE)])[:, None]
        null = self.null_leverage[:, None]
        return torch.where(null > 0, (unit * spanned + self.null_part) / (unit * diagonal + null), spanned / diagonal)

    def _predictions(self, sum_ridge: float, weighted: Tensor) -> Float64[Tensor, "m c"]:
        scores, null_scores = self.scores
        predictions = scores @ weighted
        if sum_ridge > 0:
            predictions += null_scores / sum_ridge
        if self.modes.intercept:
            predictions += self.targets.mean(dim=0)
        return predictions


def _warn_single(n: int, limit: float, rows: list[dict]) -> None:
    """A float32 Gram matrix resolves neither δ near its rounding nor the last 1 % of the degrees of freedom."""
    rounded = [row for row in rows if n * row["ridge"] <= limit]
    full = [row for row in rows if n * row["ridge"] > limit and row["df"] > 0.99 * n]
    for found, value, rule in (
        (rounded, lambda row: n * row["ridge"], f"resolves nλ > 10·eps32·s_max = {limit:.3g}: got nλ ="),
        (full, lambda row: row["df"] / n, "is sure for df/n <= 0.99: got df/n ="),
    ):
        if found:
            row = max(found, key=operator.itemgetter("ridge"))
            warnings.warn(
                f"a float32 Gram matrix {rule} {value(row):.4g} (λ = {row['ridge']:.3g}, n = {n}; {len(found)} of"
                f" {len(rows)} ridges). Trust a float64 Gram matrix or ridge_path_features there.",
                RmtgenWarning,
                stacklevel=6,
            )
