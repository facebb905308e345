"""Symmetric matrices brought to a band by orthogonal transformations, and what a shifted band
answers at little cost.

Reduction to a band of b columns is all products of large blocks, where reduction to a tridiagonal
spends half its operations on products with a vector, at the speed of memory; and a band is as good:
(B + δI)⁻¹c, tr (B + δI)⁻¹ and tr (B + δI)⁻² take n b² operations. The same code runs on CUDA.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

WIDTH = 96
"""Columns of the band: enough for products at full speed, few enough that a shift costs little."""
STRIP = 1024
"""Columns of a triangle that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Band:
    """A = Q B Qᵀ, B banded, made in place of A.

    Attributes:
        matrix: (n, n); on and below the diagonal the band, below the band the reflectors of Q;
            above the diagonal nothing of use.
        factors: for each panel the triangle T (r, r) of its block reflector I − V T Vᵀ.
    """

    matrix: Float64[Tensor, "n n"]
    factors: list[Float64[Tensor, "r r"]]

    @classmethod
    def of_(cls, matrix: Float64[Tensor, "n n"]) -> "Band":
        """Reduce a symmetric matrix, given by its lower triangle, which is overwritten; 4/3 n³
        operations.
        """
        factors, n = [], len(matrix)
        for low in range(0, n, STRIP):
            corner = matrix[low : low + STRIP, low : low + STRIP]
            corner.copy_(corner.tril() + corner.tril(-1).mT)
        for low in range(0, n - WIDTH, WIDTH):
            panel = matrix[low + WIDTH :, low : low + WIDTH]
            reflected, tau = torch.geqrf(panel)
            panel.copy_(reflected)
            vectors = _reflectors(reflected)
            factor = _block_factor(vectors, tau)
            _two_sided_(matrix, low + WIDTH, vectors, factor)
            factors.append(factor)
        return cls(matrix, factors)

    def rotated(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Qᵀ times some columns."""
        columns = columns.clone()
        for number, factor in enumerate(self.factors):
            start, vectors = self._panel(number)
            columns[start:] -= vectors @ (factor.mT @ (vectors.mT @ columns[start:]))
        return columns

    def restored(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Q times some columns."""
        columns = columns.clone()
        for number in reversed(range(len(self.factors))):
            start, vectors = self._panel(number)
            columns[start:] -= vectors @ (self.factors[number] @ (vectors.mT @ columns[start:]))
        return columns

    def _panel(self, number: int) -> tuple[int, Tensor]:
        low = number * WIDTH
        return low + WIDTH, _reflectors(self.matrix[low + WIDTH :, low : low + WIDTH])

    def shifted(self, shifts: Float64[Tensor, " l"], columns: Float64[Tensor, "n c"]) -> "Shifted":
        """Solutions (B + δI)⁻¹c, tr (B + δI)⁻¹ and tr (B + δI)⁻² for every shift δ, by block
        elimination.

        With S_j the j-th pivot block, the first and second derivative of log det = Σ log det S_j in
        δ are the traces; every term of either has one sign, so nothing cancels.
        """
        n, eye = (
            len(self.matrix),
            torch.eye(WIDTH, dtype=self.matrix.dtype, device=self.matrix.device),
        )
        forward, multipliers, factors = [], [], []
        trace, trace_square = shifts.new_zeros(len(shifts)), shifts.new_zeros(len(shifts))
        positive = torch.ones_like(shifts, dtype=torch.bool)
        first = second = None
        for low in range(0, n, WIDTH):
            high = min(low + WIDTH, n)
            corner = self.matrix[low:high, low:high]
            pivot = (
                corner.tril()
                + corner.tril(-1).mT
                + shifts[:, None, None] * eye[: high - low, : high - low]
            )
            right = columns[low:high].expand(len(shifts), -1, -1)
            slope, curve = eye[: high - low, : high - low].expand_as(pivot), torch.zeros_like(pivot)
            if low:
                below = self.matrix[low:high, low - WIDTH : low].triu()
                multiplier = torch.cholesky_solve(
                    below.mT.expand(len(shifts), -1, -1), factors[-1]
                ).mT
                pivot -= multiplier @ below.mT
                right = right - multiplier @ forward[-1]
                bent = second - 2 * first @ torch.cholesky_solve(first, factors[-1])
                slope, curve = (
                    slope + multiplier @ first @ multiplier.mT,
                    multiplier @ bent @ multiplier.mT,
                )
                multipliers.append(multiplier)
            factor, failed = torch.linalg.cholesky_ex(pivot)
            positive &= failed == 0
            solved = torch.cholesky_solve(slope, factor)
            trace += solved.diagonal(dim1=1, dim2=2).sum(dim=1)
            trace_square += (solved * solved.mT).sum(dim=(1, 2))
            trace_square -= torch.cholesky_solve(curve, factor).diagonal(dim1=1, dim2=2).sum(dim=1)
            forward.append(right)
            factors.append(factor)
            first, second = slope, curve
        solution, after = [], None
        for block in reversed(range(len(factors))):
            part = torch.cholesky_solve(forward[block], factors[block])
            after = part if after is None else part - multipliers[block].mT @ after
            solution.append(after)
        return Shifted(torch.cat(solution[::-1], dim=1), trace, trace_square, positive)


@dataclass(frozen=True, eq=False)
class Shifted:
    """What `Band.shifted` gives: solutions, traces of the inverse and of its square, and whether B
    + δI was positive definite.
    """

    solution: Float64[Tensor, "l n c"]
    trace: Float64[Tensor, " l"]
    trace_square: Float64[Tensor, " l"]
    positive: Tensor


def _reflectors(reflected: Float64[Tensor, "m b"]) -> Float64[Tensor, "m r"]:
    """V of a QR factorisation as LAPACK leaves it: unit lower trapezoidal."""
    vectors = reflected[:, : len(reflected)].tril(-1)
    vectors.diagonal().fill_(1.0)
    return vectors


def _block_factor(
    vectors: Float64[Tensor, "m r"], tau: Float64[Tensor, " r"]
) -> Float64[Tensor, "r r"]:
    """T of I − V T Vᵀ, the product of the reflectors (Schreiber & Van Loan 1989): T⁻¹ = diag(1/τ) +
    the strict upper part of VᵀV.
    """
    inner = tau[:, None] * (vectors.mT @ vectors).triu(1)
    inner.diagonal().fill_(1.0)
    return torch.linalg.solve_triangular(inner, torch.diag(tau), upper=True, unitriangular=True)


def _two_sided_(
    matrix: Float64[Tensor, "n n"],
    start: int,
    vectors: Float64[Tensor, "m r"],
    factor: Float64[Tensor, "r r"],
) -> None:
    """QᵀAQ for Q = I − V T Vᵀ and A the rows and columns from `start` on, as the rank-2r update A −
    WVᵀ − VWᵀ.

    Of A the lower triangle is read, and the whole of each square of `STRIP` on the diagonal; both
    are kept up to date.
    """
    n = len(matrix)
    edges = [start, *range((start // STRIP + 1) * STRIP, n, STRIP), n]
    image = torch.zeros_like(vectors)
    for low, high in pairwise(edges):
        here, after = slice(low - start, high - start), slice(high - start, None)
        below = matrix[high:, low:high]
        image[here] += matrix[low:, low:high].mT @ vectors[low - start :]
        image[after] += below @ vectors[here]
    image = image @ factor
    update = image - vectors @ (0.5 * (factor.mT @ (vectors.mT @ image)))
    left, right = torch.cat([update, vectors], dim=1), torch.cat([vectors, update], dim=1)
    for low, high in pairwise(edges):
        matrix[low:, low:high].addmm_(
            left[low - start :], right[low - start : high - start].mT, alpha=-1
        )
