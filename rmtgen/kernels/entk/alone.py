"""Per-sample gradients by plain autograd, each sample in a pass of its own.

It serves every model that torch can differentiate: recurrent layers, custom functions, checkpoints,
and models in which the samples of a batch meet. It costs a forward and a backward pass per sample.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SoundBatchNorm(TorchFunctionMode):
    """Gives the backward pass of a batch normalisation its gradient in the order of its axes.

    On a CPU torch (2.14) computes a wrong gradient of `batch_norm` in eval mode for a batch of one
    if the gradient of the output comes from a transposed tensor: the stride of an axis of length
    one then hides the order of the others.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Run a torch function; a hook on a normalisation reorders the gradient."""
        out = func(*args, **(kwargs or {}))
        if func in (functional.batch_norm, torch.batch_norm) and out.requires_grad:
            out.register_hook(_in_order)
        return out


def _in_order(gradient: Tensor) -> Tensor:
    return gradient.clone(memory_format=torch.contiguous_format)


@contextmanager
def only(parameters: Mapping[str, Tensor], wanted: Collection[str]) -> Iterator[None]:
    """Let autograd compute the gradients of the wanted parameters, and of no other."""
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in wanted)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def plain_gradients(values: Tensor, wanted: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The gradient of each value, by parameter name.

    The gradients go through `Tensor.grad`, which a reentrant checkpoint needs.

    Args:
        values: The values (k,), of one graph.
        wanted: The parameters.
    """
    found = []
    for value in values:
        if value.requires_grad:
            value.backward(retain_graph=True)  # some models keep part of the graph for later passes
        found.append(
            {
                name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                for name, parameter in wanted.items()
            }
        )
        for parameter in wanted.values():
            parameter.grad = None
    return found


def leaf(images: Tensor) -> Tensor:
    """A copy of the images within a graph; a reentrant checkpoint needs an input that has one."""
    return images.detach().requires_grad_(images.is_floating_point()).clone()


def alone(
    outputs: Callable[[Tensor], Tensor], parameters: Mapping[str, Tensor], images: Tensor
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """The outputs of each sample in a batch of one, and the gradients of each output.

    Args:
        outputs: The outputs (1, k) of one sample.
        parameters: The parameters that require a gradient.
        images: b samples.

    Returns:
        The outputs (b, k), and for each of the k the gradients (b, *shape) by parameter name.
    """
    values, gradients = [], []
    for image in images:
        with SoundBatchNorm():
            out = outputs(leaf(image[None]))[0]
        values.append(out.detach())
        gradients.append(plain_gradients(out, parameters))
    return torch.stack(values), [
        {name: torch.stack([each[name] for each in own]) for name in parameters}
        for own in zip(*gradients, strict=True)
    ]
