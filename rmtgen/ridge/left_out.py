"""Leave-one-out of a fit from its modes, in the basis of the samples.

With w_k = 1/(s_k + δ), C = UᵀY, Y₀ the part of Y in the null space of K and P₀ the projector on it,
the residuals are (GY)_i/G_ii, from GY = U(wC) + Y₀/δ and G = U diag(w) Uᵀ + P₀/δ. Ratios in G are
those in G̃ = (s_min + δ)G of `spectral`, which has no 0/0 at δ = 0.

The modes may be those of RKR, R a reflection: leave-one-out, unlike GCV, is not the same in every
basis. Weights need that (`weighted`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.linalg.modes import Modes, null_diagonal
from rmtgen.ridge.eigen import leave_one_out, leverages

Turn = Callable[[Float64[Tensor, "n k"]], Float64[Tensor, "n k"]]
"""The product of R, orthogonal and its own inverse, with columns."""


@dataclass(frozen=True, eq=False)
class Parts:
    """K = U diag(s) Uᵀ on the complement of what an intercept takes out.

    Attributes:
        modes: s and U.
        direction: The unit vector q that an intercept takes out; None without one.
        null_leverage: Diagonal of P₀.
    """

    modes: Modes
    direction: Float64[Tensor, " n"] | None
    null_leverage: Float64[Tensor, " n"]

    @classmethod
    def of(cls, modes: Modes, turn: Turn | None = None) -> "Parts":
        """The parts of K from its modes, or from those of RKR with R."""
        vectors, direction = modes.vectors, None
        if modes.intercept:
            direction = vectors.new_full((modes.n,), modes.n**-0.5)
        if turn is None:
            return cls(modes, direction, modes.null_leverage())
        modes = replace(modes, vectors=turn(vectors), untruncated=None)
        direction = None if direction is None else turn(direction[:, None])[:, 0]
        leverage = vectors.new_zeros(modes.n)
        if modes.null_dim:
            removed = 0.0 if direction is None else direction.square()
            leverage = null_diagonal(modes.vectors, removed)
        return cls(modes, direction, leverage)

    def split(
        self, targets: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "r c"], Float64[Tensor, "n c"]]:
        """C and Y₀; the second is exactly 0 without a null space."""
        vectors, targets = self.modes.vectors, self.centred(targets)
        coefficients = vectors.mT @ targets
        if not self.modes.null_dim:
            return coefficients, torch.zeros_like(targets)
        return coefficients, targets - vectors @ coefficients

    def centred(self, targets: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Y without what an intercept takes out."""
        if self.direction is None:
            return targets
        return targets - torch.outer(self.direction, self.direction @ targets)

    def scaled(self, sum_ridge: float) -> Float64[Tensor, " r"]:
        """(s_min + δ)w, s_min 0 with a null space: the eigenvalues of G̃ on the modes."""
        values = self.modes.values
        smallest = 0.0 if self.modes.null_dim else values[-1]
        return (smallest + sum_ridge) / (values + sum_ridge)

    def trace(self, sum_ridge: float) -> float:
        """The trace of G̃."""
        return self.scaled(sum_ridge).sum().item() + self.modes.null_dim

    def diagonals(self, sum_ridges: Float64[Tensor, " l"]) -> Float64[Tensor, "n l"]:
        """Diagonals of U diag(w) Uᵀ, a column for each δ."""
        return leverages(self.modes, 1 / (self.modes.values[:, None] + sum_ridges))

    def residuals(
        self,
        sum_ridge: float,
        coefficients: Float64[Tensor, "r c"],
        null_part: Float64[Tensor, "n c"],
        diagonal: Float64[Tensor, "n 1"],
    ) -> Float64[Tensor, "n c"]:
        """Leave-one-out residuals at one δ, of which `diagonal` is that of `diagonals`."""
        weighted = coefficients / (self.modes.values + sum_ridge)[:, None]
        spanned = self.modes.vectors @ weighted
        return leave_one_out(diagonal, sum_ridge, spanned, null_part, self.null_leverage)

    def dual(
        self, sum_ridge: float, targets: Float64[Tensor, "n c"], chosen: Int64[Tensor, " m"]
    ) -> Float64[Tensor, "m c"]:
        """G̃Y of some samples."""
        vectors = self.modes.vectors
        targets = self.centred(targets)
        coefficients = vectors.mT @ targets
        weights = self.scaled(sum_ridge)[:, None]
        if not self.modes.null_dim:
            return vectors[chosen] @ (weights * coefficients)
        return targets[chosen] + vectors[chosen] @ ((weights - 1) * coefficients)

    def block(self, sum_ridge: float, chosen: Int64[Tensor, " m"]) -> Float64[Tensor, "m m"]:
        """G̃ between some samples."""
        vectors = self.modes.vectors[chosen]
        inverse = (vectors * self.scaled(sum_ridge)) @ vectors.mT
        if not self.modes.null_dim:
            return inverse
        null = vectors @ vectors.mT
        if self.direction is not None:
            own = self.direction[chosen]
            null.addr_(own, own)
        null.neg_().diagonal().copy_(self.null_leverage[chosen])
        return inverse.add_(null)
