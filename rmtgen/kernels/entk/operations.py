"""How torch's operations use a parameter: one small class for each, and one that serves every other
operation.

An `Operation` is made when a call joins data with static tensors (`capture`). It says which of them
meets data at a `Site`, so that its gradient can be left in factors, and gives each sample's
gradient of the others from the gradient of the call's output. To teach rmtgen an operation, write a
class whose `__init__` has the operation's own signature after `batch`, and enter it in
`OPERATIONS`.

The first axis of every data tensor counts the samples, each with the same number of consecutive
rows (windows of an image, say); `audit` finds the calls that do not keep to this.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.marks import is_data, is_static, leaves, one_row, tensors_in
from rmtgen.kernels.entk.sites import Site, Window

PerSample = Iterator[tuple[Tensor, Tensor]]
"""Static tensors, each with its gradient for every sample: (b, *shape of the static tensor)."""


def batched(function: Callable, in_dims: Any = 0) -> Callable:
    """`torch.func.vmap` without its remark that some operation runs one sample at a time, and with
    attention as plain products.

    The fused attention kernels of CUDA take no bias that is batched (torch 2.11).
    """

    def call(*args: Any) -> Any:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", "There is a performance drop")
            return torch.func.vmap(function, in_dims=in_dims)(*args)

    return call


class UnknownUseError(UsageError):
    """Parameters that enter in a way from which no sample's gradient can be read, by name."""

    def __init__(self, names: Sequence[str], message: str):
        super().__init__(message)
        self.names = tuple(names)


class Operation:
    """A call that joins data with static tensors.

    Attributes:
        batch: number of samples b.
        kept: what `direct` and `factors` need of the data, by place; for the operations with a name
            of their own, "input" alone.
        site: where the call's weight meets data; None if it has no such weight.
        weight: the static tensor that does.
        source: where the data lie in memory, alike for calls that share them.
    """

    site: Site | None = None
    weight: Tensor | None = None
    source: tuple

    def __init__(self, batch: int, data: dict[Any, Tensor]):
        self.batch, self.kept = batch, data

    def keep(self) -> None:
        """Hold the data, called just before the call is made."""
        self.kept = {place: data.detach() for place, data in self.kept.items()}
        self.versions = {place: data._version for place, data in self.kept.items()}
        first = next(iter(self.kept.values()))
        self.source = first.data_ptr(), first.shape, first.stride()

    @property
    def overwritten(self) -> bool:
        """Whether what was kept is no longer what it was."""
        return any(data._version != self.versions[place] for place, data in self.kept.items())

    @property
    def input(self) -> Tensor:
        """The one data tensor of an operation that has just one."""
        return self.kept["input"]

    def fits(self) -> bool:
        """Whether the rows of the input are those of the samples, one after another."""
        return self.input.ndim > 1 and len(self.input) % self.batch == 0

    def names(self) -> list[str]:
        """The parameters that enter by this call."""
        return [name for static in self.statics() for name in leaves(static)]

    def statics(self) -> list[Tensor]:
        """Every static tensor that the call uses."""
        raise NotImplementedError

    def factors(
        self, grad: Tensor
    ) -> tuple[Float[Tensor, "b t_in c_in"], Float[Tensor, "b t c_out"]]:
        """Input and output gradient at the site."""
        raise NotImplementedError

    def direct(self, grad: Tensor) -> PerSample:
        """The gradient of every static tensor but the site's weight."""
        raise NotImplementedError


