"""Rivals that look at no image: the size of a model, and its accuracy on ImageNet.

They are functions of the facts of several models, and give one score for each.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
from jaxtyping import Float64
from torch import nn

from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError, did_you_mean
from rmtgen.scalars import instance, path, whole_number

COLUMNS = ("model", "top1")
"""Columns of a table of accuracies that are read."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without an image.

    Attributes:
        name: Its name.
        parameters: Number of parameters.
        top1: Top-1 accuracy on ImageNet in per cent; None where it is not known.
    """

    name: str
    parameters: int
    top1: float | None = None


@public
def parameter_count(model: nn.Module) -> int:
    """Number of parameters of a network, trained or not; one that is shared counts once."""
    network = instance(model, nn.Module, "model", "Pass the network, such as backbone.model.")
    return sum(parameter.numel() for parameter in network.parameters())


@public
def parameter_counts(models: Sequence[ModelFacts]) -> Float64[np.ndarray, " m"]:
    """The number of parameters of each model.

    Raises:
        UsageError: No models, or a number of parameters that is not a whole number ≥ 1.
    """
    return np.array([_size(model) for model in _checked(models)], dtype=float)


@public
def size_list(models: Sequence[ModelFacts]) -> Float64[np.ndarray, " m"]:
    """The static list: the place of each model when they are ordered by size, whatever the data.

    The smallest has place 1; models of one size share the mean of their places.

    Raises:
        UsageError: As `parameter_counts`.
    """
    return scipy.stats.rankdata(parameter_counts(models))


@public
def imagenet_top1(models: Sequence[ModelFacts]) -> Float64[np.ndarray, " m"]:
    """The top-1 accuracy of each model on ImageNet, in per cent.

    timm publishes these in its repository (`results/results-imagenet.csv`), and its package
    contains none of them: `read_top1` reads that table.

    Raises:
        UsageError: No models, or one whose accuracy is not known.
    """
    models = _checked(models)
    unknown = [model.name for model in models if model.top1 is None]
    if unknown:
        raise UsageError(
            f"the ImageNet accuracy of every model must be known: got none for {len(unknown)} of"
            f" {len(models)}, the first {unknown[0]!r}. Look it up by read_top1, or leave it out."
        )
    return np.array([model.top1 for model in models], dtype=float)


@public
def read_top1(table: str | os.PathLike, names: Sequence[str]) -> dict[str, float]:
    """Top-1 accuracies on ImageNet, in per cent, from a CSV with columns `model` and `top1`.

    Args:
        table: The file, such as results-imagenet.csv of timm. Further columns are not read.
        names: The models, as the table has them.

    Returns:
        The accuracy of each name.

    Raises:
        UsageError: A name that the table lacks.
        MissingInputError: There is no such file.
        CorruptInputError: No CSV in UTF-8 with these columns; an accuracy outside [0, 100]; a model
            with two accuracies.
    """
    file = path(table, "table")
    known = _read(file)
    for name in names:
        if instance(name, str, "each of names", "Pass names as the table has them.") not in known:
            raise UsageError(
                f"names must be models of {file}: got {name!r:.80}. {did_you_mean(name, known)}"
            )
    return {name: known[name] for name in names}


def _checked(models: Sequence[ModelFacts]) -> list[ModelFacts]:
    found = [
        instance(model, ModelFacts, "each of models", "Make one with ModelFacts(name, parameters).")
        for model in models
    ]
    if not found:
        raise UsageError("models must be one or more: got none. Pass the facts of each.")
    return found


def _size(model: ModelFacts) -> int:
    return whole_number(model.parameters, f"parameters of {model.name}", least=1)


def _read(file: Path) -> dict[str, float]:
    """Every model of a table with its accuracy."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CorruptInputError(
                    f"{file} must have columns {' and '.join(COLUMNS)}: got"
                    f" {', '.join(reader.fieldnames or ()) or 'an empty file'!s:.200}. Name them in"
                    " its first line."
                )
            known: dict[str, float] = {}
            for row in reader:
                _add(known, row["model"], row["top1"], f"{file}, line {reader.line_num}")
    except FileNotFoundError as failure:
        raise MissingInputError(
            f"the table of accuracies must exist: got {file}, which does not. timm has it in its"
            " repository as results/results-imagenet.csv."
        ) from failure
    except (UnicodeDecodeError, csv.Error, OSError) as failure:
        raise CorruptInputError(
            f"{file} must be a CSV in UTF-8: it cannot be read ({failure}). Save it as one."
        ) from failure
    return known


def _add(known: dict[str, float], name: str | None, text: str | None, where: str) -> None:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not name or not 0 <= value <= 100:
        raise CorruptInputError(
            "a line must have a model and per cent in [0, 100]: got"
            f" {name!r:.80} and {text!r:.60} ({where}). Correct it, or delete it."
        )
    if known.setdefault(name, value) != value:
        raise CorruptInputError(
            f"a model must have one accuracy: got {known[name]} and {value} for {name!r:.80}"
            f" ({where}). Delete one of the lines."
        )
