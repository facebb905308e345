"""Reduction of a symmetric matrix to a band.

A = Q B Qᵀ with Q orthogonal and B a band of b columns beside the diagonal. The reduction consists
of products of large blocks, whereas a reduction to a tridiagonal matrix spends half its operations
on products with a vector, at the speed of memory. A band suffices (`shifted`): per shift δ,
(B + δI)⁻¹c and the traces of powers of (B + δI)⁻¹ take n b² operations, and the diagonal of
(A + δI)⁻¹ takes n² b. All is done in place of A, on a CPU as on CUDA.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.reflectors import Panel, unpacked
from rmtgen.linalg.shifted import Shifted

WIDTH, CUDA_WIDTH = 48, 128
"""Width b of the band: enough for products at full speed, few enough for cheap shifts."""
STRIP = 1024
"""Number of columns of a triangle that are processed at a time."""


def width_on(device: torch.device) -> int:
    """The width of the band on a device."""
    return CUDA_WIDTH if device.type == "cuda" else WIDTH


@dataclass(frozen=True, eq=False)
class Band:
    """A = Q B Qᵀ with B banded, computed in place of A.

    Attributes:
        matrix: (n, n); the reflectors of Q below the band, and nothing of use elsewhere.
        factors: Triangle T (r, r) of the block reflector I − V T Vᵀ, per panel.
        diagonal: D_j, the blocks of B on the diagonal, b rows each but for the last.
        below: C_j, those below the diagonal, from the second on.
    """

    matrix: Float64[Tensor, "n n"]
    factors: list[Float64[Tensor, "_r _r"]]
    diagonal: list[Float64[Tensor, "_b _b"]]
    below: list[Float64[Tensor, "_b _a"]]

    @classmethod
    def of_(cls, matrix: Float64[Tensor, "n n"], width: int) -> "Band":
        """Reduce a symmetric matrix, which is overwritten; 4/3 n³ operations.

        Args:
            matrix: A, of which the lower triangle is read.
            width: b.
        """
        factors, n = [], len(matrix)
        diagonal: list[Tensor] = []
        below: list[Tensor] = []
        for low in range(0, n, STRIP):
            corner = matrix[low : low + STRIP, low : low + STRIP]
            corner.copy_(corner.tril() + corner.tril(-1).mT)
        for low in range(0, n, width):
            start = low + width
            corner = matrix[low:start, low:start]
            diagonal.append(corner.tril() + corner.tril(-1).mT)
            if start >= n:
                break
            packed, vectors, factor = Panel.of(matrix[start:, low:start])
            matrix[start:, low:start] = packed
            below.append(packed[:width].triu())
            factors.append(factor)
            _two_sided_(matrix, start, vectors, factor)
        return cls(matrix, factors, diagonal, below)

    def shifted(self, shifts: Float64[Tensor, " l"]) -> Shifted:
        """B + δI, factored for every shift δ."""
        return Shifted.of(self.diagonal, self.below, shifts)

    def rotated(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Qᵀ times `columns`."""
        columns = columns.clone()
        for number, factor in enumerate(self.factors):
            start, vectors = self._panel(number)
            rest = columns[start:]
            rest.addmm_(vectors, factor.mT @ (vectors.mT @ rest), alpha=-1)
        return columns

    def restored(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Q times `columns`."""
        columns = columns.clone()
        for number in reversed(range(len(self.factors))):
            start, vectors = self._panel(number)
            rest = columns[start:]
            rest.addmm_(vectors, self.factors[number] @ (vectors.mT @ rest), alpha=-1)
        return columns

    def frame_(self) -> Float64[Tensor, "n n"]:
        """Q, in place of its reflectors, after which `rotated` and `restored` have no meaning.

        4/3 n³ operations: Q is the product of the block reflectors from the last to the first. Each
        changes the rows and columns behind its panel, where the reflectors have been used.
        """
        width = len(self.diagonal[0])
        corner = self.matrix[(len(self.diagonal) - 1) * width :, -len(self.diagonal[-1]) :]
        corner.zero_().diagonal().fill_(1)
        for number in reversed(range(len(self.factors))):
            start, vectors = self._panel(number)
            _unit_edge_(self.matrix, start - width, width)
            rest = self.matrix[start:, start:]
            rest.addmm_(vectors, self.factors[number] @ (vectors.mT @ rest), alpha=-1)
        return self.matrix

    def _panel(self, number: int) -> tuple[int, Float64[Tensor, "m r"]]:
        """The first row of the reflectors of a panel, and the reflectors."""
        width = len(self.diagonal[0])
        low = number * width
        return low + width, unpacked(self.matrix[low + width :, low : low + width])


def _unit_edge_(matrix: Float64[Tensor, "n n"], low: int, width: int) -> None:
    """Make the rows and columns low … low + `width` behind `low` those of the unit matrix."""
    matrix[low:, low : low + width] = 0
    matrix[low : low + width, low:] = 0
    matrix.diagonal()[low : low + width] = 1


def _two_sided_(
    matrix: Float64[Tensor, "n n"],
    start: int,
    vectors: Float64[Tensor, "m r"],
    factor: Float64[Tensor, "r r"],
) -> None:
    """QᵀAQ for Q = I − V T Vᵀ, in place, A the rows and columns from `start` on.

    With Y = AVT, multiplying out gives QᵀAQ = A − YVᵀ − VYᵀ + V(TᵀVᵀY)Vᵀ. The last factor in
    parentheses is symmetric; half of it joins either product: A − WVᵀ − VWᵀ with
    W = Y − ½V(TᵀVᵀY), an update of rank 2r.

    The lower triangle of A is read, and all of each square of `STRIP` on the diagonal; both are
    kept up to date.
    """
    n = len(matrix)
    edges = [start, *range((start // STRIP + 1) * STRIP, n, STRIP), n]
    image = torch.zeros_like(vectors)  # AV
    for low, high in pairwise(edges):
        here, after = slice(low - start, high - start), slice(high - start, None)
        below = matrix[high:, low:high]
        image[here] += matrix[low:, low:high].mT @ vectors[low - start :]
        image[after] += below @ vectors[here]
    image = image @ factor  # Y
    update = image - vectors @ (0.5 * (factor.mT @ (vectors.mT @ image)))  # W
    left, right = torch.cat([update, vectors], dim=1), torch.cat([vectors, update], dim=1)
    for low, high in pairwise(edges):
        matrix[low:, low:high].addmm_(
            left[low - start :], right[low - start : high - start].mT, alpha=-1
        )
