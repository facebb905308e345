"""Every other operation: exact per-sample gradients by torch.func, and the choice of operation."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from rmtgen.kernels.entk.dependence import is_data, is_static, one_row, tensors_in
from rmtgen.kernels.entk.layers import OPERATIONS
from rmtgen.kernels.entk.operations import Operation, PerSample, UnknownUseError


def bind(func: Callable, args: Sequence, kwargs: dict, batch: int) -> Operation:
    """The operation of a call: the one in `OPERATIONS` if it serves the call, else `VmapOperation`.

    It serves the call if its rows are those of the samples and it accounts for every static
    argument.
    """
    if func in OPERATIONS:
        operation = OPERATIONS[func](batch, *args, **kwargs)
        static = {id(value) for value in tensors_in((args, kwargs)) if is_static(value)}
        if operation.fits() and static == {id(value) for value in operation.statics()}:
            return operation
    return VmapOperation(batch, func, args, kwargs)


def batched(function: Callable, in_dims: Any = 0) -> Callable:
    """`torch.func.vmap` without its performance warning, and with attention as plain products.

    The fused attention kernels of CUDA do not accept a batched bias (torch 2.11).
    """

    def call(*args: Any) -> Any:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", "There is a performance drop")
            return torch.func.vmap(function, in_dims=in_dims)(*args)

    return call


class VmapOperation(Operation):
    """Any operation: the vector-Jacobian product of one sample, batched over the samples."""

    def __init__(self, batch: int, func: Callable, args: Sequence, kwargs: dict):
        values, self.tree = pytree.tree_flatten((tuple(args), kwargs))
        self.values = [value.detach() if isinstance(value, Tensor) else value for value in values]
        data = {key: self.values[key] for key, value in enumerate(values) if is_data(value)}
        super().__init__(batch, data)
        rows = next(iter(data.values()))
        self.fixed = {
            key: one_row(value, rows) for key, value in enumerate(values) if is_static(value)
        }
        self.func = _out_of_place(func)
        self.overwrites = self.func is not func

    def save(self) -> None:
        """Save every data argument, as a copy if the call itself overwrites one."""
        if self.overwrites:
            self.saved = {key: data.detach().clone() for key, data in self.saved.items()}
        super().save()

    def statics(self) -> list[Tensor]:
        """Every static argument."""
        return list(self.fixed.values())

    def per_sample(self, grad: Tensor) -> PerSample:
        """The vector-Jacobian product of the rows of each sample with their gradient."""
        rows = {key: self._by_sample(saved) for key, saved in self.saved.items()}
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
                f" batch: {called} is not one ({reason}). Freeze it (requires_grad=False) to leave"
                " it out of the kernel.",
            ) from failure
        yield from zip(self.fixed.values(), gradients, strict=True)

    def _call(self, rows: dict[int, Tensor], fixed: tuple[Tensor, ...]) -> Tensor:
        values = self.values.copy()
        for key, value in rows.items():
            values[key] = value
        for (key, static), value in zip(self.fixed.items(), fixed, strict=True):
            was = self.values[key].shape
            values[key] = (
                value if was == static.shape else value.expand(was[0] // self.batch, *was[1:])
            )
        args, kwargs = pytree.tree_unflatten(values, self.tree)
        return self.func(*args, **kwargs)

    def _by_sample(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or len(tensor) % self.batch:
            names, called = self.names(), getattr(self.func, "__name__", self.func)
            raise UnknownUseError(
                names,
                f"the first axis of data must count the {self.batch} samples: {called}, which uses"
                f" {', '.join(names)}, has data of shape {tuple(tensor.shape)}. Freeze that"
                " parameter (requires_grad=False), or keep the samples on the first axis.",
            )
        return tensor.reshape(self.batch, -1, *tensor.shape[1:])


def _out_of_place(func: Callable) -> Callable:
    """The out-of-place form of an in-place function such as `mul_` or `__imul__`."""
    name = getattr(func, "__name__", "")
    if name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}"):
        return getattr(Tensor, f"__{name[3:]}")
    if name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
        return getattr(Tensor, name[:-1])
    return func
