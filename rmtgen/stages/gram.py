"""Stage `gram`: features, or images under a backbone, -> gram.h5."""

import math
import time
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product

import numpy as np
import torch

from rmtgen.device import default_device
from rmtgen.kernels.entk.precision import IEEE
from rmtgen.kernels.linear import linear_block
from rmtgen.runs.features import open_features
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.division import Division, Unit, complete
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.tangent import Tangent, gram_layout, part_name
from rmtgen.store.batched_rows import BatchedRows
from rmtgen.store.gram_store import GramStore, Tile
from rmtgen.store.shards import ShardSet


class Tiles(Division):
    """The tiles of the Gram matrix, in blocks that are computed as one."""

    noun = "tile"

    def __init__(self, job: Job, kernel: "Tangent | _Linear"):
        self._only, self.config = job.writer is None, job.config
        config = job.config
        self.device, self.kernel = default_device(config.device), kernel
        self.layout = gram_layout(config)
        fingerprint = job.run.fingerprint("gram")
        self.store = GramStore.create(job.folder, self.layout, fingerprint, job.writer)
        self.shards = self.store.shards
        self._tile_of = {tile.name: tile for tile in self.layout.tiles()}
        self.units = self.kernel.units(self.layout.tiles())
        self._computed, self._predicted, self._started = 0, None, 0.0

    def prepare(self, units: Sequence[Unit]) -> None:
        """Predict the seconds of an eNTK that takes long, and sum its chunks if it has several."""
        tiles, self._started = self._lacking(units), time.perf_counter()
        if self._only:
            self._predicted = self.kernel.predicted_seconds(tiles)
            self._started = time.perf_counter()
        self.kernel.prepare(tiles)

    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Store some tiles."""
        for tile in self._lacking(units):
            self.store.write(tile, self.kernel.block(tile))
            self._computed += 1
            yield tile.name

    def _lacking(self, units: Sequence[Unit]) -> list[Tile]:
        return [self._tile_of[name] for unit in units for name in self.lacking(unit)]

    def gather(self) -> Result:
        """The store, sealed."""
        taken = time.perf_counter() - self._started
        self.store.shards.seal()
        remarks = self.kernel.remarks() if self._computed else {}
        shape, total = " × ".join(map(str, self.layout.shape)), len(self._tile_of)
        details = {
            "kernel": self.config.kernel,
            "features": self.kernel.features,
            "products": self.kernel.products,
            "device": str(self.device),
            "tiles": total,
            "computed": self._computed,
        }
        if self._predicted is not None:
            times = {"predicted_seconds": self._predicted, "measured_seconds": taken}
            details |= {name: round(seconds, 3) for name, seconds in times.items()}
        noted = "".join(
            f", {name.replace('_', ' ')} {value:.1%}" for name, value in remarks.items()
        )
        headline = f"{shape} Gram matrix in {total} tiles{noted}"
        return Result([*self.store.files(), *self.kernel.notes], headline, details | remarks)

    def close(self) -> None:
        """Remove what was spilled, and the sums of chunks."""
        self.kernel.close()


class Chunks(Tiles):
    """The tiles of each chunk of an eNTK, each in a shard of its own until all are summed."""

    noun = "tile of a chunk"

    def __init__(self, job: Job, kernel: Tangent, shards: ShardSet):
        super().__init__(job, kernel)
        self.shards, self._chunked, self._job = shards, kernel, job
        every = product(self.layout.tiles(), range(len(kernel.chunks)))
        self._part_of = {part_name(tile, chunk): (chunk, tile) for tile, chunk in every}

    def prepare(self, units: Sequence[Unit]) -> None:
        """Nothing: each chunk of a tile is computed by itself."""

    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Store some chunks of tiles."""
        for name in (name for unit in units for name in self.lacking(unit)):
            chunk, tile = self._part_of[name]
            self.shards.write(name, {"tile": self._chunked.part(chunk, tile)})
            self._computed += 1
            yield name

    def gather(self) -> Result:
        """The store, with the sums over the chunks, added in order as one process adds them."""
        pending = self.store.pending()
        for tile in self._job.progress(pending, len(pending), "sum of a tile"):
            names = (part_name(tile, chunk) for chunk in range(len(self._chunked.chunks)))
            total = reduce(np.add, (self.shards.read(name)["tile"] for name in names))
            self.store.write(tile, self._chunked.finished(total, tile))
        self._chunked.discard()
        return super().gather()


class _Linear:
    """F Fᵀ from stored features, in float64.

    Attributes:
        products: How products are made.
        notes: Files beside the tiles that belong to them.
    """

    products, notes = IEEE.name, ()

    def __init__(self, job: Job, features: BatchedRows):
        self.device = default_device(job.config.device)
        rows = np.concatenate([features.read("train"), features.read("test")])
        self.rows = torch.from_numpy(rows)

    @property
    def features(self) -> int:
        """Number of features that the kernel is made of."""
        return self.rows.shape[1]

    def units(self, tiles: Sequence[Tile]) -> list[Unit]:
        """Every tile alone."""
        return [Unit(tile.name, (tile.name,), math.prod(tile.shape)) for tile in tiles]

    def prepare(self, tiles: Sequence[Tile]) -> None:
        """Nothing: each tile is computed by itself."""

    def close(self) -> None:
        """Nothing is left over."""

    def block(self, tile: Tile) -> np.ndarray:
        """One tile."""
        left = self.rows[tile.row_start : tile.row_stop].to(self.device)
        if tile.symmetric:
            return linear_block(left, left).cpu().numpy()
        right = self.rows[tile.column_start : tile.column_stop].to(self.device)
        return linear_block(left, right).cpu().numpy()

    def predicted_seconds(self, tiles: Sequence[Tile]) -> None:
        """None: the products take less time than their prediction is worth."""

    def remarks(self) -> dict[str, float]:
        """Empty: the kernel is exact."""
        return {}


def divide(job: Job) -> Tiles:
    """The tiles of the matrix, or those of the chunks that several processes share."""
    features = open_features(job.folder)
    if not job.config.tangent:
        return Tiles(job, _Linear(job, features))
    kernel = Tangent(job, features)
    return Chunks(job, kernel, kernel.shared) if kernel.shared else Tiles(job, kernel)


def work(job: Job) -> Result:
    """All of it, in this process."""
    return complete(job, divide(job))


def cost(workload: Workload) -> StageCost:
    """Products of features, or passes and products of the eNTK, tile by tile."""
    return _tangent_cost(workload) if workload.config.tangent else _linear_cost(workload)


def _linear_cost(workload: Workload) -> StageCost:
    config, layout = workload.config, gram_layout(workload.config)
    flops = sum(2.0 * tile.shape[0] * tile.shape[1] * workload.dim for tile in layout.tiles())
    ram = 4 * workload.images * workload.dim + 6 * 8 * config.tile**2
    seconds = flops / workload.rates.product()
    return StageCost(flops, ram, layout.bytes_on_disk, seconds, seconds / layout.tile_count)


def _tangent_cost(workload: Workload) -> StageCost:
    """The plan of the kernel, and the transform of a picture per pass."""
    plan, disk = workload.entk, gram_layout(workload.config).bytes_on_disk
    transform = workload.transform_seconds
    seconds = plan.seconds.total + plan.images * transform
    shared = {
        count: own.seconds + own.images * transform / count for count, own in plan.shared.items()
    }
    own = StageCost(plan.flops, plan.memory_bytes, disk, seconds, 0.0, shared)
    return own.after(workload.calibration)
