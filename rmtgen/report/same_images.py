"""Runs that represent the same images: their names for people, and the check that they do."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from rmtgen.errors import CorruptInputError
from rmtgen.names import printable
from rmtgen.ranking.halving import Dropped
from rmtgen.report.wording import dataset_names
from rmtgen.runs.own_features import has_network
from rmtgen.runs.run import Run
from rmtgen.runs.slugs import kernel_label, model_name
from rmtgen.tasks import task_of

DIFFERING = ("init", "kernel", "img_size", "layer", "pooling")
"""Settings that tell representations of one network apart."""
_MOST_NAMED = 3
_ROUNDING = 1e-6
"""Difference of values, over the largest of a column, that float32 explains."""


def labels_of(runs: Sequence[Run | Dropped]) -> list[str]:
    """The model, and of the other settings those that differ; or the file of features.

    Where two runs would have one label, both have their own names.
    """
    datasets = {run.name: printable(str(run.config["dataset"])) for run in runs}
    files = dataset_names(name for name in datasets.values() if not has_network(name))
    networks = {run.name: _settings(run) for run in runs if has_network(datasets[run.name])}
    shown = [name for name in DIFFERING if len({values[name] for values in networks.values()}) > 1]
    labels = []
    for run in runs:
        if run.name not in networks:
            labels.append(files[datasets[run.name]])
            continue
        values = networks[run.name]
        details = f" ({', '.join(values[name] for name in shown)})" if shown else ""
        labels.append(printable(values["model"] + details))
    return [
        label if labels.count(label) == 1 else run.name
        for label, run in zip(labels, runs, strict=True)
    ]


def _settings(run: Run | Dropped) -> dict[str, str]:
    """The settings of a run with a network, as text."""
    config = run.config
    return {
        "model": model_name(str(config["model"])),
        "init": str(config["init"]),
        "kernel": kernel_label(config["kernel"], config.get("heads"), config.get("projection")),
        "img_size": f"{config['img_size']} px" if config["img_size"] else "native size",
        "layer": str(config.get("layer") or "last"),
        "pooling": str(config.get("pooling", "avg")),
    }


def images_of(runs: Sequence[Run]) -> str:
    """The data set whose images the runs represent; without one, the files of features."""
    given = list(dict.fromkeys(printable(str(run.config["dataset"])) for run in runs))
    named = [name for name in given if has_network(name)][:1] or given
    names = list(dataset_names(named).values())
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[: _MOST_NAMED - 1])} and {len(names) - _MOST_NAMED + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def check_same_images(runs: Sequence[Run]) -> None:
    """Refuse runs of other images, which no paired comparison can be made of.

    Runs of one data set must have drawn the same images. Of several data sets, such as images and
    features of them, they must have drawn the same rows, whose labels must agree image by image; a
    class may have several names.

    Raises:
        CorruptInputError: They are not of the same images.
    """
    first = runs[0]
    for run in runs[1:]:
        alike = run.config["dataset"] == first.config["dataset"]
        for name in ("train_indices", *(("classes",) if alike else ())):
            here, there = (one.manifest("extract").details.get(name) for one in (run, first))
            if here != there:
                advice = "Run both with one dataset, train and seed."
                if not alike:
                    advice = "Files of features need a row for every image, in the order of the"
                    advice += " data set; train and seed must be one."
                raise CorruptInputError(
                    f"a ranking needs the same images in every run: {name} of {run.name} differ"
                    f" from those of {first.name}. {advice}"
                )
        if not alike:
            _check_labels(first, run)


def _check_labels(first: Run, other: Run) -> None:
    """Refuse two runs whose labels disagree, however their classes are called."""
    if task_of(first.labels.train) == "classes":
        apart, column = _other_classes(first, other), None
    else:
        apart, column = _other_columns(first, other)
    if len(apart):
        image, place = int(first.indices.train[apart[0]]), apart[0]
        there, here = (_called(run, place, column) for run in (first, other))
        raise CorruptInputError(
            f"a ranking needs the same images in every run: of {len(first.labels.train):,} labels"
            f" {len(apart):,} disagree between {first.name} and {other.name}, such as image"
            f" {image}, from 0, which is {there} there and {here} here. Files of features need a"
            " row for every image, in the order of the data set."
        )


def _other_classes(first: Run, other: Run) -> np.ndarray:
    """The places of images whose classes are not one, each class being called as fits best."""
    here, there = first.labels.train, other.labels.train
    counts = np.zeros((len(first.classes), len(other.classes)), dtype=np.int64)
    np.add.at(counts, (here, there), 1)
    called = np.full(len(first.classes), -1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    called[rows] = columns
    return np.flatnonzero(called[here] != there)


def _other_columns(first: Run, other: Run) -> tuple[np.ndarray, int]:
    """The places of images whose labels or values differ, and the column where the first does.

    Values may be rounded, as to float32.

    Raises:
        CorruptInputError: There are not as many columns.
    """
    here, there = first.labels.train, other.labels.train
    if here.shape != there.shape:
        raise CorruptInputError(
            f"a ranking needs the same labels in every run: {first.name} has"
            f" {', '.join(first.classes)}, and {other.name} {', '.join(other.classes)}. Name the"
            " columns: columns=…."
        )
    within = _ROUNDING * np.abs(here).max(axis=0) if here.dtype.kind == "f" else 0.0
    apart = np.abs(here * 1.0 - there) > within
    places = np.flatnonzero(apart.any(axis=1))
    return places, int(apart[places[0]].argmax()) if len(places) else 0


def _called(run: Run, place: int, column: int | None) -> str:
    """The class of an image, or one of its labels or values by name."""
    if column is None:
        return repr(run.classes[run.labels.train[place]])
    return f"{run.classes[column]} {run.labels.train[place, column]:g}"
