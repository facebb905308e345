"""Block Cholesky factors of a band matrix B + δI for many shifts δ at once.

B is block tridiagonal, with blocks D_j on the diagonal and C_j below it. With L_j the Cholesky
factor of the j-th pivot, E_j = L_j⁻¹ and N_j = E_j C_j E_{j−1}ᵀ the elimination is

    W_j = C_j E_{j−1}ᵀ,    L_j L_jᵀ = D_j + δI − W_j W_jᵀ,    N_j = E_j W_j,

and B + δI = 𝓔⁻¹(I + 𝓝)(I + 𝓝)ᵀ𝓔⁻ᵀ, 𝓔 with the blocks E_j on and 𝓝 with N_j below the diagonal.
All that follows consists of products of small matrices, one batch over the shifts per block, on a
CPU as on CUDA.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shifted:
    """B + δI, factored for every shift.

    Attributes:
        inverses: E_j, per block.
        multipliers: N_j, per block from the second on.
        trace: tr (B + δI)⁻¹.
        trace_square: tr (B + δI)⁻².
        positive: Whether B + δI is positive definite; where it is not, the rest is of no use.
    """

    inverses: list[Float64[Tensor, "l _b _b"]]
    multipliers: list[Float64[Tensor, "l _b _a"]]
    trace: Float64[Tensor, " l"]
    trace_square: Float64[Tensor, " l"]
    positive: Bool[Tensor, " l"]

    @classmethod
    def of(
        cls,
        diagonal: list[Float64[Tensor, "_b _b"]],
        below: list[Float64[Tensor, "_b _a"]],
        shifts: Float64[Tensor, " l"],
    ) -> "Shifted":
        """Factor, and sum up the traces.

        The pivots S_j = L_j L_jᵀ are functions of δ, and log det (B + δI) = Σ_j log det S_j. With
        P_j = E_j S_j' E_jᵀ and R_j = −E_j S_j'' E_jᵀ, from the first and the second derivative,

            P_j = E_j E_jᵀ + N_j P_{j−1} N_jᵀ,    tr (B + δI)⁻¹ = Σ_j tr P_j,
            R_j = N_j (R_{j−1} + 2 P_{j−1}²) N_jᵀ,    tr (B + δI)⁻² = Σ_j ‖P_j‖² + tr R_j.

        P_j and R_j are positive semidefinite: nothing cancels in either sum.

        Args:
            diagonal: D_j, symmetric.
            below: C_j, from the second block on.
            shifts: δ.
        """
        inverses: list[Tensor] = []
        multipliers: list[Tensor] = []
        trace, trace_square = torch.zeros_like(shifts), torch.zeros_like(shifts)
        positive = torch.ones_like(shifts, dtype=torch.bool)
        slope = curvature = shifts.new_zeros(0)  # P and R of the last block
        for number, block in enumerate(diagonal):
            eye = torch.eye(len(block), dtype=block.dtype, device=block.device)
            pivot = block + shifts[:, None, None] * eye
            if number:
                coupling = below[number - 1] @ inverses[-1].mT
                pivot.baddbmm_(coupling, coupling.mT, alpha=-1)
            factor, failed = torch.linalg.cholesky_ex(pivot)
            positive &= failed == 0
            inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
            gram = inverse @ inverse.mT
            if number:
                multiplier = inverse @ coupling
                inner = torch.baddbmm(curvature, slope, slope, alpha=2)
                curvature = multiplier @ inner @ multiplier.mT
                slope = gram.baddbmm_(multiplier @ slope, multiplier.mT)
                multipliers.append(multiplier)
            else:
                slope, curvature = gram, torch.zeros_like(gram)
            trace += _traces(slope)
            trace_square += slope.square().sum(dim=(1, 2)) + _traces(curvature)
            inverses.append(inverse)
        return cls(inverses, multipliers, trace, trace_square, positive)

    def solve(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "l n c"]:
        """(B + δI)⁻¹ times `columns`, for every shift."""
        parts = list(self._halves(columns))
        for number in reversed(range(len(self.multipliers))):
            parts[number].baddbmm_(self.multipliers[number].mT, parts[number + 1], alpha=-1)
        solved = (inverse.mT @ part for inverse, part in zip(self.inverses, parts, strict=True))
        return torch.cat(list(solved), dim=1)

    def quadratic_forms(self, rows: Float64[Tensor, "r n"]) -> Float64[Tensor, "l r"]:
        """qᵀ(B + δI)⁻¹q for every shift and every row q; l·r numbers per block are held."""
        forms = self.trace.new_zeros(len(self.trace), len(rows))
        for half in self._halves(rows.mT):
            forms += half.square().sum(dim=1)
        return forms

    def grams(self, rows: Float64[Tensor, "r n"]) -> Float64[Tensor, "l r r"]:
        """QᵀB⁻¹Q, (B + δI)⁻¹ between all pairs of rows q of Q, for every shift."""
        count = len(rows)
        grams = self.trace.new_zeros(len(self.trace), count, count)
        for half in self._halves(rows.mT):
            grams.baddbmm_(half.mT, half)
        return grams

    def _halves(self, columns: Float64[Tensor, "n c"]) -> Iterator[Float64[Tensor, "l _b c"]]:
        """(I + 𝓝)⁻¹𝓔 times `columns`, block by block: its squares sum up to cᵀ(B + δI)⁻¹c."""
        low, half = 0, None
        for number, inverse in enumerate(self.inverses):
            shifts, rows, _ = inverse.shape
            part = inverse.flatten(0, 1) @ columns[low : low + rows]
            part = part.reshape(shifts, rows, -1)
            if half is not None:
                part.baddbmm_(self.multipliers[number - 1], half, alpha=-1)
            yield part
            low, half = low + rows, part


def _traces(matrices: Float64[Tensor, "l b b"]) -> Float64[Tensor, " l"]:
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
