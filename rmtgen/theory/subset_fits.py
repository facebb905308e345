"""Ridge fits of subsets of a pool, from the modes of the pool, and their risk on the rest of it.

Notation: a pool of N samples, r modes kept, K = U diag(s) Uᵀ; a subset S of n samples, U_S its rows
of U, B = U_S diag(√s), so that K_SS = BBᵀ; δ = nλ its sum ridge; G = (K_SS + δI)⁻¹; c outputs. The
Cholesky factor L is that of the smaller of K_SS + δI and BᵀB + δI, of side min(n, r).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Matrix

BLOCK = 2**24
"""Largest number of entries (samples × modes) per step."""


@dataclass(frozen=True)
class Estimates:
    """What one fit says of its risk, and its risk on other samples.

    Attributes:
        kappa: κ̂ = 1/tr G.
        gcv: Generalised cross-validation.
        loo: Mean squared leave-one-out residual, summed over outputs.
        test_risk: Mean squared error on the other samples, summed over outputs.
        test_risk_se: Its standard error.
    """

    kappa: float
    gcv: float
    loo: float
    test_risk: float
    test_risk_se: float


@dataclass(frozen=True, eq=False)
class SubsetFit:
    """The ridge fits of one subset at one ridge.

    Attributes:
        modes: Modes of the pool.
        subset: Positions of S in the pool.
        rows: B.
        sum_ridge: δ.
        factor: L.
    """

    modes: Modes
    subset: Int64[Tensor, " n"]
    rows: Float64[Tensor, "n r"]
    sum_ridge: float
    factor: Float64[Tensor, "k k"]

    @property
    def _primal(self) -> bool:
        return len(self.factor) < len(self.subset)

    def forms(self, chosen: Int64[Tensor, " k"]) -> Float64[Tensor, "k k"]:
        """M_ij = δ_ij − √(s_i s_j) u_i[S]ᵀ G u_j[S] of some modes, δ [(BᵀB + δI)⁻¹]_ij."""
        chosen = chosen.to(self.factor.device)
        unit = torch.eye(len(chosen), dtype=torch.float64, device=self.factor.device)
        if not self._primal:
            half = self._solved(self.rows[:, chosen])
            return unit - half.mT @ half
        columns = torch.zeros(len(self.factor), len(chosen)).to(unit)
        columns[chosen, torch.arange(len(chosen), device=unit.device)] = self.sum_ridge**0.5
        half = self._solved(columns)
        return half.mT @ half

    def estimates(
        self, targets: Matrix, centre: Float64[Tensor, " c"], others: Int64[Tensor, " m"]
    ) -> Estimates:
        """GCV and leave-one-out of the fit, and its risk on other samples of the pool.

        Args:
            targets: Y (N, c) of the pool.
            centre: What the modes take off them (`Modes.centre`).
            others: Positions of samples outside S.
        """
        weights, diagonal = self._weights(targets[self.subset] - centre)
        n, size = len(self.subset), weights.square().sum(dim=1)
        slopes = self.modes.values.sqrt()[:, None] * (self.rows.mT @ weights)
        losses = torch.cat(
            [
                (targets[some] - centre - self.modes.vectors[some] @ slopes).square().sum(dim=1)
                for some in others.to(slopes.device).split(max(1, BLOCK // len(slopes)))
            ]
        )
        return Estimates(
            kappa=1 / diagonal.sum().item(),
            gcv=(n * size.sum() / diagonal.sum().square()).item(),
            loo=(size / diagonal.square()).mean().item(),
            test_risk=losses.mean().item(),
            test_risk_se=(losses.std() / len(losses) ** 0.5).item(),
        )

    def _weights(
        self, targets: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "n c"], Float64[Tensor, " n"]]:
        """α = GY, and G_ii."""
        if self._primal:
            half = self._solved(self.rows.mT)
            leverages = half.square().sum(dim=0)
            fitted = half.mT @ (half @ targets)
            return (targets - fitted) / self.sum_ridge, (1 - leverages) / self.sum_ridge
        inverse = self._solved(torch.eye(len(self.factor)).to(self.factor))
        return inverse.mT @ (inverse @ targets), inverse.square().sum(dim=0)

    def _solved(self, columns: Float64[Tensor, "k c"]) -> Float64[Tensor, "k c"]:
        """L⁻¹ times columns."""
        return torch.linalg.solve_triangular(self.factor, columns, upper=False)


def subset_fits(
    modes: Modes, subset: Int64[Tensor, " n"], sum_ridges: Float64[np.ndarray, " l"]
) -> Iterator[SubsetFit]:
    """The fits of one subset, for each δ > 0 in turn; three matrices of n×r or less are held.

    Raises:
        NumericalError: K_SS + δI is not positive definite in float64.
    """
    subset = subset.to(modes.vectors.device)
    rows = modes.vectors[subset] * modes.values.sqrt()
    square = rows.mT @ rows if rows.shape[1] < len(rows) else rows @ rows.mT
    for sum_ridge in sum_ridges.tolist():
        yield SubsetFit(modes, subset, rows, sum_ridge, _cholesky(square, sum_ridge))


def _cholesky(square: Float64[Tensor, "k k"], sum_ridge: float) -> Float64[Tensor, "k k"]:
    shifted = square.clone()
    shifted.diagonal().add_(sum_ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed.item():
        raise NumericalError(
            f"K + nλI must be positive definite: its Cholesky factor failed at row {failed.item()}"
            f" of {len(square)}, nλ = {sum_ridge:.3g}, largest diagonal"
            f" {square.diagonal().max().item():.3g}. Take a larger ridge."
        )
    return factor
