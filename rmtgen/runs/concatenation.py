"""Concatenations: representations whose features are those of several members, side by side.

`model=a+b` is of networks, or of a network and a file, `a+features:PATH`; `layer=x+y` is of layers
of a network, and of every layer of every network where both are joined. All other settings are
those of each member, which is the same run as by itself.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rmtgen.errors import UsageError
from rmtgen.models.layer_names import stands_for_several
from rmtgen.models.names import present_name
from rmtgen.models.patterns import is_pattern, matching
from rmtgen.runs.own_features import PREFIX
from rmtgen.runs.parsers import UNSET

if TYPE_CHECKING:
    from rmtgen.runs.config import Config

SIGN = "+"
"""What is between the names of members."""
LAST = UNSET[1]
"""Name of the last layer among others."""
_JOINED = ("model", "layer")
"""Fields that may name several members."""
_MOST = 1000
"""Largest number of concatenations that patterns are tried for."""


def is_concatenation(settings: Mapping[str, Any]) -> bool:
    """Whether settings, as a configuration or a manifest has them, are those of a concatenation."""
    return bool(said(settings))


def names_of(value: str) -> list[str]:
    """The names that a value joins."""
    return [name.strip() for name in value.split(SIGN)]


def matched(value: str) -> list[str]:
    """The models that a value of the command line stands for.

    A pattern stands for every name that it matches; in a concatenation for one with each.

    Raises:
        UsageError: A pattern matches nothing, or patterns match too much.
    """
    names = names_of(value)
    listed = [_matching(name) for name in names]
    if len(names) == 1:
        return listed[0]
    if math.prod(map(len, listed)) > _MOST:
        raise UsageError(
            f"patterns of a concatenation must stand for at most {_MOST:,}, got"
            f" {math.prod(map(len, listed)):,} of {value!r:.80}. Narrow them."
        )
    apart: dict[frozenset[str], tuple[str, ...]] = {}
    for combination in itertools.product(*listed):
        if len(set(combination)) == len(names):  # in one order
            apart.setdefault(frozenset(combination), combination)
    # where no members differ, the first are refused by name
    return [SIGN.join(one) for one in apart.values()] or [SIGN.join(one[0] for one in listed)]


def _matching(name: str) -> list[str]:
    return matching(name) if is_pattern(name) and not name.startswith(PREFIX) else [name]


def written_out(config: "Config") -> dict[str, Any]:
    """The fields that may name members, with the present names of networks and without spaces."""
    models = [name if _is_file(name) else present_name(name) for name in names_of(config.model)]
    found: dict[str, Any] = {"model": SIGN.join(models)}
    if config.layer is not None:
        layers = names_of(config.layer)
        found["layer"] = SIGN.join(LAST if name.lower() in UNSET[1:] else name for name in layers)
    return found


def members_of(config: "Config") -> "tuple[Config, ...]":
    """The configuration of each member of a concatenation; none of another representation.

    Raises:
        UsageError: A file of features does not go with other fields.
    """
    if not is_concatenation(vars(config)):
        return ()
    members = (
        dataclasses.replace(config, dataset=model)
        if _is_file(model)
        else dataclasses.replace(config, model=model, layer=None if layer == LAST else layer)
        for model in names_of(config.model)
        for layer in names_of(config.layer or LAST)
    )
    return tuple(dict.fromkeys(members))


def check_concatenation(config: "Config") -> None:
    """Refuse what no concatenation can be made of.

    Raises:
        UsageError: A member has no name or is named twice, none is a network, or the kernel is an
            eNTK.
    """
    models = names_of(config.model)
    if config.has_network and all(map(_is_file, models)):
        raise UsageError(
            f"model names a network, alone or with files of features beside it: got {config.model}."
            f" Rank files by themselves: dataset={config.dataset},{models[0]}."
        )
    if not is_concatenation(vars(config)):
        return
    for name in _JOINED:
        found = names_of(getattr(config, name) or LAST)
        twice = [one for one in found if found.count(one) > 1]
        if twice or not all(found):
            what = f"{twice[0]} twice" if twice else "one without a name"
            raise UsageError(
                f"{name} joins different names by {SIGN}: got {what} in {getattr(config, name)!r}."
                " Leave it out."
            )
    several = [name for name in names_of(config.layer or LAST) if stands_for_several(name)]
    if several:
        raise UsageError(
            f"{several[0]!r} stands for layers of one network, got it with"
            f" {said(vars(config))}. Name the layers of a concatenation."
        )
    if config.kernel == "entk":
        raise UsageError(
            f"a concatenation is of features, got kernel=entk with {said(vars(config))}. Leave one"
            " of them out."
        )


def refuse_concatenations(runs: Iterable["Config"]) -> None:
    """Refuse concatenations where each run is of one representation.

    Raises:
        UsageError: A run is one.
    """
    for run in runs:
        if is_concatenation(vars(run)):
            raise UsageError(
                "a concatenation is for `rmtgen rank` and `rmtgen compare-features`: got"
                f" {said(vars(run))}. Rank it, or list what it joins, separated by commas."
            )


def said(settings: Mapping[str, Any]) -> str:
    """The settings that make a concatenation, as words: model=a+b."""
    values = {name: str(settings.get(name) or "") for name in _JOINED}
    return " ".join(f"{name}={value}" for name, value in values.items() if SIGN in value)


def _is_file(name: str) -> bool:
    return name.startswith(PREFIX)
