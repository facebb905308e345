"""From a tenth of the labels: the forecast of a ranking, and what all labels then measure."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

import rmtgen
from rmtgen.ranking.table import MORE
from tests.bench.pools import held
from tests.bench.rank_order import tau
from tests.bench.rank_scores import Found
from tests.bench.rank_tasks import Source, Task, drawn, superclasses

DRAWS = 2
"""Tenths that are drawn of each task."""
ENDS = ("", "_low", "_high")
FORESEEN = (
    *("loo", "accuracy"),
    *(f"{name}{end}" for name in ("with_more", "accuracy_with_more") for end in ENDS),
)
"""Columns of a ranking that are kept."""


def whole_tasks(source: Source) -> list[Task]:
    """All training pictures of CIFAR-100, with its classes and its super-classes."""
    own = source.labels[source.part("train")]
    coarse = superclasses(source.classes)
    return [
        drawn(source, "100 classes, all", np.arange(100), np.bincount(own)),
        drawn(source, "20 super-classes, all", coarse, np.bincount(coarse[own])),
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


AHEAD = (
    *("task", "τ now", "τ foreseen", "risk off, %", "held"),
    *("accuracy: τ now", "foreseen", "off, points", "held"),
)
"""Headings of the table of forecasts."""


def ahead(name: str, whole: Sequence[Found], tenths: Sequence[Sequence[Found]]) -> tuple[str, ...]:
    """A row of the table of forecasts, means over the tenths.

    Args:
        name: Of the task.
        whole: What all labels measure, by representation.
        tenths: What each tenth foresees, by representation.
    """
    known = {key: np.array([one[key] for one in whole]) for key in whole[0]}
    right = known["accuracy_at_risk"]
    spread = np.sqrt(right * (1 - right) / known["tested"])
    values = []
    for few in tenths:
        seen = {key: np.array([one[key] for one in few]) for key in few[0]}
        risks = tuple(seen[f"with_more{end}"] for end in ENDS)
        rights = tuple(seen[f"accuracy_with_more{end}"] for end in ENDS)
        values.append(
            (
                tau(-known["risk"], -seen["loo"]),
                tau(-known["risk"], -risks[0]),
                100 * np.nanmean(np.abs(risks[0] / known["risk"] - 1)),
                _held(known["risk"], *risks, known["risk_se"]),
                tau(right, seen["accuracy"]),
                tau(right, rights[0]),
                100 * np.nanmean(np.abs(rights[0] - right)),
                _held(right, *rights, spread),
            )
        )
    digits = (2, 2, 2, 2, 2, 2, 1, 2)
    means = np.mean(values, axis=0)
    return name, *(f"{one:.{count}f}" for one, count in zip(means, digits, strict=True))


def _held(known: np.ndarray, *predicted: np.ndarray) -> float:
    """Share of the intervals that hold what was measured, of those that there are."""
    there = np.isfinite(predicted[0])
    return float(held(known[there], *(one[there] for one in predicted)).mean())
