"""The operations of one forward pass, in order."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from rmtgen.kernels.entk.dependence import (
    is_data,
    is_static,
    mark_data,
    mark_static,
    parameter_names,
    tensors_in,
    without_gradient,
)
from rmtgen.kernels.entk.generic import bind
from rmtgen.kernels.entk.operations import Operation, UnknownUseError


class Tracer(TorchFunctionMode):
    """A torch function mode that records the operations of a forward pass.

    A call that joins data with static tensors runs with its static arguments detached, so that the
    backward pass computes no gradients of weights. A hook on its output passes the output gradient
    to `on_gradient`.

    Attributes:
        batch: Number of samples.
        calls: The operations, in order.
        roots: The first outputs that depend on parameters, where the backward pass ends.
        activations: Bytes of all data tensors that are not views.
        largest: Bytes of the largest of them.
        dtypes: Types of all data tensors.
        on_gradient: Function of the number of a call, its operation and its output gradient.
    """

    on_gradient: Callable[[int, Operation, Tensor], None]

    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch
        self.calls: list[Operation] = []
        self.roots: list[Tensor] = []
        self.hooks: list[RemovableHandle] = []
        self.activations = self.largest = 0
        self.dtypes: set[torch.dtype] = set()
        self._course: list[tuple[Any, int]] = []

    def course(self) -> list[tuple]:
        """The calls on data, with what is the same of each in every batch: entries per sample."""
        sites = [(type(call), call.site) for call in self.calls]
        return [*sites, *((func, size / self.batch) for func, size in self._course)]

    def release(self) -> None:
        """Free the graph, which is in a reference cycle with this object, at once."""
        for hook in self.hooks:
            hook.remove()
        self.roots.clear()

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Run a torch function, and record it if it joins data with static tensors."""
        kwargs = kwargs or {}
        tensors = list(tensors_in((args, kwargs)))
        data, static = any(map(is_data, tensors)), any(map(is_static, tensors))
        if data and static:
            return self._record(func, args, kwargs)
        out = func(*args, **kwargs)
        for result in tensors_in(out):
            if data:
                self._course.append((func, result.numel()))
                self._mark(result)
            elif static and result.requires_grad and not is_static(result):
                mark_static(
                    result, (name for tensor in tensors for name in parameter_names(tensor))
                )
        return out

    def _record(self, func: Callable, args: Sequence, kwargs: dict) -> Tensor:
        number = len(self.calls)
        operation = bind(func, args, kwargs, self.batch)
        operation.save()
        out = operation.run(func, without_gradient(args), without_gradient(kwargs))
        if not isinstance(out, Tensor):
            names, called = operation.names(), getattr(func, "__name__", func)
            raise UnknownUseError(
                names,
                f"parameter {', '.join(names)} must enter through an operation that returns one"
                f" tensor, or one that torch.func can batch: {called} returns {type(out).__name__}."
                " Freeze it (requires_grad=False) to leave it out of the kernel.",
            )
        self.calls.append(operation)
        hooked = out
        if not out.requires_grad:
            operation.first = True
            self.roots.append(out.requires_grad_())
            out = out.clone()  # in-place activations may not change a leaf
        self.hooks.append(
            hooked.register_hook(lambda grad: self.on_gradient(number, operation, grad))
        )
        self._mark(out)
        return out

    def _mark(self, tensor: Tensor) -> None:
        """Mark a data tensor, and count its bytes."""
        if not is_data(tensor):
            mark_data(tensor)
            self.dtypes.add(tensor.dtype)
            if tensor._base is None:
                self.activations += tensor.nbytes
                self.largest = max(self.largest, tensor.nbytes)
