"""Reduction of a symmetric matrix to a band, and solves with the shifted band.

A = Q B Qᵀ with Q orthogonal and B a band of b columns beside the diagonal. The reduction consists
of products of large blocks, whereas a reduction to a tridiagonal matrix spends half its operations
on products with a vector, at the speed of memory. A band suffices: (B + δI)⁻¹c, tr (B + δI)⁻¹ and
tr (B + δI)⁻² take n b² operations per shift δ. The same code runs on CUDA.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

WIDTH = 96
"""Width b of the band: enough for products at full speed, few enough for cheap shifts."""
STRIP = 1024
"""Number of columns of a triangle that are processed at a time."""


@dataclass(frozen=True, eq=False)
class Band:
    """A = Q B Qᵀ with B banded, computed in place of A.

    Attributes:
        matrix: (n, n); the band on and below the diagonal, the reflectors of Q below the band;
            nothing of use above the diagonal.
        factors: Triangle T (r, r) of the block reflector I − V T Vᵀ, per panel.
    """

    matrix: Float64[Tensor, "n n"]
    factors: list[Float64[Tensor, "_r _r"]]

    @classmethod
    def of_(cls, matrix: Float64[Tensor, "n n"]) -> "Band":
        """Reduce a symmetric matrix, which is overwritten; 4/3 n³ operations.

        Args:
            matrix: A, of which the lower triangle is read.
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
        """Qᵀ times `columns`."""
        columns = columns.clone()
        for number, factor in enumerate(self.factors):
            start, vectors = self._panel(number)
            columns[start:] -= vectors @ (factor.mT @ (vectors.mT @ columns[start:]))
        return columns

    def restored(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """Q times `columns`."""
        columns = columns.clone()
        for number in reversed(range(len(self.factors))):
            start, vectors = self._panel(number)
            columns[start:] -= vectors @ (self.factors[number] @ (vectors.mT @ columns[start:]))
        return columns

    def _panel(self, number: int) -> tuple[int, Float64[Tensor, "m r"]]:
        low = number * WIDTH
        return low + WIDTH, _reflectors(self.matrix[low + WIDTH :, low : low + WIDTH])

    def shifted(self, shifts: Float64[Tensor, " l"], columns: Float64[Tensor, "n c"]) -> "Shifted":
        """Solutions (B + δI)⁻¹c, tr (B + δI)⁻¹ and tr (B + δI)⁻² for every shift δ.

        B is block tridiagonal, with blocks D_j on the diagonal and C_j below it. Block elimination
        turns B + δI into the pivots

            S_0 = D_0 + δI,    S_j = D_j + δI − M_j C_jᵀ,    M_j = C_j S_{j−1}⁻¹,

        and log det (B + δI) = Σ_j log det S_j. From d S⁻¹/dδ = −S⁻¹S'S⁻¹ follow, with S' = I and
        S'' = 0 at j = 0,

            S_j' = I + M_j S'_{j−1} M_jᵀ,
            S_j'' = M_j (S''_{j−1} − 2 S'_{j−1} S_{j−1}⁻¹ S'_{j−1}) M_jᵀ,

        and from the first and the second derivative of log det

            tr (B + δI)⁻¹ = Σ_j tr S_j⁻¹S_j',
            tr (B + δI)⁻² = Σ_j tr (S_j⁻¹S_j')² − tr S_j⁻¹S_j''.

        S_j' is positive and S_j'' negative semidefinite, so that nothing cancels in either sum.
        """
        n = len(self.matrix)
        forward: list[Tensor] = []  # f_j = c_j − M_j f_{j−1}
        multipliers: list[Tensor] = []  # M_j
        factors: list[Tensor] = []  # Cholesky factors of S_j
        trace, trace_square = torch.zeros_like(shifts), torch.zeros_like(shifts)
        positive = torch.ones_like(shifts, dtype=torch.bool)
        first = second = trace.new_zeros(0)  # S' and S'' of the last pivot
        for low in range(0, n, WIDTH):
            pivot, eye = self._diagonal_block(low, shifts)
            right = columns[low : low + WIDTH].expand(len(shifts), -1, -1)
            slope, curvature = eye.expand_as(pivot), torch.zeros_like(pivot)
            if low:
                below = self.matrix[low : low + WIDTH, low - WIDTH : low].triu()  # C_j
                multiplier = torch.cholesky_solve(
                    below.mT.expand(len(shifts), -1, -1), factors[-1]
                ).mT
                pivot = pivot - multiplier @ below.mT
                right = right - multiplier @ forward[-1]
                slope = slope + multiplier @ first @ multiplier.mT
                inner = second - 2 * first @ torch.cholesky_solve(first, factors[-1])
                curvature = multiplier @ inner @ multiplier.mT
                multipliers.append(multiplier)
            factor, failed = torch.linalg.cholesky_ex(pivot)
            positive &= failed == 0
            solved = torch.cholesky_solve(slope, factor)  # S_j⁻¹S_j'
            trace += _traces(solved)
            trace_square += (solved * solved.mT).sum(dim=(1, 2))
            trace_square -= _traces(torch.cholesky_solve(curvature, factor))
            forward.append(right)
            factors.append(factor)
            first, second = slope, curvature
        solution = _back_substituted(forward, multipliers, factors)
        return Shifted(solution, trace, trace_square, positive)

    def _diagonal_block(
        self, low: int, shifts: Float64[Tensor, " l"]
    ) -> tuple[Float64[Tensor, "l b b"], Float64[Tensor, "b b"]]:
        """D_j + δI, D_j the block that starts at row `low`, and I."""
        corner = self.matrix[low : low + WIDTH, low : low + WIDTH]
        eye = torch.eye(len(corner), dtype=corner.dtype, device=corner.device)
        return corner.tril() + corner.tril(-1).mT + shifts[:, None, None] * eye, eye


@dataclass(frozen=True, eq=False)
class Shifted:
    """Results of `Band.shifted`, per shift.

    Attributes:
        solution: (B + δI)⁻¹c.
        trace: tr (B + δI)⁻¹.
        trace_square: tr (B + δI)⁻².
        positive: Whether B + δI is positive definite; where it is not, the rest is of no use.
    """

    solution: Float64[Tensor, "l n c"]
    trace: Float64[Tensor, " l"]
    trace_square: Float64[Tensor, " l"]
    positive: Bool[Tensor, " l"]


def _traces(matrices: Float64[Tensor, "l b b"]) -> Float64[Tensor, " l"]:
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1)


