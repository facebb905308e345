"""The layers of torch with an operation of their own, and `OPERATIONS`, the registry of them.

A new layer is a subclass of `Operation` in this module with an entry in `OPERATIONS`. The arguments
of its `__init__` are `batch` and the arguments of the torch function.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rmtgen.kernels.entk.cpu import CALL, DEEP, by_onednn, linear
from rmtgen.kernels.entk.dependence import is_static
from rmtgen.kernels.entk.operations import BatchStatisticsError, Operation, PerSample
from rmtgen.kernels.entk.sites import Site, Window


class Linear(Operation):
    """y = x Wᵀ + b, with any number of tokens per sample."""

    def __init__(self, batch: int, input: Tensor, weight: Tensor, bias: Tensor | None = None):
        super().__init__(batch, {"input": input})
        self.bias = bias if is_static(bias) else None
        if is_static(weight):
            tokens = input.numel() // (batch * input.shape[-1])
            self.weight = weight
            self.site = Site(
                Window((tokens, 1)), weight.shape[1], weight.shape[0], 1, tuple(weight.shape)
            )

    def statics(self) -> list[Tensor]:
        """Weight and bias."""
        return [tensor for tensor in (self.weight, self.bias) if tensor is not None]

    def run(self, func: Callable, args: Sequence, kwargs: dict) -> Tensor:
        """By oneDNN where that is quicker."""
        given = signature(_Linear.quicker).bind(*args, **kwargs).arguments
        return _Linear.apply(*given.values()) if _Linear.quicker(**given) else func(*args, **kwargs)

    def factors(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of each sample."""
        return _tokens(self.input, self.batch), _tokens(grad, self.batch)

    def per_sample(self, grad: Tensor) -> PerSample:
        """The gradient of the bias is the sum of g over the tokens."""
        if self.bias is not None:
            yield self.bias, _tokens(grad, self.batch).sum(dim=1)


