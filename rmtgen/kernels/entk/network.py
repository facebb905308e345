"""The network of a kernel: its type, its copy, and the outputs that have a kernel."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.dependence import tensors_in
from rmtgen.models.networks import plain_copy

_DTYPES = (torch.float32, torch.float64)

_CHECKPOINTING = (
    "grad_checkpointing",
    "gradient_checkpointing",
    "use_checkpoint",
    "memory_efficient",
    "with_cp",
)
"""Attributes by which modules of common libraries switch checkpoints of gradients on."""

_LEAF = "torch::autograd::AccumulateGrad"
"""Name of the node of a leaf in the graph of autograd."""


def computation_dtype(model: nn.Module, dtype: torch.dtype | None) -> torch.dtype:
    """The type of a computation: the requested one, else that of the parameters.

    Args:
        model: As returned by `plain`.
        dtype: float32, float64 or None.

    Raises:
        UsageError: Another type is requested; or none is, and the parameters that require a
            gradient are of half precision or of several types.
    """
    if dtype is not None:
        if not isinstance(dtype, torch.dtype) or dtype not in _DTYPES:
            raise UsageError(f"dtype must be torch.float32 or torch.float64, got {dtype!r:.60}.")
        return dtype
    found = {
        parameter.dtype: name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    if len(found) > 1:
        several = ", ".join(f"{kind} ({name})" for kind, name in found.items())
        raise UsageError(
            f"the parameters must be of one type, or dtype be given: got {several}. Give"
            " dtype=torch.float32 or dtype=torch.float64."
        )
    kind = next(iter(found), torch.float32)
    if kind not in _DTYPES:
        raise UsageError(
            f"the parameters must be float32 or float64, or dtype be given: got {kind}, whose"
            " rounding a kernel does not survive. Give dtype=torch.float32."
        )
    return kind


def prepared(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of the model in a type on a device, without cached tensors and without checkpoints.

    Some models cache position biases together with their graph. A checkpoint saves memory of a
    backward pass to the weights, which does not take place here.

    Args:
        model: As returned by `plain`.
        device: Device of the copy.
        dtype: Real type of the copy; complex buffers become the complex type of this precision.

    Raises:
        UsageError: A module is in training mode, no parameter requires a gradient, or the model
            cannot be copied.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "the kernel needs parameters that require a gradient: got none. Set requires_grad on"
            " those to include."
        )
    cached = [
        tensor
        for module in model.modules()
        for tensor in tensors_in(vars(module))
        if not tensor.is_leaf
    ]
    copied = plain_copy(model, {id(tensor): tensor.detach() for tensor in cached})
    training = [
        name or type(copied).__name__ for name, module in copied.named_modules() if module.training
    ]
    if training:
        raise UsageError(
            f"the model must be in eval mode, or samples depend on each other: {len(training)}"
            f" modules are training ({training[0]}, …). Call model.eval()."
        )
    for module in copied.modules():
        for flag in _CHECKPOINTING:
            if getattr(module, flag, None) is True:
                setattr(module, flag, False)
    types = {"device": device, "real": dtype, "complex": dtype.to_complex()}
    return copied._apply(lambda tensor: _cast(tensor, **types)).train().eval()


def _cast(tensor: Tensor, device: torch.device, real: torch.dtype, complex: torch.dtype) -> Tensor:
    kind = complex if tensor.is_complex() else real if tensor.is_floating_point() else tensor.dtype
    return tensor.to(device, kind)


def check_output(output: Any) -> None:
    """Refuse anything but None, "sum" or an integer as the `output` of a public function."""
    integer = isinstance(output, Integral) and not isinstance(output, bool)
    if output is None or integer or (isinstance(output, str) and output == "sum"):
        return
    raise UsageError(
        f"output must be None, 'sum' or the number of an output, got {_shown(output)}. Give a"
        " number, or by='output' for the kernel of each."
    )


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, float, bool)) else type(value).__name__


def chosen_outputs(
    out: Any, batch: int, wanted: int | str | None, *, each: bool = False
) -> Float[Tensor, "b outputs"]:
    """The outputs of a model that have a kernel.

    Args:
        out: What the model returned. That of a single sample may lack the axis of the samples.
        batch: Number b of samples.
        wanted: None for the only output; else the number of the output, or "sum" for the sum of
            all.
        each: Whether every output has a kernel.

    Raises:
        UsageError: `out` is anything but one real tensor with one row per sample, or lacks the
            output that is wanted.
    """
    if not isinstance(out, Tensor):
        raise UsageError(
            f"the model must return one tensor with one row per sample: expected ({batch}, 1), got"
            f" {_returned(out)}. Give a module whose forward returns the one tensor."
        )
    if (out.ndim == 0 or len(out) != batch) and batch != 1:
        raise UsageError(
            "the model must return one tensor with one row per sample: expected"
            f" ({batch}, 1), got {tuple(out.shape)}. Keep the samples on the first axis."
        )
    if not out.is_floating_point():
        raise UsageError(
            f"the model must return real numbers, of which there are gradients: got {out.dtype}."
            " Return the logits, or the real part."
        )
    rows = out.reshape(batch, -1)
    if each:
        return rows
    if wanted == "sum":
        return rows.sum(dim=1, keepdim=True)
    if wanted is None and rows.shape[1] != 1:
        raise UsageError(
            f"the kernel is that of one output, got {rows.shape[1]}. Choose one: output=i;"
            " their sum: output='sum'; one kernel each: by='output'; or a random head on the"
            " features: load_backbone(..., head='random')."
        )
    column = int(wanted or 0)
    if not -rows.shape[1] <= column < rows.shape[1]:
        raise UsageError(
            f"output must be None, 'sum' or a number below {rows.shape[1]}, got {wanted!r}."
        )
    return rows[:, column].unsqueeze(1)


def _returned(out: Any) -> str:
    """The kind and the shapes of what a model returned."""
    kind = type(out).__name__
    if isinstance(out, Mapping):
        return f"{kind} with {', '.join(f'{key} {_shape(value)}' for key, value in out.items())}"
    if isinstance(out, (tuple, list)):
        return f"{kind} of {', '.join(map(_shape, out))}"
    return kind


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def require_no_strays(out: Tensor, known: Iterable[Tensor]) -> None:
    """Refuse an output that depends on trainable tensors which are no parameters of the model.

    Their part of the kernel would be missing. A copy of a model still runs the weights of the
    original where its forward is a closure.

    Args:
        out: Outputs of the model, with their graph.
        known: The parameters, and the samples.

    Raises:
        UsageError: There is such a tensor.
    """
    known = list(known)
    kept, seen = set(map(id, known)), {tensor.grad_fn for tensor in known}
    nodes = [out.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes.extend(above for above, _ in node.next_functions)
        leaf = getattr(node, "variable", None) if node.name() == _LEAF else None
        if leaf is not None and id(leaf) not in kept:
            raise UsageError(
                "every tensor that requires a gradient must be a parameter of the model: its output"
                f" depends on one of shape {tuple(leaf.shape)} that is not. Register it"
                " as torch.nn.Parameter, detach it, or define forward in the class instead of"
                " replacing it by a closure."
            )
