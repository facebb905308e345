"""The images and files behind the samples of a table."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from rmtgen.datasets.catalogue import open_splits
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import LabelledImages
from rmtgen.datasets.source import Access, data_root
from rmtgen.datasets.subsets import SPLITS
from rmtgen.errors import RmtgenError
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import local_inputs
from rmtgen.runs.run import Run, load_run

log = logging.getLogger(__name__)


def named(table: pd.DataFrame, folder: Path, config: Config) -> pd.DataFrame:
    """A table of samples with the image and the file of each.

    Args:
        table: Rows with `split` and `position`, that in the subset of the run.
        folder: The run.
        config: Its configuration.

    Returns:
        The same with `image`, the number in the split of the data set, and `file`, where the image
        lies; empty where the data set is not there any more as it was extracted from.
    """
    if table.empty:
        return table.assign(image=np.array([], int), file=np.array([], str))
    run = load_run(folder)
    indices = run.indices
    pairs = zip(table["split"], table["position"], strict=True)
    images = [int(getattr(indices, split)[position]) for split, position in pairs]
    opened = _opened(run, config)
    wanted = {split: set(table.index[table["split"] == split]) for split in opened}
    files = [""] * len(table)
    for split, rows in wanted.items():
        data = opened[split]
        place = {image: position for position, image in enumerate(data.indices.tolist())}
        for row in rows:
            files[row] = data.images.locate(place[images[row]])
    return table.assign(image=images, file=files)


def _opened(run: Run, config: Config) -> Mapping[str, LabelledImages]:
    """The splits of the data set of a run, none where it is not what it was."""
    recorded = run.manifest("extract").inputs
    here = local_inputs(config)
    for role, record in recorded.items():
        if role.startswith("dataset ") and not (
            role in here and record.still_describes(here[role])
        ):
            log.info(f"{run.name}: {role} has changed, so that samples are named by number")
            return {}
    access = Access(
        data_root(config.data_root),
        share=config.split,
        seed=config.seed,
        max_pixels=config.max_pixels or MAX_PIXELS,
        skip=config.on_corrupt == "skip",
    )
    try:
        return open_splits(config.dataset, SPLITS, access)
    except RmtgenError as error:
        log.info(f"{run.name}: samples are named by number: {error}")
        return {}
