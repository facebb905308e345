"""What a tensor depends on, noted on the tensor itself: parameters alone (static), the images
(data), or neither.

The names of the parameters that a static tensor is made of are its `leaves`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_DATA = "_entk_data"
_LEAVES = "_entk_leaves"


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor inside nested lists, tuples and dicts; by hand, for it is asked for at every
    call that a model makes.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def leaves(value: Any) -> tuple[str, ...]:
    """Names of the parameters that a static tensor is made of; empty for anything else."""
    return getattr(value, _LEAVES, ())


def is_static(value: Any) -> bool:
    """Whether `value` is a tensor made of parameters alone."""
    return hasattr(value, _LEAVES)


def is_data(value: Any) -> bool:
    """Whether `value` is a tensor that depends on the images."""
    return hasattr(value, _DATA)


def mark_data(tensor: Tensor) -> None:
    """Note that a tensor depends on the images."""
    setattr(tensor, _DATA, True)


def mark_static(tensor: Tensor, names: Iterable[str]) -> None:
    """Note that a tensor is made of the named parameters alone."""
    setattr(tensor, _LEAVES, tuple(dict.fromkeys(names)))


def mark_constant(tensor: Tensor) -> None:
    """Take the mark of a static tensor off again."""
    delattr(tensor, _LEAVES)


def without_gradient(value: Any) -> Any:
    """The same nested arguments with every static tensor detached."""
    return pytree.tree_map(lambda item: item.detach() if is_static(item) else item, value)


def one_row(static: Tensor, data: Tensor) -> Tensor:
    """A static tensor that was expanded or repeated to a row for each row of the data, as its
    single row; any other as it is.
    """
    if static.ndim != data.ndim or static.ndim < 2 or len(static) != len(data) or len(static) == 1:
        return static
    if static.stride(0) and not torch.equal(static[1:], static[:1].expand_as(static[1:])):
        return static
    with torch.enable_grad():
        row = static[:1]
    mark_static(row, leaves(static))
    return row
