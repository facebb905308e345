"""Marks on tensors: static (depends on parameters alone), data (depends on the images), or none."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_DATA = "_entk_data"
_PARAMETERS = "_entk_parameters"


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor inside nested lists, tuples and dictionaries."""
    # Written by hand for speed: every call of a model passes through here.
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def parameter_names(value: Any) -> tuple[str, ...]:
    """Names of the parameters that a static tensor depends on; empty for any other value."""
    return getattr(value, _PARAMETERS, ())


def is_static(value: Any) -> bool:
    """Whether `value` is a tensor that depends on parameters alone."""
    return hasattr(value, _PARAMETERS)


def is_data(value: Any) -> bool:
    """Whether `value` is a tensor that depends on the images."""
    return hasattr(value, _DATA)


def mark_data(tensor: Tensor) -> None:
    """Mark a tensor that depends on the images."""
    setattr(tensor, _DATA, True)


def mark_static(tensor: Tensor, names: Iterable[str]) -> None:
    """Mark a tensor that depends on the named parameters alone."""
    setattr(tensor, _PARAMETERS, tuple(dict.fromkeys(names)))


def unmark(tensor: Tensor) -> None:
    """Remove the mark of a static tensor."""
    delattr(tensor, _PARAMETERS)


def without_gradient(value: Any) -> Any:
    """The same nested arguments, with every static tensor detached."""
    return pytree.tree_map(lambda item: item.detach() if is_static(item) else item, value)


def one_row(static: Tensor, data: Tensor) -> Tensor:
    """The single row of a static tensor that was expanded or repeated to the rows of the data.

    Any other static tensor is returned unchanged.
    """
    if static.ndim != data.ndim or static.ndim < 2 or len(static) != len(data) or len(static) == 1:
        return static
    if static.stride(0) and not torch.equal(static[1:], static[:1].expand_as(static[1:])):
        return static
    with torch.enable_grad():
        row = static[:1]
    mark_static(row, parameter_names(static))
    return row
