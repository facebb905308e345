"""Checks of single arguments of public functions; importing this does not import torch."""

import operator
import os
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

import numpy as np

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.names import expanded

Kind = TypeVar("Kind")


def kind_of(values: Any) -> str:
    """What `values` are, in a few words."""
    kind = type(values)
    where = "" if kind.__module__ == "builtins" else kind.__module__.partition(".")[0] + "."
    dtype = getattr(values, "dtype", None)
    text = f"{where}{kind.__name__}{'' if dtype is None else f' of {dtype}'}"
    return text if values is not None and dtype is not None else f"{text} {values!r:.60}"


def whole_number(
    value: SupportsIndex, name: str, *, least: int, most: int = 2**63 - 1, cure: str = ""
) -> int:
    """`value` as an integer in [least, most].

    Args:
        value: The number; a boolean is none.
        name: Name of the argument, for the messages.
        least: The smallest one.
        most: The largest one.
        cure: Sentence on what to do instead.

    Raises:
        UsageError: Not a whole number, or out of range.
    """
    bound = f">= {least}" if most == 2**63 - 1 else f"in [{least}, {most}]"
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor without values
        number = None
    if number is None or not least <= number <= most:
        raise UsageError(
            f"{name} must be a whole number {bound}: got {value!r:.60}.{cure and ' ' + cure}"
        )
    return number


def flag(value: Any, name: str) -> bool:
    """`value` as a boolean.

    Raises:
        UsageError: Neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise UsageError(f"{name} must be True or False: got {value!r:.60}.")
    return bool(value)


def choice(value: Any, name: str, known: tuple[str, ...]) -> str:
    """`value`, one of the known names.

    Raises:
        UsageError: Anything else.
    """
    if not isinstance(value, str) or value not in known:
        raise UsageError(
            f"{name} must be a known one: got {value!r:.60}. {did_you_mean(str(value), known)}"
        )
    return value


def instance(value: Any, kind: type[Kind], name: str, cure: str) -> Kind:
    """`value`, which is of a class of this package.

    Args:
        value: Anything.
        kind: The class.
        name: Name of the argument, for the messages.
        cure: Sentence on where to get one.

    Raises:
        UsageError: Of another class.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}: got {kind_of(value)}. {cure}")
    return value


def path(value: Any, name: str) -> Path:
    """`value` as a path, `~` and `~user` at its beginning replaced by the home folder.

    Raises:
        UsageError: Neither text nor a path; or there is no such user, or one without a home folder.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{name} must be a path: got {kind_of(value)}. Pass text or a Path.")
    return expanded(value)
