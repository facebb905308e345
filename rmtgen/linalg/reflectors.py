"""Block reflectors: products of Householder reflections, as products of large blocks."""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

PANEL = 96
"""Number of columns of a triangle that are eliminated at a time."""


class Panel(NamedTuple):
    """A panel A = QR, Q = I − V T Vᵀ.

    Attributes:
        packed: R on and above the diagonal, V without its diagonal of ones below it.
        vectors: V, unit lower trapezoidal, r = min(m, b).
        factor: T, upper triangular.
    """

    packed: Float64[Tensor, "m b"]
    vectors: Float64[Tensor, "m r"]
    factor: Float64[Tensor, "r r"]

    @classmethod
    def of(cls, panel: Float64[Tensor, "m b"]) -> "Panel":
        """The QR factorisation of a panel."""
        packed, tau = torch.geqrf(panel)
        vectors = unpacked(packed)
        return cls(packed, vectors, _block_factor(vectors, tau))


def unpacked(packed: Float64[Tensor, "m b"]) -> Float64[Tensor, "m r"]:
    """V of a packed panel."""
    vectors = packed[:, : len(packed)].tril(-1)
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


def append_rows_(
    triangle: Float64[Tensor, "k columns"], rows: Float64[Tensor, "r columns"]
) -> None:
    """Turn R into that of [R; X], both of which are overwritten; 2rk(k + 2c) operations.

    A reflector of a column touches one row of R and all of X. So the zeros of R stay, and what is
    left to do beside a panel are products of X.

    Args:
        triangle: R, upper triangular, and c more columns Z, on which the same reflectors act; zero
            to begin with.
        rows: X, and as many columns Y. There is then what the reflectors leave of Y below Z.
    """
    for low in range(0, len(triangle), PANEL):
        here = slice(low, min(low + PANEL, len(triangle)))
        packed, vectors, factor = Panel.of(torch.cat([triangle[here, here], rows[:, here]]))
        width = packed.shape[1]
        triangle[here, here] = packed[:width].triu()
        upper, lower = vectors[:width], vectors[width:]
        right, below = triangle[here, low + width :], rows[:, low + width :]
        inner = factor.mT @ torch.addmm(upper.mT @ right, lower.mT, below)
        right.addmm_(upper, inner, alpha=-1)
        below.addmm_(lower, inner, alpha=-1)