def _back_substituted(
    forward: list[Tensor], multipliers: list[Tensor], factors: list[Tensor]
) -> Float64[Tensor, "l n c"]:
    """x_j = S_j⁻¹f_j − M_{j+1}ᵀ x_{j+1}, from the last block to the first."""
    solution = [torch.cholesky_solve(forward[-1], factors[-1])]
    for block in reversed(range(len(multipliers))):
        part = torch.cholesky_solve(forward[block], factors[block])
        solution.append(part - multipliers[block].mT @ solution[-1])
    return torch.cat(solution[::-1], dim=1)


def _reflectors(reflected: Float64[Tensor, "m b"]) -> Float64[Tensor, "m r"]:
    """V of a QR factorisation as LAPACK stores it: unit lower trapezoidal."""
    vectors = reflected[:, : len(reflected)].tril(-1)
    vectors.diagonal().fill_(1.0)
    return vectors


def _block_factor(
    vectors: Float64[Tensor, "m r"], tau: Float64[Tensor, " r"]
) -> Float64[Tensor, "r r"]:
    """T of I − V T Vᵀ, the product of the reflectors.

    T⁻¹ = diag(1/τ) + U, U the strict upper part of VᵀV, so that (I + diag(τ)U) T = diag(τ).

    References:
        Schreiber & Van Loan 1989.
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
