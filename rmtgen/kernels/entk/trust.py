"""When does the check of two samples hold for every batch?

The audit compares gradients on two samples. What it proves holds for other samples and other
batches if the forward pass is the same sequence of operations for all of them, and if none of these
operations lets one sample see another. `doubt` watches the operations below autograd, on two
samples and on three, and compares each sample in a batch with the sample alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.dependence import tensors_in
from rmtgen.kernels.entk.operations import BatchStatisticsError

_FACTORIES = ("new_", "empty_like", "zeros_like", "ones_like", "full_like", "rand")
"""Operations whose result does not depend on the values of their arguments."""

_READS = {"numpy", "tolist", "__array__", "__dlpack__"}
"""Methods that hand the values of a tensor to Python without an operation of torch."""

_OF_MEMORY = {"as_strided", "as_strided_", "storage", "untyped_storage", "data_ptr", "set_"} | {
    "resize_", "resize_as_"
}  # fmt: skip
"""Methods that address the entries of a tensor by their order in memory."""

_BY_INDEX = {"gather", "scatter", "scatter_add", "scatter_reduce", "index_select", "index_add"} | {
    "index_copy", "index_fill", "index_reduce", "embedding", "take", "put"
}  # fmt: skip
"""Operations that move entries along an axis to places which an argument `index` names."""

_KEEPS_SAMPLES_APART = {"cat", "stack", "repeat_interleave", "select_scatter", "slice_scatter"}
"""Operations with an axis that may count the samples; views are further ones."""

_REARRANGES = {"view", "unsafe_view", "reshape_alias", "clone", "expand", "squeeze", "contiguous"}
"""Operations that only change shape or memory; which of them run depends on axes of length one."""

_ROUNDINGS = 1e4
"""Rounding errors by which an output may differ between batch sizes."""


@dataclass(frozen=True)
class _Step:
    """An operation on data: its name, the shapes before and after, and the axes it works along."""

    name: str
    before: tuple[torch.Size, ...]
    after: tuple[torch.Size, ...]
    axes: tuple[tuple[int, int], ...]


class _Memory(TorchFunctionMode):
    """Notes what torch does not see as an operation: reads by Python, and questions on memory."""

    def __init__(self, watch: "Watch"):
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _READS and any(map(self.watch.is_data, tensors_in(args))):
            self.watch.reads.append(name)
        if name in _OF_MEMORY:
            self.watch.of_memory = True
        return func(*args, **(kwargs or {}))


class Watch(TorchDispatchMode):
    """A dispatch mode that notes every operation on data in a forward pass.

    Attributes:
        samples: Number of samples.
        steps: The operations on data, in order.
        reads: Names of the operations whose course or shape depends on values of the data.
        of_memory: Whether the pass depends on the order of entries in memory.
        bytes: Bytes of all data tensors.
    """

    def __init__(self, images: Tensor):
        super().__init__()
        self.samples = len(images)
        self.steps: list[_Step] = []
        self.reads: list[str] = []
        self.of_memory, self.bytes = False, 0
        self._storages: dict[int, Any] = {}
        self._memory = _Memory(self)
        self._note(images)

    def __enter__(self) -> "Watch":
        self._memory.__enter__()
        return super().__enter__()

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        self._memory.__exit__(*failure)
        self._storages.clear()  # the two modes refer to each other: the data would outlive the pass

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        with torch._C.DisableTorchFunction():
            return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Sequence, kwargs: dict) -> Any:
        data = [tensor for tensor in tensors_in((args, kwargs)) if self.is_data(tensor)]
        name = func.overloadpacket.__name__.strip("_")
        if data and self._reads_values(func, name, args):
            self.reads.append(name)
        out = func(*args, **kwargs)
        if data and not name.startswith(_FACTORIES):
            results = [tensor for tensor in tensors_in(out) if tensor.numel()]
            for result in results:
                self._note(result)
        if data and not name.startswith(_FACTORIES) and name not in _REARRANGES:
            self.steps.append(
                _Step(
                    name,
                    tuple(tensor.shape for tensor in data),
                    tuple(_that_count(results)),
                    tuple(self._axes(func, name, args, kwargs, data)),
                )
            )
        return out

    def course(self) -> list[str]:
        """Names of the operations on data, in order."""
        return [step.name for step in self.steps]

    def is_data(self, tensor: Tensor) -> bool:
        """Whether a tensor shares memory with one that depends on the images."""
        return tensor.untyped_storage()._cdata in self._storages

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:
            self._storages[storage._cdata] = storage
            self.bytes += storage.nbytes()

    def _reads_values(self, func: Any, name: str, args: Sequence) -> bool:
        if name in ("index", "index_put", "index_put_", "unsafe_index_put", "unsafe_index"):
            return any(
                tensor.dtype in (torch.bool, torch.uint8) and self.is_data(tensor)
                for tensor in tensors_in(args[1])
            )
        if name == "masked_scatter":
            return self.is_data(args[1])
        return (
            torch.Tag.data_dependent_output in func.tags
            or torch.Tag.dynamic_output_shape in func.tags
        )

    def _axes(
        self, func: Any, name: str, args: Sequence, kwargs: dict, data: Sequence[Tensor]
    ) -> Iterator[tuple[int, int]]:
        """Each axis along which values meet or move by values, with its number and its length."""
        named = {argument.name: value for argument, value in _named(func, args, kwargs)}
        first = next((value for value in named.values() if isinstance(value, Tensor)), data[0])
        plain = name.rstrip("_")
        if plain in ("index", "index_put", "unsafe_index", "unsafe_index_put"):
            for axis, index in enumerate(args[1]):
                if index is not None and self.is_data(index):
                    yield axis, first.shape[axis]
            return
        if plain in _BY_INDEX:
            index = named.get("index", named.get("indices"))
            if not isinstance(index, Tensor) or not self.is_data(index):
                return
            if plain in ("take", "put"):
                yield 0, first.numel()
                return
        elif func.is_view or plain in _KEEPS_SAMPLES_APART:
            return
        dims = named.get("dim", named.get("dims", 0 if plain == "embedding" else None))
        for axis in [dims] if isinstance(dims, int) else dims or ():
            if isinstance(axis, int) and first.ndim:
                yield axis % first.ndim, first.shape[axis]


def _named(func: Any, args: Sequence, kwargs: dict) -> Iterator[tuple[Any, Any]]:
    """The arguments of an operation in the order of its schema, with their defaults."""
    for number, argument in enumerate(func._schema.arguments):
        given = args[number] if number < len(args) else argument.default_value
        yield argument, kwargs.get(argument.name, given)


def _that_count(results: Sequence[Tensor]) -> Iterator[torch.Size]:
    """The shapes of the results; integers beside a first result are notes of an algorithm."""
    for number, result in enumerate(results):
        if number == 0 or result.dtype.is_floating_point or result.dtype.is_complex:
            yield result.shape


def doubt(
    forward: Callable[[Tensor], Tensor], images: Tensor, within: Tensor, watch: Watch
) -> str | None:
    """Why what is proven for two samples may be wrong in another batch; None if it cannot be.

    Args:
        forward: The outputs (b, k) of b samples.
        images: Two samples.
        within: Their outputs.
        watch: What was noted when these were computed.

    Raises:
        UsageError: The model gives different outputs for the same sample, or uses batch statistics.
    """
    if watch.reads:
        return f"the forward pass depends on values of the data ({watch.reads[0]})"
    one = images[:1].clone()
    try:
        others = Watch(one)
        with others:
            alone = forward(one)
        if others.course() != watch.course():  # torch itself treats a single sample otherwise
            three = torch.cat([images, images[:1]])
            others = Watch(three)
            with others:
                forward(three)
    except (RuntimeError, ValueError, IndexError, TypeError) as failure:
        return f"the model does not run on every number of samples ({_first_line(failure)})"
    met = _meeting(watch, others)
    if met is None and not _equal(within[:1], alone):
        met = "the output of a sample depends on its batch"
    if met is not None and not _equal(forward(one), alone):
        raise UsageError(
            "the model must give the same output for the same image, got two different ones. Switch"
            " off what is random in its forward pass."
        )
    return met


def _meeting(two: Watch, others: Watch) -> str | None:
    """The first operation in which samples meet, from its shapes for two numbers of samples."""
    if two.course() != others.course():
        return "the forward pass differs between two and three samples"
    for step, other in zip(two.steps, others.steps, strict=True):
        for shape, others_shape in zip(step.after, other.after, strict=True):
            if others.samples * shape.numel() != two.samples * others_shape.numel():
                if step.name.endswith("batch_norm"):
                    raise BatchStatisticsError
                return f"an operation joins samples ({step.name})"
        if step.axes != other.axes:
            return f"an operation works across samples ({step.name})"
    return None


def _equal(found: Tensor, expected: Tensor) -> bool:
    found, expected = found.detach(), expected.detach()
    allowed = _ROUNDINGS * torch.finfo(expected.dtype).eps * expected.abs().max()
    same = (found - expected).abs() <= allowed
    return bool((same | ~expected.isfinite()).all())


def _first_line(failure: Exception) -> str:
    return (str(failure) or type(failure).__name__).splitlines()[0]
