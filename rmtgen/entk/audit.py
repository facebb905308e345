"""A proof on the spot: the gradients that the rules are made of add up to autograd's own, or the call fails by name.

Two samples with random coefficients suffice. An operation that was misread, a parameter that was missed, and a gradient that was given to the
wrong sample each change Σ_i c_i ∇f(x_i).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rmtgen.entk.capture import Capture, Gradients
from rmtgen.errors import UsageError

COEFFICIENTS = (1.0, -0.6180339887498949)


def audit(capture: Capture, images: Float[Tensor, "2 c h w"]) -> Gradients:
    """Capture two samples (or one), every gradient formed, and hold them against one ordinary backward pass.

    Args:
        capture: of the model.
        images: two of the samples, as different as may be.

    Returns:
        The captured gradients.

    Raises:
        UsageError: a parameter's gradient is not what autograd gives; names the parameter, the operations it enters by, and both norms.
    """
    gradients = capture(images)
    coefficients = torch.tensor(COEFFICIENTS[: len(images)], dtype=images.dtype, device=images.device)
    expected = capture.weighted_gradient(images, coefficients)
    total = torch.stack([gradient.double().norm() for gradient in expected.values()]).norm()
    epsilon = torch.finfo(images.dtype).eps
    for name, wanted in expected.items():
        found = torch.zeros_like(wanted)
        if name in gradients.direct:
            rows = gradients.direct[name].reshape(len(images), *wanted.shape)
            found = torch.tensordot(coefficients, rows, dims=1)
        gap = (found - wanted).double().norm()
        if not gap <= 30 * epsilon**0.5 * wanted.double().norm() + 1e3 * epsilon * total:
            enters = sorted({type(call).__name__ for call in gradients.calls if name in call.names()})
            raise UsageError(
                f"the gradient of {name} must be known for each sample: it enters by {', '.join(enters) or 'no operation seen'}, whose rule "
                f"is off by {gap:.2e} (gradient {wanted.double().norm():.2e}). Freeze it (requires_grad=False) to leave it out of the "
                "kernel, or keep the samples on the first axis."
            )
    return gradients
