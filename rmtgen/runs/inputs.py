"""The local files that the features of a run are made from.

The module imports no torch, because a cached run asks for them too.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from rmtgen.datasets import dataset_files
from rmtgen.datasets.catalogue import listed_files
from rmtgen.models.weights import local_weights
from rmtgen.runs.config import Config
from rmtgen.store.tree import FileList


def local_inputs(config: Config) -> dict[str, Path | FileList]:
    """The weights file and the files, folders or lists of the data set, by role; those that exist.

    A role says what a file is for, not where it lies: a moved data set, or another virtual
    environment, is no other input. A concatenation has none but its members.
    """
    if config.members:
        return {}
    found = data_inputs(config)
    if config.has_network and config.init == "pretrained":
        weights = local_weights(config.model, config.weights, config.checkpoints)
        found |= {"weights": weights} if weights and weights.exists() else {}
    return found


def data_inputs(config: Config) -> dict[str, Path | FileList]:
    """The files, folders or lists of the data set, by role; those that exist."""
    paths = dataset_files(config.dataset, config.data_root)
    found: dict[str, Path | FileList] = dict(zip(_roles(paths), paths, strict=True))
    if paths and (listed := listed_files(config.dataset, config.labelling)):
        found["dataset files listed"] = listed
    return {role: path for role, path in found.items() if path.exists()}


def _roles(paths: Sequence[Path]) -> list[str]:
    """A role for each path by its name; where two have one name, by all that they differ in."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        around = os.path.commonpath(paths)
        names = [path.relative_to(around).as_posix() for path in paths]
    return [f"dataset {name}" for name in names]
