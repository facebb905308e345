"""Runs on features of one's own, `dataset=features:PATH`, for which no network runs."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from rmtgen.errors import UsageError

PREFIX = "features:"
"""What the name of such a data set begins with."""
OF_A_NETWORK = (
    *("model", "init", "weights", "init_seed", "img_size"),
    *("transform", "layer", "pooling", "max_pixels"),
)
"""Fields that mean nothing without a network."""
_NEXT = re.compile(rf",\s*(?={PREFIX})")
"""What is between two data sets of a list; the path of another one may hold a comma."""


def has_network(dataset: object) -> bool:
    """Whether a network runs on a data set."""
    return not str(dataset).startswith(PREFIX)


def data_sets(value: str) -> list[str]:
    """The data sets that text lists: the first one, and those of features after commas."""
    return _NEXT.split(value)


def stem(dataset: str) -> str:
    """The name of a file of features without folders and suffix."""
    return PurePath(dataset.removeprefix(PREFIX)).stem


def refuse_networks(datasets: Iterable[str], given: Iterable[Mapping[str, Any]]) -> None:
    """Refuse what is said of networks where none runs.

    Args:
        datasets: The data set of each run.
        given: Fields by name, as they are written.

    Raises:
        UsageError: Every data set is of features, and a field of a network is given.
    """
    named = list(dict.fromkeys(datasets))
    if any(map(has_network, named)):
        return
    for name in OF_A_NETWORK:
        for values in given:
            if name in values:
                raise UsageError(
                    f"{name} is of a network, and none runs on {named[0]}: got"
                    f" {name}={values[name]!s:.60}. Leave it out, or add a data set of images."
                )
