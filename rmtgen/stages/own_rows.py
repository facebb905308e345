"""Rows of features of one's own in the place of those of a network, for the stage `extract`."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rmtgen.datasets.feature_rows import FeatureRows, dimension
from rmtgen.runs.config import Config
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.loading import open_images
from rmtgen.stages.origin import Make
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.shards import hdf5_image


class OwnRows:
    """The rows of a data set `features:PATH`, read as they are wanted."""

    columns = "features of one's own"

    def __init__(self, config: Config):
        self.split = open_images(config)
        self.dim = dimension(config.dataset)
        self.made_from: dict[str, str] = {}
        self.details = {"feature_dim": self.dim, "dataset": self.split.train.origin}

    def make(self, store: FeatureStore) -> Make:
        """Batches of rows, in the order of the images."""

        def make(name: str, batches: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
            rows: FeatureRows = getattr(self.split, name).images
            for batch in batches:
                yield batch, torch.from_numpy(rows.rows(store.layout.span(name, batch)))

        return make

    def alone(self, seconds: float) -> float:
        """The same: a file is read by each run."""
        return seconds

    def facts(self) -> dict[str, Any]:
        """Nothing: a file says no more of its features."""
        return {}

    def findings(self, store: FeatureStore) -> tuple[dict[str, Any], str]:
        """Nothing: there is no network to state facts of."""
        return {}, ""


def copying_cost(workload: Workload) -> StageCost:
    """A batch as bytes of a shard, for every batch; the disk is not timed."""
    batch = min(workload.config.batch_size, workload.images)
    rows = np.zeros((batch, workload.dim), dtype=np.float32)
    seconds = workload.rates.seconds(lambda: hdf5_image({"features": rows}))
    return StageCost(
        flops=0.0,
        ram=2 * rows.nbytes,
        disk=4 * workload.images * workload.dim,
        seconds=seconds * workload.images / batch,
        longest=seconds,
    )
