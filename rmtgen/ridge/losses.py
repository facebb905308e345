"""GCV and leave-one-out as losses that torch can differentiate, for what a kernel depends on.

With A = K + nλI = LLᵀ and G = A⁻¹ from its one Cholesky factor, the adjoint of G gives that of A as
Ā = −G Ḡ G, two products. With an intercept A is HKH + nλI + s·11ᵀ/n, H = I − 11ᵀ/n, and
P = A⁻¹ − 11ᵀ/(n(nλ + s)) takes the place of G. It is the same for every s; one of the scale of K
keeps the direction 1 from taking digits of the others.
"""

from typing import Any, SupportsFloat

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.checks import real_number, square_matrix, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.scalars import flag


@public
def gcv_loss(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    ridge: SupportsFloat | Tensor,
    *,
    intercept: bool = False,
) -> Float64[Tensor, ""]:
    """GCV(λ) = n‖GY‖²/(tr G)² of one fit, differentiable in the Gram matrix and in the ridge.

    The number is the column `gcv` of `ridge_path`. Its minimiser over the parameters of a kernel is
    optimistic by what they adapt to the sample: `learn_weights` corrects that.

    Args:
        gram: K (n, n), float32 or float64; of a matrix that is not symmetric, (K + Kᵀ)/2 counts.
            The work runs in float64, on its device.
        targets: (n,) or (n, c).
        ridge: λ ≥ 0, a number or a tensor of one.
        intercept: Add an unpenalised intercept.

    Returns:
        The value, summed over outputs, with the graph of autograd where `gram` or `ridge` has one.

    Raises:
        UsageError: Shapes that do not fit, a negative ridge, or a single sample with an intercept.
        NumericalError: Non-finite input, or K + nλI that is not positive definite.

    References:
        Craven & Wahba 1978; Golub, Heath & Wahba 1979; Jacot et al. 2020 (KARE); Schwab, Kelly,
        Malamud & Xu 2025, who train on it.
    """
    return gcv_of(*_solved(gram, targets, ridge, intercept))


@public
def loo_loss(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    ridge: SupportsFloat | Tensor,
    *,
    intercept: bool = False,
) -> Float64[Tensor, ""]:
    """(1/n) Σ_i ‖(GY)_i/G_ii‖² of one fit, differentiable in the Gram matrix and in the ridge.

    The number is the column `loo` of `ridge_path`. Unlike GCV it holds for samples that are not
    alike.

    Args:
        gram: As in `gcv_loss`, like the other arguments.
        targets: (n,) or (n, c).
        ridge: λ ≥ 0.
        intercept: Add an unpenalised intercept.

    Returns:
        As `gcv_loss`.

    Raises:
        UsageError, NumericalError: As `gcv_loss`.

    References:
        Golub, Heath & Wahba 1979; Allen 1974 (PRESS).
    """
    return left_out_losses(*_solved(gram, targets, ridge, intercept)).mean()


def gcv_of(dual: Float64[Tensor, "n c"], inverse: Float64[Tensor, "n n"]) -> Float64[Tensor, ""]:
    """n‖α‖²/(tr G)², from α = GY and G."""
    return len(dual) * dual.square().sum() / inverse.diagonal().sum().square()


def left_out_losses(
    dual: Float64[Tensor, "n c"], inverse: Float64[Tensor, "n n"]
) -> Float64[Tensor, " n"]:
    """ℓ_i = ‖α_i‖²/G_ii², from α = GY and G."""
    return (dual / inverse.diagonal()[:, None]).square().sum(dim=1)


def solved(
    matrix: Float64[Tensor, "n n"],
    targets: Float64[Tensor, "n c"],
    ridge: float | Float64[Tensor, ""],
    intercept: bool,
) -> tuple[Float64[Tensor, "n c"], Float64[Tensor, "n n"]]:
    """GY and G of a symmetric K, with an intercept PY and P.

    Raises:
        NumericalError: K + nλI is not positive definite.
    """
    n = len(matrix)
    lift, sum_ridge = 0.0, n * ridge
    if targets.is_inference():  # autograd keeps no such tensor
        targets = targets.clone()
    if intercept:
        means = matrix.mean(dim=0)
        matrix = matrix - means - means[:, None] + means.mean()
        lift = matrix.detach().diagonal().mean().item() or 1.0
        targets = targets - targets.mean(dim=0)
    eye = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    inverse = _Inverse.apply(matrix + sum_ridge * eye + lift / n)
    if intercept:
        inverse = inverse - 1 / (n * (sum_ridge + lift))
    return inverse @ targets, inverse


class _Inverse(torch.autograd.Function):
    """The inverse of a positive definite matrix, from one Cholesky factor."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            raise NumericalError(
                "gram plus its ridge must be positive definite: expected a Cholesky factor of K +"
                f" nλI, got a pivot <= 0 at row {int(failed) - 1} of {len(matrix)}. Take a larger"
                " ridge; ridge_path has the ridgeless limit."
            )
        inverse = torch.cholesky_inverse(factor)
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -(inverse @ adjoint @ inverse)


def _solved(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    ridge: SupportsFloat | Tensor,
    intercept: bool,
) -> tuple[Float64[Tensor, "n c"], Float64[Tensor, "n n"]]:
    """`solved` of checked arguments, which keep their graphs."""
    checked = square_matrix(gram, "gram", cure="Pass the train block alone.")
    matrix = gram if isinstance(gram, Tensor) and gram.requires_grad else checked
    matrix = matrix.double()
    values, intercept = target_matrix(targets).to(matrix.device), flag(intercept, "intercept")
    if len(values) != len(matrix):
        raise UsageError(
            f"targets need one row per training sample: expected {len(matrix)}, got {len(values)}."
            " Take both from one split."
        )
    if len(matrix) < 1 + intercept:
        raise UsageError("an intercept needs at least 2 samples: got 1. Pass intercept=False.")
    number = real_number(ridge, "ridge")
    if not 0 <= number < np.inf:
        raise UsageError(f"ridge must be finite and >= 0: got {number}. It is λ, not nλ.")
    kept = ridge if isinstance(ridge, Tensor) and ridge.requires_grad else number
    kept = kept.double().reshape(()) if isinstance(kept, Tensor) else kept
    return solved((matrix + matrix.mT) / 2, values, kept, intercept)
