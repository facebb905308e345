"""A check of the per-sample gradients against autograd, on two samples of every new model.

The sum Σ_i c_i ∇f(x_i) with unequal coefficients c_i changes if an operation is misinterpreted, if
a parameter is missed, or if a gradient is assigned to the wrong sample.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.kernels.entk.capture import Capture, Gradients
from rmtgen.kernels.entk.operations import UnknownUseError

COEFFICIENTS = (1.0, -0.6180339887498949)
"""Coefficients c_i of the two samples."""


def audit(capture: Capture, images: Float[Tensor, "b ..."]) -> list[Gradients]:
    """Compare the weighted sum of the gradients of two samples (or one) with that of autograd.

    Args:
        capture: The gradients of the model, all of them materialised.
        images: Two samples, as different as possible.

    Returns:
        The gradients of each output, summed over the samples with the coefficients.

    Raises:
        NumericalError: The gradients are not finite.
        UnknownUseError: The gradient of a parameter differs from that of autograd. The message
            names the first such parameter, its operations, and the difference.
    """
    coefficients = torch.tensor(
        COEFFICIENTS[: len(images)], dtype=images.dtype, device=images.device
    )
    found = capture(images, coefficients)
    for gradients, expected in zip(
        found, capture.weighted_gradients(images, coefficients), strict=True
    ):
        _compare(gradients, expected)
    return found


def _compare(gradients: Gradients, expected: Mapping[str, Tensor]) -> None:
    total = torch.stack([gradient.double().norm() for gradient in expected.values()]).norm()
    if not total.isfinite():
        raise NumericalError(
            "the gradients of the first samples must be finite, got NaN or infinity. Check the"
            " images and the weights."
        )
    epsilon = torch.finfo(gradients.output.dtype).eps
    wrong = {}
    for name, wanted in expected.items():
        found = (
            gradients.materialised[name].reshape(wanted.shape)
            if name in gradients.materialised
            else torch.zeros_like(wanted)
        )
        gap = (found - wanted).double().norm()
        # Rounding: 30 √ε of this gradient, plus 1000 ε of the gradient of all parameters.
        if not gap <= 30 * epsilon**0.5 * wanted.double().norm() + 1e3 * epsilon * total:
            wrong[name] = f"off by {gap:.2e} (gradient {wanted.double().norm():.2e})"
    if wrong:
        name = next(iter(wrong))
        enters = sorted({type(call).__name__ for call in gradients.calls if name in call.names()})
        raise UnknownUseError(
            list(wrong),
            f"the gradient of {name} must be known for each sample: it enters by"
            f" {', '.join(enters) or 'no recorded operation'}, whose gradient is {wrong[name]};"
            f" {len(wrong)} parameters fail. Keep the samples on the first axis, or freeze it"
            " (requires_grad=False) to leave it out of the kernel.",
        )


def audit_with_fallback(capture: Capture, images: Float[Tensor, "b ..."]) -> list[Gradients]:
    """Run `audit`, and let torch.func compute the gradients of the parameters that fail.

    Raises:
        UnknownUseError: A parameter fails with torch.func too.
    """
    while True:
        try:
            return audit(capture, images)
        except UnknownUseError as failure:
            if not capture.fall_back(failure.names):
                raise
            reason = failure
        try:
            capture.by_vmap(images)
        except (RuntimeError, NotImplementedError, ValueError) as refusal:
            raise reason from refusal
