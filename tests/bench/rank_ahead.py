"""From a tenth of the labels: the forecast of a ranking, and what all labels then measure."""

import dataclasses
import zlib
from collections.abc import Mapping

import numpy as np

import rmtgen
from rmtgen.ranking.table import MORE
from tests.bench.rank_scores import Found, ridge_truth
from tests.bench.rank_tasks import Source, Task, drawn, superclasses

DRAWS = 3
"""Tenths that are drawn of each task."""
FORESEEN = (
    *("loo", "accuracy", "with_more", "with_more_low", "with_more_high"),
    *("accuracy_with_more", "accuracy_with_more_low", "accuracy_with_more_high"),
)
"""Columns of a ranking that are kept."""


def whole_tasks(source: Source) -> list[Task]:
    """All training pictures of CIFAR-100, with its classes and its super-classes."""
    each = source.sizes[0] // 100
    coarse = superclasses(source.classes)
    return [
        drawn(source, "100 classes, all", np.arange(100), np.full(100, each)),
        drawn(source, "20 super-classes, all", coarse, np.full(20, 5 * each)),
    ]


def tenth(task: Task, number: int) -> Task:
    """A random tenth of the training pictures of a task."""
    name = f"{task.name}, tenth {number}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kept = rng.permutation(len(task.rows["train"]))[: len(task.rows["train"]) // MORE]
    rows, labels = ({**one, "train": one["train"][kept]} for one in (task.rows, task.labels))
    return dataclasses.replace(task, name=name, rows=rows, labels=labels)


def foreseen(parts: Mapping[str, np.ndarray], task: Task) -> Found:
    """The row of a representation in the ranking of a tenth."""
    table = rmtgen.rank(
        {"features": parts["train"]}, task.labels["train"], classes=task.classes
    ).iloc[0]
    return {column: float(table[column]) for column in FORESEEN}


KINDS = {"whole": ridge_truth, "tenth": foreseen}
"""What is computed of all labels, and of a tenth."""
