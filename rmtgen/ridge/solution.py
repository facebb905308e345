"""A ridge fit with its leave-one-out, from one factor.

At a well-conditioned δ that is a Cholesky factor of the smaller of K + δI and XᵀX + δI; near
interpolation, and at δ = 0, the modes. With L the factor of XᵀX + δI and Z = L⁻¹Xᵀ, G is
(I − qqᵀ − ZᵀZ)/δ on the complement of what an intercept takes out, q. An error E of XᵀX changes
h_i = ‖z_i‖² by at most ‖E‖ h_i(1 − h_i)/δ, so that 1 − h_i keeps the digits of a solution.

The notation is that of `rmtgen.ridge`; weights are those of `weighted`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.linalg.centring import (
    reduced,
    reduced_matrix_,
    reflected_matrix_,
    restored,
    restored_matrix,
)
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.triangular import cholesky_
from rmtgen.ridge.definite import well_conditioned
from rmtgen.ridge.interval import interval_columns, pair_covariance_, paired
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.left_out import Parts
from rmtgen.ridge.primal import LEAST_RESIDUAL
from rmtgen.ridge.weighted import Plain

ROWS = 4096
"""Number of samples whose leverages are computed at a time."""


@dataclass(frozen=True, eq=False)
class Solution:
    """f(x) = k(x)ᵀ`dual` + `offset`; of features also xᵀ`weights` + `offset`."""

    dual: Float64[Tensor, "n c"]
    offset: Float64[Tensor, " c"]
    weights: Float64[Tensor, "p c"] | None = None

    def of_samples(self, problem: Plain) -> "Solution":
        """The solution of the samples as they are, from that of the problem without weights."""
        if problem.root is None:
            return self
        dual, root = problem.taken_back(self.dual), problem.root
        offset = self.offset * (-(len(root) ** 0.5) / root.norm())
        return Solution(root[:, None] * dual, offset, self.weights)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Leave-one-out of a fit, and what leave-two-out takes, in a multiple of G.

    Attributes:
        residuals: Leave-one-out residuals, each times √w where there are weights.
        inverse: G between the samples that are `paired`.
        dual: GY of them.
    """

    residuals: Float64[Tensor, "n c"]
    inverse: Float64[Tensor, "m m"]
    dual: Float64[Tensor, "m c"]

    def risk(self) -> tuple[float, float, float]:
        """The mean loss and its interval of 95 %, as `interval.interval_columns` has it."""
        losses = self.residuals.square().sum(dim=1)
        covariance = pair_covariance_(self.inverse.clone(), self.dual)
        row = interval_columns(losses, covariance)
        return losses.mean().item(), row["loo_low"], row["loo_high"]


def solve(problem: Plain, sum_ridge: float) -> tuple[Solution, LeftOut]:
    """The fit of all outputs at one δ."""
    kernel = problem.kernel
    tall = isinstance(kernel, FeatureKernel) and kernel.train.shape[0] > kernel.train.shape[1]
    found = (_solve_tall if tall else _solve_dense)(problem, sum_ridge)
    return _solve_modes(problem, sum_ridge) if found is None else found


def solve_each(
    problem: Plain, modes: Modes, ridges: Float64[np.ndarray, " c"]
) -> tuple[Solution, Float64[np.ndarray, " c"]]:
    """The fit of each output at its λ, and its degrees of freedom.

    Args:
        problem: The problem.
        modes: Those of its kernel.
        ridges: λ of each output.
    """
    dual, weights = torch.empty_like(problem.targets), None
    if isinstance(problem.kernel, FeatureKernel):
        weights = dual.new_empty(problem.kernel.train.shape[1], dual.shape[1])
    freedom = np.empty(len(ridges))
    for ridge in np.unique(ridges):
        own, sum_ridge = torch.from_numpy((ridges == ridge).nonzero()[0]), len(problem) * ridge
        some = modes.at(sum_ridge)
        dual[:, own], part = _by_modes(some, problem.targets[:, own], sum_ridge)
        if weights is not None:
            weights[:, own] = part
        freedom[own] = (some.values / (some.values + sum_ridge)).sum().item() + modes.intercept
    return Solution(dual, _offset(problem, dual, weights), weights), freedom


def _solve_tall(problem: Plain, sum_ridge: float) -> tuple[Solution, LeftOut] | None:
    """From XᵀX + δI; None where too few digits are certain."""
    rows, targets = _centred_rows(problem), _centred_targets(problem)
    matrix = rows.mT @ rows
    norm = matrix.trace().item()
    if not _factor_(problem, matrix, sum_ridge, norm):
        return None
    weights = _solved(matrix, rows.mT @ targets)
    residuals = targets - rows @ weights
    solution = Solution(residuals / sum_ridge, _offset(problem, residuals, weights), weights)
    direction = _direction(problem)
    turned, chosen = problem.taken_back(rows), _paired(problem)
    leverage = torch.cat([_half(matrix, part).square().sum(dim=0) for part in turned.split(ROWS)])
    margin = 1 - direction.square() - leverage
    if margin.amin() < LEAST_RESIDUAL:
        return None
    half, own = _half(matrix, turned[chosen]), direction[chosen]
    inverse = (half.mT @ half).addr_(own, own).neg_()
    inverse.diagonal().add_(1)
    residuals = problem.taken_back(residuals)
    return solution, LeftOut(residuals / margin[:, None], inverse, residuals[chosen])


