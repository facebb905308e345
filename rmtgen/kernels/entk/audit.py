"""A check of the per-sample gradients against autograd, on two samples of every new model.

The sum Σ_i c_i ∇f(x_i) with unequal coefficients c_i changes if an operation is misinterpreted, if
a parameter is missed, or if a gradient is assigned to the wrong sample.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError, warn
from rmtgen.kernels.entk.capture import Capture
from rmtgen.kernels.entk.gradients import Gradients
from rmtgen.kernels.entk.operations import UnknownUseError
from rmtgen.memory import is_shortage
from rmtgen.units import readable_bytes


def coefficients(images: Shaped[Tensor, "b ..."]) -> Float64[Tensor, " b"]:
    """The coefficients c_i of two samples, or one."""
    values = [1.0, -0.6180339887498949][: len(images)]
    return torch.tensor(values, dtype=torch.float64, device=images.device)


def audit(
    capture: Capture, images: Shaped[Tensor, "b ..."], reference: Sequence[Mapping[str, Tensor]]
) -> list[Gradients]:
    """Compare the weighted sum of the gradients of two samples (or one) with that of autograd.

    Args:
        capture: The gradients of the model, all of them materialised.
        images: Two samples, as different as possible.
        reference: The weighted sum by autograd, for each output.

    Returns:
        The gradients of each output, summed over the samples with the coefficients.

    Raises:
        NumericalError: The gradients are not finite.
        UnknownUseError: The gradient of a parameter differs from that of autograd. The message
            names the first such parameter, its operations, and the difference.
    """
    found = capture(images, coefficients(images))
    for gradients, expected in zip(found, reference, strict=True):
        _compare(gradients, expected)
    return found


def _compare(gradients: Gradients, expected: Mapping[str, Tensor]) -> None:
    total = _check_finite(expected)
    epsilon = torch.finfo(gradients.output.dtype).eps
    # A pass that is partly less precise than its output: 1000 of its rounding errors, at most 5 %.
    coarse = min(1e3 * gradients.epsilon, 0.05) if gradients.epsilon > epsilon else 0
    wrong = {}
    for name, wanted in expected.items():
        found = (
            gradients.materialised[name].reshape(wanted.shape)
            if name in gradients.materialised
            else torch.zeros_like(wanted)
        )
        gap = (found - wanted).double().norm()
        # Rounding: 30 √ε of this gradient, plus 1000 ε of the gradient of all parameters.
        relative = max(30 * epsilon**0.5, coarse)
        if not gap <= relative * wanted.double().norm() + 1e3 * epsilon * total:
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


def prove(capture: Capture, images: Shaped[Tensor, "b ..."]) -> list[Gradients]:
    """Run `audit`, and compute otherwise what it or `trust` refuses.

    The model runs in the order of axes in memory that is fastest, unless its result could depend on
    that order. What no operation serves goes through torch.func, or sample by sample; a model in
    which samples meet goes sample by sample as a whole.

    Raises:
        UsageError: The model does not run, has other outputs, or gives different ones each time.
        NumericalError: A gradient is not finite.
    """
    reference, watch, reason = capture.weighted_gradients(images, coefficients(images))
    if reason is None:
        free = images.ndim == 4 and not watch.of_memory
        for order in [torch.channels_last] * free + [torch.preserve_format]:
            capture.arrange(order)
            try:
                return audit_with_fallback(capture, images, reference)
            except (RuntimeError, UsageError) as failure:
                if is_shortage(failure):
                    raise
                reason = str(failure).splitlines()[0].rstrip(".")
    return _alone(capture, images, reason, watch.bytes // len(images))


def _alone(capture: Capture, images: Tensor, reason: str, activations: int) -> list[Gradients]:
    """The gradients of a model from now on sample by sample, with a warning of the cost."""
    stored = sum(parameter.nbytes for parameter in capture.parameters.values())
    warn(
        f"the samples go through the network one by one, which is exact but slower: {reason}. Each"
        f" takes a forward and a backward pass of its own, and {readable_bytes(stored)} of"
        " gradients."
    )
    capture.go_alone()
    found = capture(images, coefficients(images))
    for gradients in found:
        _check_finite(gradients.materialised)
        gradients.activations = activations * len(images)
    return found


def _check_finite(gradients: Mapping[str, Tensor]) -> Tensor:
    """The norm of all gradients."""
    total = torch.stack([gradient.double().norm() for gradient in gradients.values()]).norm()
    if not total.isfinite():
        raise NumericalError(
            "the gradients of the first samples must be finite, got NaN or infinity. Check the"
            " images and the weights."
        )
    return total


def audit_with_fallback(
    capture: Capture, images: Shaped[Tensor, "b ..."], reference: Sequence[Mapping[str, Tensor]]
) -> list[Gradients]:
    """Run `audit`, and compute the gradients of the parameters that fail in separate passes.

    These passes are those of torch.func; if it refuses them, each sample has its own.

    Raises:
        UnknownUseError: A parameter fails in separate passes too.
    """
    refusal: Exception | None = None
    while True:
        try:
            found = audit(capture, images, reference)
            break
        except UnknownUseError as failure:
            if not capture.fall_back(failure.names):
                raise
        if capture.alone:
            continue
        try:
            capture.by_vmap(images)
        except (RuntimeError, NotImplementedError, ValueError) as failure:
            capture.alone, refusal = True, failure
    if refusal is not None:
        first, others = capture.fallback[0], len(capture.fallback) - 1
        warn(
            f"torch.func refuses the gradient of {first}{f' and {others} more' if others else ''}"
            f" ({str(refusal).splitlines()[0][:100]}): each sample takes a forward and a backward"
            " pass of its own for it, which is exact but slower."
        )
    return found