class _Linear(torch.autograd.Function):
    """A linear layer by oneDNN, with a gradient in its input alone."""

    @staticmethod
    def quicker(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
        """Whether it serves such a layer, and is quicker than torch's own."""
        fixed = [tensor for tensor in (weight, bias) if tensor is not None]
        plain = all(own.dtype == input.dtype and not own.requires_grad for own in fixed)
        large = weight.ndim == 2 and 2 * input.numel() * len(weight) > CALL
        short = max(weight.shape) <= DEEP
        return plain and large and short and by_onednn(input)

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The output; the weight is kept for the gradient."""
        ctx.weight = weight
        return linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient in the input."""
        return linear(grad, ctx.weight.T), None, None


class Convolution(Operation):
    """A convolution in one or two dimensions; the former has a grid with one column."""

    def __init__(  # noqa: PLR0913 - the signature of torch.conv2d
        self,
        batch: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ):
        super().__init__(batch, {"input": input})
        self.bias = bias if is_static(bias) else None
        self.dims = dims = weight.ndim - 2
        kernel, stride, dilation = (
            (*_each(value, dims), 1)[:2] for value in (weight.shape[2:], stride, dilation)
        )
        if padding == "same":
            padding = tuple(
                step * (width - 1) // 2 for step, width in zip(dilation, kernel, strict=True)
            )[:dims]
        padding = (*_each(0 if padding == "valid" else padding, dims), 0)[:2]
        grid = (*input.shape[2:], 1)[:2]
        if is_static(weight):
            self.weight = weight
            window = Window(grid, kernel, stride, padding, dilation)
            self.site = Site(window, input.shape[1], weight.shape[0], groups, tuple(weight.shape))

    def statics(self) -> list[Tensor]:
        """Weight and bias."""
        return [tensor for tensor in (self.weight, self.bias) if tensor is not None]

    def fits(self) -> bool:
        """Whether each sample is one image; several per sample are served by `VmapOperation`."""
        return self.input.ndim == self.dims + 2 and len(self.input) == self.batch

    def factors(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of each sample, with channels last."""
        return tuple(tensor.flatten(2).mT for tensor in (self.input, grad))

    def per_sample(self, grad: Tensor) -> PerSample:
        """The gradient of the bias is the sum of g over the pixels."""
        if self.bias is not None:
            yield self.bias, grad.flatten(2).sum(dim=2)


class Normalisation(Operation):
    """y = w x̂ + b, where x̂ is the normalised input."""

    def __init__(self, batch: int, input: Tensor, weight: Tensor | None, bias: Tensor | None):
        super().__init__(batch, {"input": input})
        self.scale, self.bias = (tensor if is_static(tensor) else None for tensor in (weight, bias))

    def statics(self) -> list[Tensor]:
        """Weight and bias."""
        return [tensor for tensor in (self.scale, self.bias) if tensor is not None]

    def normalised(self) -> Tensor:
        """x̂, in the shape of the input."""
        raise NotImplementedError

    def sum_positions(self, values: Tensor) -> Tensor:
        """Sum of `values` over the positions of each row, (rows, *shape of the weight)."""
        return values.flatten(2).sum(dim=2) if values.ndim > 2 else values

    def per_sample(self, grad: Tensor) -> PerSample:
        """The gradient of the weight is Σ g x̂ over the positions, that of the bias Σ g."""
        if self.scale is not None:
            yield self.scale, self._of_samples(self.sum_positions(grad * self.normalised()))
        if self.bias is not None:
            yield self.bias, self._of_samples(self.sum_positions(grad))

    def _of_samples(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.batch, -1, *rows.shape[1:]).sum(dim=1)


class BatchNorm(Normalisation):
    """Batch normalisation with running statistics.

    x̂ is computed from the statistics, not by a division of y by the weight, which can be zero.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature of torch.nn.functional.batch_norm
        self,
        batch: int,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ):
        super().__init__(batch, input, weight, bias)
        if training or running_mean is None:
            raise BatchStatisticsError
        self.statistics = running_mean, running_var, eps

    def normalised(self) -> Tensor:
        """(x − μ)/√(σ² + ε)."""
        mean, variance, eps = self.statistics
        return functional.batch_norm(self.input, mean, variance, eps=eps)


class GroupNorm(Normalisation):
    """Group normalisation, for any number of groups."""

    def __init__(
        self,
        batch: int,
        input: Tensor,
        num_groups: int,
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-5,
    ):
        super().__init__(batch, input, weight, bias)
        self.settings = num_groups, eps

    def normalised(self) -> Tensor:
        """x̂, normalised over groups of channels."""
        groups, eps = self.settings
        return functional.group_norm(self.input, groups, eps=eps)


class LayerNorm(Normalisation):
    """Layer normalisation over the last axes."""

    def __init__(
        self,
        batch: int,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ):
        super().__init__(batch, input, weight, bias)
        self.shape, self.eps = tuple(normalized_shape), eps

    def normalised(self) -> Tensor:
        """x̂, normalised over each token."""
        return functional.layer_norm(self.input, self.shape, eps=self.eps)

    def sum_positions(self, values: Tensor) -> Tensor:
        """Sum over the tokens of each row."""
        return values.reshape(len(values), -1, *self.shape).sum(dim=1)


OPERATIONS: dict[Callable, type[Operation]] = {
    functional.linear: Linear,
    torch.conv1d: Convolution,
    torch.conv2d: Convolution,
    functional.batch_norm: BatchNorm,
    functional.group_norm: GroupNorm,
    functional.layer_norm: LayerNorm,
}
"""The operation of each function of torch; every other function is served by `generic`."""


def _tokens(tensor: Tensor, batch: int) -> Float[Tensor, "b t channels"]:
    return tensor.reshape(batch, -1, tensor.shape[-1])


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dims if len(values) == 1 else values
