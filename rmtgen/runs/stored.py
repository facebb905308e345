"""What a run directory states, checked by type before it is used: settings, indices and tables.

A run may come from another version, another tool, or someone who means harm: what is not as a
stage writes it is refused with the name of the file and of the field.
"""

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from rmtgen.errors import CorruptInputError
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import Manifest
from rmtgen.store import durable

if TYPE_CHECKING:
    from rmtgen.ranking.explained import Explained
    from rmtgen.ranking.probe import Probe

PROBED = ("losses", "changes", "moves")
"""Arrays of score.h5 beside its tables and figures."""
EXPLAINED = "explained"
"""Table of score.h5 of what is explained of values or labels."""
CLASSES = "classes"
"""Array of score.h5 of the class of each image, where every class counts the same."""
AREA = "area"
"""Group of score.h5 of the mean AUC over labels."""
_LARGEST = 2**53
"""Largest integer that a setting may be; a float holds no other above it."""


def check_settings(folder: Path, manifest: Manifest) -> None:
    """Check that the settings of a stage have the types of `Config`, and the hash it states.

    A setting of another version, which `Config` does not have, is let pass.

    Raises:
        CorruptInputError: They do not.
    """
    path, kinds = folder / f"{manifest.stage}.json", typing.get_type_hints(Config)
    wrong = [
        name
        for name, value in manifest.spec.items()
        if name in kinds and not _is_of(value, kinds[name])
    ]
    try:
        hashed = durable.canonical_json({"stage": manifest.stage, **manifest.spec})
    except ValueError:  # NaN
        hashed = ""
    if wrong or durable.digest(hashed.encode()) != manifest.spec_hash:
        why = (
            f"{', '.join(wrong)} of its settings is of another type, got"
            f" {str(manifest.spec[wrong[0]])[:80]!r}"
            if wrong
            else f"its settings must have the hash {manifest.spec_hash[:40]} that it states"
        )
        raise CorruptInputError(
            f"{path} is not what the stage wrote: {why}. Delete it and run the stage again."
        )


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of the type of a field."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is UnionType:
        return any(_is_of(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, list) and all(_is_of(item, inner[0]) for item in value)
    if kind is NoneType:
        return value is None
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind and (kind is not int or 0 <= value <= _LARGEST)


def stored_indices(folder: Path, details: Mapping[str, Any], split: str, count: int) -> np.ndarray:
    """The positions of a split's images in its data set, (count,), int64.

    Raises:
        CorruptInputError: The manifest does not state them.
    """
    name = f"{split}_indices"
    listed = details.get(name)
    if (
        not isinstance(listed, list)
        or len(listed) != count
        or any(type(index) is not int or not 0 <= index <= _LARGEST for index in listed)
    ):
        raise CorruptInputError(
            f"{folder}/extract.json must list {name}, {count} whole numbers, in details, and does"
            " not. Delete it and run the stage again."
        )
    return np.array(listed, dtype=np.int64)


def stored_table(group: h5py.Group) -> pd.DataFrame:
    """A table of theory.h5: a column per array; text is stored as UTF-8.

    Raises:
        ValueError: It is no table.
    """
    columns = {name: group[name] for name in group}
    for name, column in columns.items():
        if not isinstance(column, h5py.Dataset) or column.ndim != 1:
            raise ValueError(f"{group.name}/{name} must be a column")
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError(f"the columns of {group.name} must have one length")
    return pd.DataFrame({name: _column(column) for name, column in columns.items()})


def stored_probe(file: h5py.File) -> "Probe":
    """The probe of an open score.h5.

    Raises:
        KeyError, ValueError: It holds none.
    """
    # here, because it imports torch, which the rest of a run is read without
    from rmtgen.ranking.probe import FIGURES, OUTLOOK, PATH, Probe

    path, outlook, doubts = (stored_table(file[name]) for name in ("path", "outlook", "doubts"))
    losses, changes, moves = (np.asarray(file[name][()], dtype=float) for name in PROBED)
    figures = np.asarray(file["figures"][()], dtype=float)
    for holds, what in (
        (set(PATH) <= set(path) and len(path), f"path with the columns {', '.join(PATH)}"),
        (set(OUTLOOK) <= set(outlook), f"outlook with the columns {', '.join(OUTLOOK)}"),
        (losses.ndim == 1 and losses.shape == moves.shape, "losses and moves, one per sample"),
        ("message" in doubts, "doubts with the column message"),
        (changes.ndim == 2 and len(set(changes.shape)) == 1, "changes, a square matrix"),
        (figures.shape == (len(FIGURES),), f"figures: {', '.join(FIGURES)}"),
    ):
        if not holds:
            raise ValueError(f"{file.filename} must hold {what}")
    named = dict(zip(FIGURES, figures.tolist(), strict=True))
    messages = tuple(map(str, doubts["message"]))
    tables = path[list(PATH)], outlook[list(OUTLOOK)]
    explained = _stored_explained(file) if EXPLAINED in file else None
    classes = _stored_classes(file, losses.shape) if CLASSES in file else None
    parts = losses, changes, moves, tables[1], named, messages
    return Probe(tables[0], *parts, explained, classes)


def _stored_classes(file: h5py.File, shape: tuple[int, ...]) -> np.ndarray:
    """The class of each image.

    Raises:
        ValueError: They are none.
    """
    found = np.asarray(file[CLASSES][()])
    if found.shape != shape or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
        raise ValueError(f"{file.filename} must hold {CLASSES}, whole numbers from 0, one an image")
    return found.astype(np.int64)


def _stored_explained(file: h5py.File) -> "Explained":
    """What is explained of values or labels.

    Raises:
        KeyError, ValueError: It is not there.
    """
    from rmtgen.ranking.areas import Area  # both import torch, as above
    from rmtgen.ranking.explained import NUMBERS, OUTPUTS, Explained

    outputs = stored_table(file[EXPLAINED])
    if not set(OUTPUTS) <= set(outputs):
        raise ValueError(f"{file.filename} must hold {EXPLAINED} with {', '.join(OUTPUTS)}")
    value, least, most = (float(file[f"{AREA}/{name}"][()]) for name in ("value", "low", "high"))
    moves, changes = (
        np.asarray(file[f"{AREA}/{name}"][()], float) for name in ("moves", "changes")
    )
    if moves.ndim != 1 or changes.ndim != 2 or len(set(changes.shape)) > 1:
        raise ValueError(f"{file.filename} must hold {AREA}: moves, and changes, a square matrix")
    area = Area(value, least, most, moves, changes)
    r2, low, high, variance = (float(file[name][()]) for name in NUMBERS)
    return Explained(r2, low, high, variance, outputs[list(OUTPUTS)], area)


def _column(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr("utf-8")[()] if dataset.dtype.kind == "S" else dataset[()]


def read_table(
    file: BinaryIO, path: Path, columns: Sequence[str], train: int | None, remedy: str
) -> pd.DataFrame:
    """A CSV of numbers, with a sample size in each row.

    Args:
        file: The open file.
        path: Its path, for errors.
        columns: The columns that it must have, `n` among them.
        train: The largest sample size; None where it is not known.
        remedy: What an error says to do.

    Raises:
        CorruptInputError: It is no table, lacks a column of numbers, or has sample sizes that are
            none.
    """
    try:
        frame = pd.read_csv(file, encoding="utf-8")
    except (ValueError, OverflowError, MemoryError, pd.errors.ParserError) as error:
        raise CorruptInputError(f"{path} is not a table ({error}). {remedy}") from error
    wrong = [
        name for name in columns if name not in frame or not is_numeric_dtype(frame[name].dtype)
    ]
    if wrong:
        raise CorruptInputError(
            f"{path} must have the columns {', '.join(wrong)} of numbers, and does not. {remedy}"
        )
    sizes = frame["n"]
    if sizes.dtype.kind not in "iu" or not sizes.between(1, train or _LARGEST).all():
        raise CorruptInputError(
            f"{path} must have sample sizes n from 1 to {train}: got {sizes.min()} to"
            f" {sizes.max()}. {remedy}"
        )
    return frame