class Linear(Operation):
    """y = x Wᵀ + b on tokens of any shape."""

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

    def factors(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of each sample."""
        return _tokens(self.input, self.batch), _tokens(grad, self.batch)

    def direct(self, grad: Tensor) -> PerSample:
        """The bias sees the sum of its tokens' gradients."""
        if self.bias is not None:
            yield self.bias, _tokens(grad, self.batch).sum(dim=1)


class Convolution(Operation):
    """A convolution in one or two dimensions; one dimension is a grid of one column."""

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
        """Whether each sample is one image; several to a sample are left to `AnyOperation`."""
        return self.input.ndim == self.dims + 2 and len(self.input) == self.batch

    def factors(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of each sample, channels last."""
        return tuple(tensor.flatten(2).mT for tensor in (self.input, grad))

    def direct(self, grad: Tensor) -> PerSample:
        """The bias sees the sum of its pixels' gradients."""
        if self.bias is not None:
            yield self.bias, grad.flatten(2).sum(dim=2)


class Normalisation(Operation):
    """y = w x̂ + b, where x̂ is the input normalised without w and b."""

    def __init__(self, batch: int, input: Tensor, weight: Tensor | None, bias: Tensor | None):
        super().__init__(batch, {"input": input})
        self.scale, self.bias = (tensor if is_static(tensor) else None for tensor in (weight, bias))

    def statics(self) -> list[Tensor]:
        """Weight and bias."""
        return [tensor for tensor in (self.scale, self.bias) if tensor is not None]

    def normalised(self) -> Tensor:
        """x̂, of the input's shape."""
        raise NotImplementedError

    def per_sample(self, values: Tensor) -> Tensor:
        """Sum over all positions of a sample, leaving the shape of the weight."""
        return values.flatten(2).sum(dim=2) if values.ndim > 2 else values

    def direct(self, grad: Tensor) -> PerSample:
        """The weight's gradient is the sum of g x̂, the bias's that of g."""
        if self.scale is not None:
            yield self.scale, self._of_samples(self.per_sample(grad * self.normalised()))
        if self.bias is not None:
            yield self.bias, self._of_samples(self.per_sample(grad))

    def _of_samples(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.batch, -1, *rows.shape[1:]).sum(dim=1)


class BatchNorm(Normalisation):
    """Batch normalisation by running statistics; x̂ comes from them, never by dividing by the
    weight.
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
            raise UsageError(
                "batch normalisation must use running statistics, or samples depend on each other:"
                " got batch statistics. Call model.eval(), with track_running_stats=True."
            )
        self.statistics = running_mean, running_var, eps

    def normalised(self) -> Tensor:
        """(x − μ)/sqrt(σ² + ε)."""
        mean, variance, eps = self.statistics
        return functional.batch_norm(self.input, mean, variance, eps=eps)


class GroupNorm(Normalisation):
    """Group normalisation, GroupNorm1 and instance-like uses included."""

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
        """x̂ by groups of channels."""
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
        """x̂ of each token."""
        return functional.layer_norm(self.input, self.shape, eps=self.eps)

    def per_sample(self, values: Tensor) -> Tensor:
        """Sum over the tokens of a row."""
        return values.reshape(len(values), -1, *self.shape).sum(dim=1)


class AnyOperation(Operation):
    """Every other operation, exactly, by torch.func: the vector-Jacobian product of one sample,
    batched over the samples.
    """

    def __init__(self, batch: int, func: Callable, args: Sequence, kwargs: dict):
        values, self.tree = pytree.tree_flatten((tuple(args), kwargs))
        self.values = [value.detach() if isinstance(value, Tensor) else value for value in values]
        data = {place: self.values[place] for place, value in enumerate(values) if is_data(value)}
        super().__init__(batch, data)
        rows = next(iter(data.values()))
        self.fixed = {
            place: one_row(value, rows) for place, value in enumerate(values) if is_static(value)
        }
        self.func = _out_of_place(func)
        self.overwrites = self.func is not func

    def keep(self) -> None:
        """Hold every data argument; copies of them where the call itself overwrites one."""
        if self.overwrites:
            self.kept = {place: data.detach().clone() for place, data in self.kept.items()}
        super().keep()

    def statics(self) -> list[Tensor]:
        """Every static argument."""
        return list(self.fixed.values())

    def direct(self, grad: Tensor) -> PerSample:
        """The product of each sample's rows with its rows of the gradient."""
        rows = {place: self._by_sample(kept) for place, kept in self.kept.items()}
        fixed = tuple(static.detach() for static in self.fixed.values())

        def product(rows: dict[int, Tensor], grad: Tensor) -> tuple[Tensor, ...]:
            _, pull_back = torch.func.vjp(lambda *fixed: self._call(rows, fixed), *fixed)
            return pull_back(grad)

        try:
            gradients = batched(product)(rows, self._by_sample(grad))
        except (RuntimeError, NotImplementedError) as failure:
            reason = str(failure).splitlines()[0]
            names, called = self.names(), getattr(self.func, "__name__", self.func)
            raise UnknownUseError(
                names,
                f"parameter {', '.join(names)} must enter through an operation that torch.func can"
                f" batch: {called} is none ({reason}). Freeze it (requires_grad=False) to leave it"
                " out of the kernel.",
            ) from failure
        yield from zip(self.fixed.values(), gradients, strict=True)

    def _call(self, rows: dict[int, Tensor], fixed: tuple[Tensor, ...]) -> Tensor:
        values = self.values.copy()
        for place, value in rows.items():
            values[place] = value
        for (place, static), value in zip(self.fixed.items(), fixed, strict=True):
            was = self.values[place].shape
            values[place] = (
                value if was == static.shape else value.expand(was[0] // self.batch, *was[1:])
            )
        args, kwargs = pytree.tree_unflatten(values, self.tree)
        return self.func(*args, **kwargs)

    def _by_sample(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or len(tensor) % self.batch:
            names, called = self.names(), getattr(self.func, "__name__", self.func)
            raise UnknownUseError(
                names,
                f"data must have one or more rows for each of {self.batch} samples first: {called},"
                f" which uses {', '.join(names)}, meets shape {tuple(tensor.shape)}. Freeze that"
                " parameter (requires_grad=False), or keep the samples on the first axis.",
            )
        return tensor.reshape(self.batch, -1, *tensor.shape[1:])


OPERATIONS: dict[Callable, type[Operation]] = {
    functional.linear: Linear,
    torch.conv1d: Convolution,
    torch.conv2d: Convolution,
    functional.batch_norm: BatchNorm,
    functional.group_norm: GroupNorm,
    functional.layer_norm: LayerNorm,
}


def bind(func: Callable, args: Sequence, kwargs: dict, batch: int) -> Operation:
    """The operation that a call is: its own class where there is one and only its usual arguments
    are static, else `AnyOperation`.
    """
    if func in OPERATIONS:
        operation = OPERATIONS[func](batch, *args, **kwargs)
        static = [value for value in tensors_in((args, kwargs)) if is_static(value)]
        if {id(value) for value in static} == {
            id(value) for value in operation.statics()
        } and operation.fits():
            return operation
    return AnyOperation(batch, func, args, kwargs)


def _tokens(tensor: Tensor, batch: int) -> Float[Tensor, "b t channels"]:
    return tensor.reshape(batch, -1, tensor.shape[-1])


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dims if len(values) == 1 else values


def _out_of_place(func: Callable) -> Callable:
    """The operation that returns what an in-place one writes, for `mul_` as for `__imul__`; any
    other as it is.
    """
    name = getattr(func, "__name__", "")
    if name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}"):
        return getattr(Tensor, f"__{name[3:]}")
    if name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
        return getattr(Tensor, name[:-1])
    return func
