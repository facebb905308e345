"""The readable part of a run's name."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rmtgen.runs.concatenation import SIGN, names_of
from rmtgen.runs.own_features import has_network, stem

if TYPE_CHECKING:
    from rmtgen.runs.config import Config

_OTHER = r"[^A-Za-z0-9._-]+"
"""What the name of a run does not hold."""
_MOST_NAMED = 3
"""Largest number of members of a concatenation that the name of its run holds."""


def kernel_label(kernel: str, heads: int | None = None, projection: int | None = None) -> str:
    """A kernel in a few words: features, entk, entk 4 heads, entk sketch 4096."""
    head = f" {heads} heads" if heads else ""
    return f"{kernel}{head}{f' sketch {projection}' if projection else ''}"


def slug(config: "Config", usual_seed: object) -> str:
    """Model, init, kernel, data set, number of images and their size, in letters of file names.

    Of features of one's own it is their file and the number of images.

    Args:
        config: The run.
        usual_seed: Seed of the head that is not named, so that runs of other heads are told apart.
    """
    if not has_network(config.dataset):
        return re.sub(_OTHER, "_", f"features-{stem(config.dataset)}-n{config.train}")
    size = f"{config.img_size}px" if config.img_size else "native"
    label = kernel_label(config.kernel, config.heads, config.projection)
    kernel = "" if label == "features" else f"-{label.replace(' ', '')}"
    if config.head_seed != usual_seed:
        kernel += f"-head{'none' if config.head_seed is None else config.head_seed}"
    source = _source_name(config.dataset)
    text = f"{_model_slug(config.model)}-{config.init}{kernel}-{source}-n{config.train}-{size}"
    return re.sub(_OTHER, "_", text)


def model_name(model: str) -> str:
    """A network by its name; of a concatenation each, and files without their folders."""
    return SIGN.join(_names(model))


def _names(model: str) -> list[str]:
    return [name if has_network(name) else stem(name) for name in names_of(model)]


def _model_slug(model: str) -> str:
    """That in the name of a run, which has the first few members."""
    names = _names(model)
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1}_more"]
    return SIGN.join(names)


def _source_name(dataset: str) -> str:
    """The file, folder or pattern of a data set without its place, or the name itself."""
    prefix, colon, given = dataset.partition(":")
    if prefix == "wds" and (fixed := re.split(r"[{*?[]", given)[0]) != given:
        stem = fixed.rpartition("/")[2].strip("-_.")
        return stem or Path(fixed).name or prefix
    return Path(given).name.split(".")[0] if colon else dataset