def _solve_dense(problem: Plain, sum_ridge: float) -> tuple[Solution, LeftOut] | None:
    """From K + δI, with an intercept in the n − 1 directions that it leaves; None as above.

    With an intercept α sums to 0, and the mean of the fit is that of Y.
    """
    rows, targets, weights = None, problem.targets, None
    if isinstance(problem.kernel, FeatureKernel):
        rows = _centred_rows(problem)
        matrix = rows @ rows.mT
    else:
        matrix = problem.kernel.symmetric(len(problem))
    norm = matrix.trace().item()
    if problem.intercept:
        matrix, targets = reduced_matrix_(matrix), reduced(targets)
    if not _factor_(problem, matrix, sum_ridge, norm):
        return None
    dual, inverse = _solved(matrix, targets), torch.cholesky_inverse(matrix)
    if problem.intercept:
        dual, inverse = restored(dual), restored_matrix(inverse)
    weights = None if rows is None else rows.mT @ dual
    solution = Solution(dual, _offset(problem, dual, weights), weights)
    if problem.turn is not None:
        reflected_matrix_(inverse, problem.turn.vector)
    chosen, dual = _paired(problem), problem.taken_back(dual)
    residuals = dual / inverse.diagonal()[:, None]
    return solution, LeftOut(residuals, inverse[chosen[:, None], chosen], dual[chosen])


def _solve_modes(problem: Plain, sum_ridge: float) -> tuple[Solution, LeftOut]:
    modes = problem.kernel.modes(len(problem), problem.intercept).at(sum_ridge)
    dual, weights = _by_modes(modes, problem.targets, sum_ridge)
    parts, chosen = Parts.of(modes, problem.turn), _paired(problem)
    targets = problem.taken_back(problem.targets)
    diagonal = parts.diagonals(modes.values.new_tensor([sum_ridge]))
    left_out = LeftOut(
        parts.residuals(sum_ridge, *parts.split(targets), diagonal),
        parts.block(sum_ridge, chosen),
        parts.dual(sum_ridge, targets, chosen),
    )
    return Solution(dual, _offset(problem, dual, weights), weights), left_out


def _by_modes(
    modes: Modes, targets: Float64[Tensor, "n c"], sum_ridge: float
) -> tuple[Float64[Tensor, "n c"], Float64[Tensor, "p c"] | None]:
    """α and w from the coefficients of α in the modes, UᵀY/(s + δ).

    The part in the null space, Y₀/δ, is left out: no prediction depends on it, and near δ = 0 its
    rounding would dominate them.
    """
    slopes = modes.split(targets)[0] / (modes.values[:, None] + sum_ridge)
    dual, frame = modes.vectors @ slopes, modes.feature_vectors
    return dual, None if frame is None else frame @ (modes.values.sqrt()[:, None] * slopes)


def _offset(
    problem: Plain, dual: Float64[Tensor, "n c"], weights: Float64[Tensor, "p c"] | None
) -> Float64[Tensor, " c"]:
    """b, 0 without an intercept."""
    if not problem.intercept:
        return dual.new_zeros(dual.shape[1])
    means = problem.kernel.train.mean(dim=0, dtype=torch.float64)
    return problem.targets.mean(dim=0) - means @ (dual if weights is None else weights)


def _centred_rows(problem: Plain) -> Float64[Tensor, "n p"]:
    rows = problem.kernel.train.double()
    return rows - rows.mean(dim=0) if problem.intercept else rows


def _centred_targets(problem: Plain) -> Float64[Tensor, "n c"]:
    targets = problem.targets
    return targets - targets.mean(dim=0) if problem.intercept else targets


def _direction(problem: Plain) -> Float64[Tensor, " n"]:
    """The unit vector q in the basis of the samples; 0 without an intercept."""
    n = len(problem)
    even = problem.targets.new_full((n, 1), n**-0.5 if problem.intercept else 0.0)
    return problem.taken_back(even)[:, 0]


def _paired(problem: Plain) -> Int64[Tensor, " m"]:
    return torch.from_numpy(paired(len(problem)))


def _factor_(problem: Plain, matrix: Float64[Tensor, "k k"], sum_ridge: float, norm: float) -> bool:
    """Overwrite M with the Cholesky factor of M + δI; whether that is definite and conditioned.

    Args:
        problem: The problem whose K or XᵀX is M.
        matrix: M, positive semidefinite.
        sum_ridge: δ.
        norm: Bound on the largest eigenvalue of M.
    """
    if not (sum_ridge > 0 and well_conditioned(problem.kernel, norm, sum_ridge, 1 / sum_ridge)):
        return False
    matrix.diagonal().add_(sum_ridge)
    return cholesky_(matrix)


def _half(factor: Float64[Tensor, "k k"], rows: Float64[Tensor, "b k"]) -> Float64[Tensor, "k b"]:
    return torch.linalg.solve_triangular(factor, rows.mT, upper=False)


def _solved(
    factor: Float64[Tensor, "k k"], columns: Float64[Tensor, "k c"]
) -> Float64[Tensor, "k c"]:
    """(LLᵀ)⁻¹ times `columns`."""
    half = torch.linalg.solve_triangular(factor, columns, upper=False)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True)
