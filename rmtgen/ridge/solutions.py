"""Solutions of (K + δI)X = B for many δ from products with K alone.

One block Krylov space of B holds them at every δ. It grows until the smallest one is solved. Where
the memory ends before, conjugate gradients go on from the solution in the space, preconditioned by
the Nyström approximation that the space is a sketch for (`linalg.nystrom`). Its rank is what the
memory allows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import warn
from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.modes import indefinite, rounding
from rmtgen.linalg.nystrom import Nystrom, conjugate_gradients

TOLERANCE = 1e-4
"""Bound on the relative error of the solutions at which the space is large enough."""
GROWTH = 1.2
"""Factor by which the dimension grows between two checks of the residual."""
BASIS_SHARE = 0.7
"""Share of the memory budget for the space and blocks; the rest holds products and a tile."""
BLOCKS = 8
"""Number of matrices of all right-hand sides that conjugate gradients hold."""
SQUARES = 6
"""Number of matrices k×k: T, a factor of it, and what its decomposition takes."""
MOST_STEPS = 300
"""Largest number of iterations of conjugate gradients, each of which reads the matrix once."""


def block_bytes(n: int, columns: int) -> int:
    """The least budget for so many right-hand sides."""
    return int(8 * BLOCKS * n * columns / BASIS_SHARE)


def largest_space(n: int, columns: int, budget: float, intercept: bool) -> int:
    """Largest dimension k of a space that fits beside the blocks: k n + `SQUARES`·k² numbers."""
    room = max(0, int(budget * BASIS_SHARE / 8) - BLOCKS * n * columns) / SQUARES
    half = n / SQUARES / 2
    return min(n - intercept, int((half**2 + room) ** 0.5 - half))


@dataclass(frozen=True, eq=False)
class Solved:
    """The solutions at one sum ridge.

    Attributes:
        solution: X, or its coordinates in the basis of the space.
        right: B, or its coordinates.
        residuals: Norms of the residuals of each column.
        basis: The basis by rows; None where the solution is given as it is.
        rest: B − (K + δI)X where it is.
    """

    solution: Float64[Tensor, "k b"]
    right: Float64[Tensor, "k b"]
    residuals: Float64[Tensor, " b"]
    basis: Float64[Tensor, "k n"] | None = None
    rest: Float64[Tensor, "n b"] | None = None

    def full(self, columns: int) -> Float64[Tensor, "n c"]:
        """The first columns of X."""
        solution = self.solution[:, :columns]
        return solution if self.basis is None else self.basis.mT @ solution

    def between(self) -> Float64[Tensor, "b b"]:
        """BᵀGB, with an error of ‖r_i‖‖r_j‖/δ at most.

        With the residuals R it is BᵀX + XᵀR + RᵀGR, and in the space XᵀR = 0.
        """
        product = self.right.mT @ self.solution
        if self.rest is not None:
            product += self.solution.mT @ self.rest
        return (product + product.mT) / 2


Measure = Callable[[Float64[Tensor, "k b"], Float64[Tensor, "k b"], Float64[Tensor, " b"]], float]
"""δ times the relative error, from B and X, or coordinates of both, and the norms of residuals."""


class Solutions:
    """X at every δ ≥ the smallest.

    Attributes:
        space: The Krylov space of B.
    """

    def __init__(
        self,
        times: Callable[[Tensor], Tensor],
        right: Float64[Tensor, "n b"],
        most: int,
        measure: Measure,
        name: str,
    ):
        """Start the space of B.

        Args:
            times: Product of K with a matrix (n, b).
            right: B.
            most: Largest dimension of the space.
            measure: Which error must come under `TOLERANCE`.
            name: What the solutions are, for messages.
        """
        self.times, self.right, self.measure, self.name = times, right, measure, name
        self.space = Krylov(times, right, most)

    def reach(self, sum_ridge: float, *, single: bool) -> "Solutions":
        """Grow the space until a sum ridge is solved, or the memory is full.

        Args:
            sum_ridge: The smallest δ.
            single: Whether K was rounded to float32.

        Raises:
            NumericalError: K is indefinite on the space.
        """
        self._require_semidefinite(single)
        self._grow(sum_ridge)
        self._require_semidefinite(single)
        return self

    def at(self, sum_ridge: float) -> Solved:
        """The solution in the space, or where it is not close enough the one that goes on there.

        Args:
            sum_ridge: δ.

        Warns:
            RmtgenWarning: Conjugate gradients do not converge.
        """
        space, (solution, residuals) = self.space, self.space.solve(sum_ridge)
        basis, start = space.basis[: space.dimension], self._start()
        if self.measure(start, solution, residuals) <= TOLERANCE * sum_ridge:
            return Solved(solution, start, residuals, basis)
        solution = basis.mT @ solution
        rest, steps = conjugate_gradients(
            lambda columns: self.times(columns).add_(columns, alpha=sum_ridge),
            lambda columns: self._nystrom.precondition(columns, sum_ridge),
            self.right,
            solution,
            lambda *found: self.measure(self.right, *found) <= TOLERANCE * sum_ridge,
            MOST_STEPS,
        )
        residuals = torch.linalg.vector_norm(rest, dim=0)
        error = self.measure(self.right, solution, residuals) / sum_ridge
        if error > 2 * TOLERANCE:  # rounding of the recurrence
            warn(
                f"the relative error of {self.name} should be <= {TOLERANCE:g}, got up to"
                f" {error:.2g} at δ = {sum_ridge:.3g} after {steps} iterations from"
                f" {space.dimension} of {len(self.right)} dimensions, all that the memory allows."
                " Raise memory, or trust larger ridges."
            )
        return Solved(solution, self.right, residuals, rest=rest)

    def _start(self) -> Float64[Tensor, "k b"]:
        """Coordinates of B."""
        space = self.space
        start = space.projected.new_zeros(space.dimension, space.start.shape[1])
        start[: len(space.start)] = space.start
        return start

    def _grow(self, sum_ridge: float) -> None:
        space, look = self.space, self.space.dimension
        while self.measure(self._start(), *space.solve(sum_ridge)) > TOLERANCE * sum_ridge:
            look = GROWTH * look
            while space.dimension < look:
                if not space.grow():
                    return

    def _require_semidefinite(self, single: bool) -> None:
        """Refuse a K that is indefinite on the space."""
        n, matrix = len(self.right), self.space.matrix()
        tolerance = rounding(n, single) * torch.linalg.matrix_norm(matrix).item()
        if torch.linalg.cholesky_ex(self.space.matrix(tolerance)).info.item():
            values = torch.linalg.eigvalsh(matrix)
            raise indefinite(values[0].item(), values[-1].item(), n, tolerance)

    @cached_property
    def _nystrom(self) -> Nystrom:
        return Nystrom(self.space)
