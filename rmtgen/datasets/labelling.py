"""From the labels of a table, as text, to class numbers."""

import re
from collections.abc import Sequence

import numpy as np

from rmtgen.errors import CorruptInputError, UsageError

_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_LONGEST = 1000
"""Length from which a label is no number, but text."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def class_order(names: Sequence[str], where: str) -> list[str]:
    """The distinct names of classes: by number if all are whole numbers, else sorted as text.

    Args:
        names: The name of the class of each image, or of each class.
        where: What holds them, for messages.

    Raises:
        CorruptInputError: Two names write one number in two ways, such as 1 and 01.
        UsageError: All are numbers, and some are fractions.
    """
    distinct = sorted(set(names))
    if not all(map(_NUMBER.fullmatch, distinct)) or max(map(len, distinct)) >= _LONGEST:
        return distinct
    _refuse_fractions(distinct, where)
    ordered = sorted(distinct, key=_number)
    for name, following in zip(ordered, ordered[1:], strict=False):
        if _number(name) == _number(following):
            raise CorruptInputError(
                f"every class must have one name: {where} has {name} and {following}, which are one"
                " number. Write them alike."
            )
    return ordered


def class_numbers(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """The number of each image's class, int64, (n,).

    Args:
        names: The name of the class of each image.
        classes: The names of all classes, in order.
    """
    number_of = {name: number for number, name in enumerate(classes)}
    return np.fromiter((number_of[name] for name in names), dtype=np.int64, count=len(names))


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _refuse_fractions(numbers: Sequence[str], where: str) -> None:
    """Refuse targets of a regression, which would be as many classes as numbers."""
    fraction = next((name for name in numbers if not _WHOLE.fullmatch(name)), None)
    if fraction is not None:
        raise UsageError(
            f"labels must name classes: {where} has numbers with fractions, such as"
            f" {fraction:.40}. Name the classes by words or whole numbers; targets of a"
            " regression go through rmtgen.ridge_path_features."
        )
