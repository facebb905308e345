"""A proof on the spot: the gradients that the rules are made of add up to autograd's own, or the
call fails by name.

Two samples with unequal coefficients suffice. An operation that was misread, a parameter that was
missed, and a gradient that was given to the wrong sample each change Σ_i c_i ∇f(x_i).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.kernels.entk.capture import Capture, Gradients
from rmtgen.kernels.entk.operations import UnknownUseError

COEFFICIENTS = (1.0, -0.6180339887498949)


def audit(capture: Capture, images: Float[Tensor, "2 c h w"]) -> list[Gradients]:
    """Capture two samples (or one), every gradient formed, and hold them against ordinary backward
    passes.

    Args:
        capture: of the model.
        images: two of the samples, as different as may be.

    Returns:
        What was captured of each output, the gradients summed with the coefficients.

    Raises:
        NumericalError: the gradients are not finite.
        UnknownUseError: gradients that are not what autograd gives; names the first parameter, the
            operations it enters by, and the gap.
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
            gradients.direct[name].reshape(wanted.shape)
            if name in gradients.direct
            else torch.zeros_like(wanted)
        )
        gap = (found - wanted).double().norm()
        if not gap <= 30 * epsilon**0.5 * wanted.double().norm() + 1e3 * epsilon * total:
            wrong[name] = f"off by {gap:.2e} (gradient {wanted.double().norm():.2e})"
    if wrong:
        name = next(iter(wrong))
        enters = sorted({type(call).__name__ for call in gradients.calls if name in call.names()})
        raise UnknownUseError(
            list(wrong),
            f"the gradient of {name} must be known for each sample: it enters by"
            f" {', '.join(enters) or 'no operation seen'}, and what that gives is {wrong[name]};"
            f" {len(wrong)} parameters are so. Keep the samples on the first axis, or freeze it"
            " (requires_grad=False) to leave it out of the kernel.",
        )


def audited(capture: Capture, images: Float[Tensor, "2 c h w"]) -> list[Gradients]:
    """`audit`, leaving to torch.func the parameters that do not pass, until all do or one fails
    even so.

    Raises:
        UnknownUseError: a parameter does not pass by torch.func either.
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
