"""The block Krylov space of a symmetric matrix that is only ever multiplied with: one space for all
right-hand sides and all shifts.

The Galerkin solution of (K + δI)X = B in the space of K from B is what block conjugate gradients
reach after as many products. With the basis kept and orthogonal to working precision, one space
serves every δ, and nothing is lost to rounding.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

NEGLIGIBLE = 1e-12
"""Of the largest singular value: a direction of a block below that is none."""


class Krylov:
    """An orthonormal basis Q of the space, as rows, and T = QKQᵀ.

    Attributes:
        count: dimensions so far.
        start: (r, b); the columns B are Q's first r rows, transposed, times it.
    """

    def __init__(
        self, times: Callable[[Tensor], Tensor], columns: Float64[Tensor, "n b"], most: int
    ):
        """The space of some columns, of at most `most` dimensions; `times` multiplies (n, b) by K."""
        self.times = times
        block, self.start = _orthonormal(columns, 0.0)
        self.most = max(most, len(block))
        self.basis = columns.new_empty(self.most, len(columns))
        self.projected = columns.new_zeros(self.most, self.most)
        self.basis[: len(block)] = block
        self.count, self.last = len(block), slice(0, len(block))
        self.next, self.coupling = self._image()

    def grow(self) -> bool:
        """Take the next block in; whether there was one, and room for it."""
        size, stop = len(self.next), self.count + len(self.next)
        if not size or stop > self.most:
            return False
        self.basis[self.count : stop] = self.next
        self.projected[self.count : stop, self.last] = self.coupling
        self.projected[self.last, self.count : stop] = self.coupling.mT
        self.last, self.count = slice(self.count, stop), stop
        self.next, self.coupling = self._image()
        return True

    def matrix(self, shift: float = 0.0) -> Float64[Tensor, "k k"]:
        """T + δI; its eigenvalues lie between those of K + δI."""
        matrix = self.projected[: self.count, : self.count].clone()
        matrix.diagonal().add_(shift)
        return matrix

    def solve(self, shift: float) -> tuple[Float64[Tensor, "k b"], Float64[Tensor, " b"]]:
        """Coordinates of the solution for one shift δ > 0 at which T + δI is definite, and the
        norms of its residuals.
        """
        right = self.projected.new_zeros(self.count, self.start.shape[1])
        right[: len(self.start)] = self.start
        solution = torch.cholesky_solve(right, torch.linalg.cholesky(self.matrix(shift)))
        return solution, torch.linalg.vector_norm(self.coupling @ solution[self.last], dim=0)

    def _image(self) -> tuple[Float64[Tensor, "r n"], Float64[Tensor, "r last"]]:
        """What K adds to the space by the last block: the new directions, and how they couple to
        it.
        """
        basis = self.basis[: self.count]
        image = self.times(self.basis[self.last].mT)
        scale, corner = torch.linalg.matrix_norm(image).item(), 0.0
        for _ in range(2):
            overlap = basis @ image
            image -= basis.mT @ overlap
            corner = corner + overlap[self.last]
        self.projected[self.last, self.last] = (corner + corner.mT) / 2
        directions, coupling = _orthonormal(image, scale)
        # rounding is no small part of a small image: the basis is taken out of its directions once
        # more
        frame, turn = torch.linalg.qr((directions - (directions @ basis.mT) @ basis).mT)
        return frame.mT, turn @ coupling


def _orthonormal(
    columns: Float64[Tensor, "n b"], scale: float
) -> tuple[Float64[Tensor, "r n"], Float64[Tensor, "r b"]]:
    """Orthonormal rows that span the columns, and the columns' coordinates in them; what is
    negligible beside `scale` is dropped.
    """
    left, singular, right = torch.linalg.svd(columns, full_matrices=False)
    rank = int((singular > NEGLIGIBLE * max(scale, torch.linalg.matrix_norm(columns).item())).sum())
    return left[:, :rank].mT, singular[:rank, None] * right[:rank]
