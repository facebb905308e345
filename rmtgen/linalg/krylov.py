"""The block Krylov space of a symmetric matrix that is available only through products.

The Galerkin solution of (K + δI)X = B in the Krylov space of K and B is what block conjugate
gradients reach after the same number of products. The basis is kept, orthogonal to working
precision, so that one space serves all right-hand sides and every δ, and no digits are lost.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

NEGLIGIBLE = 1e-12
"""Deflation tolerance, relative to the largest singular value."""


class Krylov:
    """An orthonormal basis Q of the space, stored by rows, and T = QKQᵀ.

    Attributes:
        dimension: Dimension k of the space so far.
        start: (r, b); the right-hand sides are B = Q_rᵀ·start, Q_r the first r rows of Q.
    """

    def __init__(
        self, times: Callable[[Tensor], Tensor], columns: Float64[Tensor, "n b"], most: int
    ):
        """Start the space of `columns`.

        Args:
            times: Product of K with a matrix (n, b).
            columns: B.
            most: Largest dimension; at least the rank of B is taken.
        """
        self.times = times
        block, self.start = _orthonormal(columns, 0.0)
        self.most = max(most, len(block))
        self.basis = columns.new_empty(self.most, len(columns))
        self.projected = columns.new_zeros(self.most, self.most)
        self.basis[: len(block)] = block
        self.dimension, self.last = len(block), slice(0, len(block))
        self.next, self.coupling = self._image()

    def grow(self) -> bool:
        """Add the next block to the basis; False if there is none, or no room for it."""
        size, stop = len(self.next), self.dimension + len(self.next)
        if not size or stop > self.most:
            return False
        self.basis[self.dimension : stop] = self.next
        self.projected[self.dimension : stop, self.last] = self.coupling
        self.projected[self.last, self.dimension : stop] = self.coupling.mT
        self.last, self.dimension = slice(self.dimension, stop), stop
        self.next, self.coupling = self._image()
        return True

    def matrix(self, shift: float = 0.0) -> Float64[Tensor, "k k"]:
        """T + δI; its eigenvalues lie between those of K + δI."""
        matrix = self.projected[: self.dimension, : self.dimension].clone()
        matrix.diagonal().add_(shift)
        return matrix

    def solve(self, shift: float) -> tuple[Float64[Tensor, "k b"], Float64[Tensor, " b"]]:
        """Coordinates of the Galerkin solution at one shift, and the norms of its residuals.

        The image of the last block leaves the space, and nothing else does: the residual is the
        coupling to the next block times the last block of the solution.

        Args:
            shift: δ > 0 for which T + δI is positive definite.
        """
        right = self.projected.new_zeros(self.dimension, self.start.shape[1])
        right[: len(self.start)] = self.start
        solution = torch.cholesky_solve(right, torch.linalg.cholesky(self.matrix(shift)))
        return solution, torch.linalg.vector_norm(self.coupling @ solution[self.last], dim=0)

    def _image(self) -> tuple[Float64[Tensor, "r n"], Float64[Tensor, "r last"]]:
        """The new directions of K times the last block, and their coupling to that block."""
        basis = self.basis[: self.dimension]
        image = self.times(self.basis[self.last].mT)
        scale = torch.linalg.matrix_norm(image).item()
        corner = image.new_zeros(image.shape[1], image.shape[1])
        for _ in range(2):  # twice is enough for orthogonality to working precision
            overlap = basis @ image
            image -= basis.mT @ overlap
            corner = corner + overlap[self.last]
        self.projected[self.last, self.last] = (corner + corner.mT) / 2
        directions, coupling = _orthonormal(image, scale)
        # rounding is a large part of a small image: the directions are orthogonalised once more
        frame, turn = torch.linalg.qr((directions - (directions @ basis.mT) @ basis).mT)
        return frame.mT, turn @ coupling


def _orthonormal(
    columns: Float64[Tensor, "n b"], scale: float
) -> tuple[Float64[Tensor, "r n"], Float64[Tensor, "r b"]]:
    """Orthonormal rows that span `columns`, and the coordinates of `columns` in them.

    Directions that are negligible beside `scale` or the norm of `columns` are dropped.
    """
    left, singular, right = torch.linalg.svd(columns, full_matrices=False)
    rank = int((singular > NEGLIGIBLE * max(scale, torch.linalg.matrix_norm(columns).item())).sum())
    return left[:, :rank].mT, singular[:rank, None] * right[:rank]
