"""The features of a concatenation: how they are put together from those of its members.

Nothing is extracted and no feature is copied: what is stored is which runs have the features, and
the scale of each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmtgen.ranking.together import power_root
from rmtgen.report.same_images import check_same_images
from rmtgen.runs.features import STAGE, Concatenation, Member
from rmtgen.runs.run import Run, load_run
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.engine import Job, Result

OF_THE_IMAGES = (
    *("dataset", "classes", "train_indices", "test_indices"),
    *("skipped", "duplicates", "contradictions"),
)
"""What a manifest records of the images, which all members have in common."""
UNSTATED = "not stated"
"""Licence of weights that state none, beside one that is stated."""


def concatenate(job: Job) -> Result:
    """Look at the features of every member once, for its scale, and note what stands side by side.

    Raises:
        CorruptInputError: The members are not of the same images.
        NumericalError: The features of one are all zero.
    """
    runs = [load_run(member.path) for member in job.run.members]
    check_same_images(runs)
    stores = [run.feature_store for run in runs]
    squares = [0.0] * len(runs)
    batches = [
        (place, batch)
        for place, store in enumerate(stores)
        for batch in store.layout.batches("train")
    ]
    for place, batch in job.progress(batches, len(batches), "batch"):
        squares[place] += sum_of_squares(stores[place].read_batch("train", batch))
    n, labelled = len(stores[0].layout.train_labels), labelled_of(job.run)
    members = [
        Member(run.name, run.stages[STAGE].outputs_digest, power_root(run.name, power, n))
        for run, power in zip(runs, squares, strict=True)
    ]
    path = Concatenation(members, labelled).write(job.folder)
    details = details_of(runs, labelled)
    images = sum(len(store) for store in runs[0].labels)
    headline = f"{images} images × {details['feature_dim']} features, of {len(runs)} side by side"
    return Result([path], headline, details)


def sum_of_squares(rows: np.ndarray) -> float:
    """Σ‖x_i‖², summed in float64."""
    return float(np.square(rows, dtype=np.float64).sum())


def labelled_of(folder: RunDir) -> int:
    """The position of the first member on the data set itself, whose classes have its names."""
    datasets = [member.config.dataset for member in folder.members]
    return datasets.index(folder.config.dataset)


def details_of(runs: Sequence[Run], labelled: int) -> dict[str, Any]:
    """What the manifest of a concatenation records: its images, its width, and what it costs.

    Args:
        runs: The members.
        labelled: Position of the one whose images are recorded.
    """
    details = [run.manifest(STAGE).details for run in runs]
    images = {name: details[labelled][name] for name in OF_THE_IMAGES if name in details[labelled]}
    dim = sum(run.feature_store.layout.dim for run in runs)
    return {**images, "feature_dim": dim, "members": [run.name for run in runs], **_costs(runs)}


def _costs(runs: Sequence[Run]) -> dict[str, Any]:
    """The sum of what the members cost; None where one is not known.

    Each member takes a pass of its own over the images. The parameters of a network whose layers
    stand side by side count once.
    """
    details = [run.manifest(STAGE).details for run in runs]
    speeds = [_number(one.get("images_per_second")) for one in details]
    seconds = _total([1 / speed if speed else None for speed in speeds])
    networks = {run.config.get("model"): one for run, one in zip(runs, details, strict=True)}
    stated = list(dict.fromkeys(one.get("licence") for one in networks.values()))
    licences = [one if isinstance(one, str) else UNSTATED for one in stated]
    return {
        "images_per_second": 1 / seconds if seconds else None,
        "flops": _total([_number(one.get("flops")) for one in details]),
        "parameters": _total([_number(one.get("parameters")) for one in networks.values()]),
        "licence": None if set(licences) == {UNSTATED} else " + ".join(licences),
    }


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def looking_cost(workload: Workload) -> StageCost:
    """A sum of squares, batch by batch; the disk is not timed."""
    config = workload.config
    products = 2.0 * config.train * workload.dim
    ram = (4 + 8) * config.batch_size * workload.dim
    return StageCost(products, ram, 0, products / workload.rates.product())
