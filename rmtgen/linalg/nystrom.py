"""Conjugate gradients for (K + δI)X = B, preconditioned by a Nyström approximation of K.

For a sketch Ω of k orthonormal columns and a small shift ν the approximation is

    Y = (K + νI)Ω,    CᵀC = ΩᵀY,    YC⁻¹ = UΣVᵀ,    Λ = max(Σ² − ν, 0),    K ≈ UΛUᵀ,

and with its smallest eigenvalue λ_k the preconditioner is

    P⁻¹ = (λ_k + δ) U(Λ + δI)⁻¹Uᵀ + (I − UUᵀ).

The sketch is a block Krylov space of random columns, which is known by products that were made
already: with its basis Q and the next directions q of it, KQ = QT + qc. So Y lies in the span of
[Q q], and all that is new is a singular value decomposition of side k. Nothing n×k is held twice.

References: Frangella, Tropp & Udell 2023, Randomized Nyström preconditioning (SIAM J. Matrix Anal.
Appl. 44); Musco & Musco 2015, Randomized block Krylov methods, for the sketch.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.krylov import Krylov

EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).tiny


class Nystrom:
    """The Nyström approximation UΛUᵀ of K whose sketch is a Krylov space of K.

    Attributes:
        space: The space, which must not grow any more.
        values: Λ, descending.
    """

    def __init__(self, space: Krylov):
        """Decompose what is known of K.

        Args:
            space: A space on which K is positive semidefinite.
        """
        self.space = space
        size, coupling = space.dimension, space.coupling
        image = space.matrix()  # (Q q)ᵀKQ, of k + b rows
        image = torch.cat([image, image.new_zeros(len(coupling), size)])
        image[size:, space.last] = coupling
        norm = torch.linalg.matrix_norm(image, 2).item()
        # twice what rounding takes from T, and more than 0 for a K of zeros
        shift = max(2 * len(space.basis[0]) ** 0.5 * EPS * norm, TINY**0.5)
        image[:size].diagonal().add_(shift)
        factor = torch.linalg.cholesky(space.matrix(shift))
        half = torch.linalg.solve_triangular(factor, image.mT, upper=False).mT
        self._turn, singular, _ = torch.linalg.svd(half, full_matrices=False)
        self.values = (singular.square() - shift).clamp_min(0.0)

    def precondition(self, columns: Float64[Tensor, "n b"], shift: float) -> Float64[Tensor, "n b"]:
        """P⁻¹ of K + δI times `columns`.

        Args:
            columns: What is multiplied.
            shift: δ > 0.
        """
        basis = self.space.basis[: self.space.dimension]
        within = torch.cat([basis @ columns, self.space.next @ columns])
        weights = (self.values[-1] + shift) / (self.values + shift) - 1
        within = self._turn @ (weights[:, None] * (self._turn.mT @ within))
        changed = torch.addmm(columns, basis.mT, within[: len(basis)])
        return changed.addmm_(self.space.next.mT, within[len(basis) :])


def conjugate_gradients(
    times: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    columns: Float64[Tensor, "n b"],
    solution: Float64[Tensor, "n b"],
    done: Callable[[Tensor, Tensor], bool],
    most: int,
) -> tuple[Float64[Tensor, "n b"], int]:
    """Solve AX = B for all columns at once, each with coefficients of its own.

    Args:
        times: Product with A, symmetric and positive definite.
        precondition: Product with an approximation of its inverse.
        columns: B.
        solution: Where to start; overwritten by X.
        done: Whether X is close enough, from X and the norms of its residuals.
        most: Largest number of iterations.

    Returns:
        The residuals, computed from X, and the number of iterations.
    """
    residual = columns - times(solution)
    directed = precondition(residual)
    direction, energy = directed.clone(), (residual * directed).sum(dim=0)
    norms, count = torch.linalg.vector_norm(residual, dim=0), 0
    while count < most and not done(solution, norms):
        image = times(direction)
        step = energy / (direction * image).sum(dim=0).clamp_min(TINY)
        solution.addcmul_(direction, step)
        residual.addcmul_(image, step, value=-1)
        directed, before = precondition(residual), energy
        energy = (residual * directed).sum(dim=0)
        direction.mul_(energy / before.clamp_min(TINY)).add_(directed)
        norms, count = torch.linalg.vector_norm(residual, dim=0), count + 1
    if count:
        torch.sub(columns, times(solution), out=residual)
    return residual, count
