"""Stage `gram`: features, or images under a backbone, -> gram.h5."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch

from rmtgen.datasets import Split
from rmtgen.device import default_device
from rmtgen.errors import NumericalError, StaleInputError
from rmtgen.kernels.entk import Entk, Plan
from rmtgen.kernels.entk.chunks import chunks
from rmtgen.kernels.entk.pace import Pace
from rmtgen.kernels.entk.passes import Images
from rmtgen.kernels.entk.plan import plan_chunks, schedule
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.kernels.entk.work import count
from rmtgen.kernels.linear import linear_block
from rmtgen.rates import Rates
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import recorded
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.loading import joint_images, open_backbone, open_images, placeholder
from rmtgen.store import durable
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramLayout, GramStore, Tile
from rmtgen.store.tile_sums import TileSums, discard

_CHECKED = 256
"""Number of training images on which heads are compared."""
SUMS = "sums"
"""Folder of the sums of a kernel in chunks, below that of the run, until the kernel is done."""
WORTH = {"cpu": 2e11, "cuda": 2e13}
"""FLOPs from which on the seconds of a kernel are predicted, which takes about two."""


def work(job: Job) -> Result:
    """Compute and store every tile of the Gram matrix that is not there yet."""
    config, device = job.config, default_device(job.config.device)
    features = FeatureStore.open(job.folder, recorded(job.folder, "extract"))
    layout = _layout(config)
    store = GramStore.create(job.folder, layout, job.run.fingerprint("gram"))
    pending, total = store.pending(), len(layout.tiles())
    kernel = _Tangent(job, features) if config.tangent else _Linear(job, features)
    pending = kernel.order(pending)
    predicted, started = kernel.predicted_seconds(pending), time.perf_counter()
    kernel.prepare(job, pending)
    for tile in job.progress(pending, total, "tile", done=total - len(pending)):
        store.write(tile, kernel.block(tile))
    taken = time.perf_counter() - started
    store.shards.seal()
    remarks = kernel.remarks() if pending else {}
    kernel.finish()
    shape = " × ".join(str(size) for size in layout.shape)
    details = {
        "kernel": config.kernel,
        "device": str(device),
        "tiles": total,
        "computed": len(pending),
    }
    if predicted is not None:
        details |= {"predicted_seconds": round(predicted, 3), "measured_seconds": round(taken, 3)}
    noted = "".join(f", {name.replace('_', ' ')} {value:.1%}" for name, value in remarks.items())
    return Result(store.files(), f"{shape} Gram matrix in {total} tiles{noted}", details | remarks)


class _Linear:
    """F Fᵀ from stored features."""

    def __init__(self, job: Job, features: FeatureStore):
        self.device = default_device(job.config.device)
        rows = np.concatenate([features.read("train"), features.read("test")])
        self.rows = torch.from_numpy(rows)

    def order(self, tiles: list[Tile]) -> list[Tile]:
        """The same order: every tile costs the same."""
        return tiles

    def prepare(self, job: Job, tiles: Sequence[Tile]) -> None:
        """Nothing: each tile is computed by itself."""

    def finish(self) -> None:
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


class _Tangent:
    """The eNTK of the same images as the features, averaged over its heads."""

    def __init__(self, job: Job, features: FeatureStore):
        self.config = config = job.config
        split = open_images(config)
        _check_labels(job, features, split)
        backbone = open_backbone(config, head="random")
        images = joint_images(backbone, split)
        self.kernel = _entk(config, backbone.model, images, spill=config.spill)
        self._chunks = _chunks(self.kernel, config)
        self._panels = _panels(self.kernel, config)
        self._panel_of = self._places(self._panels)
        self._place = job.folder / SUMS
        self._sums = _sums(job, self._place, self._chunks) if len(self._chunks) > 1 else None
        self._held: tuple[int, np.ndarray] | None = None
        self.checked = min(_CHECKED, config.train)

    def _places(self, panels: Sequence[Panel]) -> dict[tuple[int, int], int]:
        """The number of the panel of each tile, by its first row and column."""
        return {
            (row, column): number
            for number, panel in enumerate(panels)
            for row, column in product(*(side[:: self.config.tile] for side in panel[:2]))
        }

    def order(self, tiles: list[Tile]) -> list[Tile]:
        """The tiles panel by panel."""
        return sorted(tiles, key=self._number)

    def _number(self, tile: Tile) -> int:
        return self._panel_of[tile.row_start, tile.column_start]

    def prepare(self, job: Job, tiles: Sequence[Tile]) -> None:
        """Sum the chunks of the kernel, each of them for the tiles that lack it."""
        sums = self._sums
        while sums and (behind := [tile for tile in tiles if sums.parts(tile) < len(self._chunks)]):
            parts = min(map(sums.parts, behind))
            self._add(job, sums, parts, [tile for tile in behind if sums.parts(tile) == parts])

    def _add(self, job: Job, sums: TileSums, parts: int, tiles: Sequence[Tile]) -> None:
        """Add a chunk to the sums of some tiles, panel by panel."""
        kernel = self._chunks[parts].opened()
        panels = _panels(kernel, self.config)
        places, wanted = self._places(panels), defaultdict(list)
        for tile in tiles:
            wanted[places[tile.row_start, tile.column_start]].append(tile)
        unit = f"panel of chunk {parts + 1}/{len(self._chunks)}"
        for number in job.progress(sorted(wanted), len(wanted), unit):
            rows, columns, _ = panel = panels[number]
            shape = len(rows), len(columns)
            onto = {name: torch.zeros(shape, dtype=torch.float64) for name in kernel.parts}
            first, *others = kernel.blocks(*panel, onto=onto).values()
            for other in others:
                first += other
            mean = first.div_(len(onto)).numpy()
            for tile in wanted[number]:
                sums.add(tile, _cut(mean, panel, tile))
        kernel.finish()

    def block(self, tile: Tile) -> np.ndarray:
        """One tile, out of its panel, which is computed once for all tiles in it."""
        if self._sums:
            return self._finished(self._sums.read(tile), tile)
        number = self._number(tile)
        panel = self._panels[number]
        if self._held is None or self._held[0] != number:
            self._held = None  # not two at a time
            parts = self.kernel.blocks(*panel)
            self._held = number, (sum(parts.values()) / len(parts)).numpy()
        return _cut(self._held[1], panel, tile)

    def _finished(self, total: np.ndarray, tile: Tile) -> np.ndarray:
        """A sum over all chunks in the type of the matrix, which it must not overflow."""
        with np.errstate(over="ignore"):
            found = total.astype(self.config.gram_dtype)
        if not np.isfinite(found).all():
            row, column = np.argwhere(~np.isfinite(found))[0]
            at = tile.row_start + int(row), tile.column_start + int(column)
            raise NumericalError(self.kernel.passes.explain(*at))
        return found

    def finish(self) -> None:
        """Remove what was spilled, and the sums of chunks."""
        self.kernel.finish()
        discard(self._place)

    def predicted_seconds(self, tiles: Sequence[Tile]) -> float | None:
        """Seconds that some tiles will take; None where that is not worth measuring."""
        device = self.kernel.passes.device
        panels = [self._panels[number] for number in sorted(set(map(self._number, tiles)))]
        repeats = schedule(self.kernel, panels, _pairs(panels))
        weights = count(self.kernel.passes, self.kernel.layout, repeats)
        if sum(weight.flops for weight in weights) < WORTH[device.type]:
            return None
        if self._sums:
            return self._chunked_seconds(self._sums, tiles, Rates(device))
        seconds = Pace.measured(self.kernel, repeats, Rates(device)).seconds(self.kernel, repeats)
        return seconds.passes + seconds.products

    def _chunked_seconds(self, sums: TileSums, tiles: Sequence[Tile], rates: Rates) -> float:
        """Seconds of the chunks that some tiles lack, by their share of all."""
        lacking = sum(len(self._chunks) - sums.parts(tile) for tile in tiles)
        plan = _plan(self.kernel, self._chunks, self.config, rates)
        share = lacking / (len(self._chunks) * _layout(self.config).tile_count)
        return plan.seconds.total * share

    def remarks(self) -> dict[str, float]:
        """The spread of the heads' kernels on the first images, ‖std‖_F / ‖mean‖_F."""
        if len(self.kernel.parts) == 1:
            return {}
        first = torch.stack([*self.kernel.blocks(*[range(self.checked)] * 2).values()])
        return {"spread_of_heads": float(first.std(dim=0).norm() / first.mean(dim=0).norm())}


def _entk(config: Config, model: torch.nn.Module, images: Images, spill: str | None = None) -> Entk:
    return Entk(
        model,
        images,
        dtype=getattr(torch, config.gram_dtype),
        by="output" if config.heads else None,
        device=config.device,
        memory=config.memory,
        precision=config.entk_precision,
        tile=config.tile,
        spill=spill,
    )


def _check_labels(job: Job, features: FeatureStore, split: Split) -> None:
    for name, images in (("train", split.train), ("test", split.test)):
        if not np.array_equal(images.labels, features.layout.labels(name)):
            raise StaleInputError(
                f"the {name} images must be those of {job.folder}/features.h5, got other labels."
                f" The data set has changed: put it back, or move {job.folder} away and run again."
            )


def cost(workload: Workload) -> StageCost:
    """Products of features, or passes and products of the eNTK, tile by tile."""
    return _tangent_cost(workload) if workload.config.tangent else _linear_cost(workload)


def _linear_cost(workload: Workload) -> StageCost:
    config, layout = workload.config, _layout(workload.config)
    flops = sum(2.0 * tile.shape[0] * tile.shape[1] * workload.dim for tile in layout.tiles())
    ram = 4 * workload.images * workload.dim + 6 * 8 * config.tile**2
    return StageCost(flops, ram, layout.bytes_on_disk, flops / workload.rates.product())


def _tangent_cost(workload: Workload) -> StageCost:
    """The plan of the kernel, and the transform of a picture per pass."""
    plan, disk = workload.entk, _layout(workload.config).bytes_on_disk
    seconds = plan.seconds.total + plan.images * workload.transform_seconds
    return StageCost(plan.flops, plan.memory_bytes, disk, seconds)


def tangent_plan(config: Config, rates: Rates) -> Plan:
    """What the stage will do for an eNTK run, weight by weight.

    Raises:
        UsageError: As `rmtgen.entk_plan`.
    """
    backbone, images = placeholder(config)
    kernel = _entk(config, backbone.model, images)
    return _plan(kernel, _chunks(kernel, config), config, rates)


def _plan(kernel: Entk, parts: Sequence[Entk], config: Config, rates: Rates) -> Plan:
    """The plan of a kernel in chunks, or in one piece."""
    groups = [(part, _panels(part, config)) for part in parts]
    what = f"({config.train:,} + {config.test:,}) × {config.train:,}"
    return plan_chunks(kernel, groups, what, _pairs(groups[0][1]), rates)


def _sides(config: Config) -> tuple[range, range]:
    """Positions of the training images and of the test images."""
    return range(config.train), range(config.train, config.train + config.test)


def _chunks(kernel: Entk, config: Config) -> list[Entk]:
    """The chunks of parameters that the kernel is summed over.

    Their sums lie on the disk; a panel takes an eighth of the budget more in float64.
    """
    train, test = _sides(config)
    return chunks(kernel, train, train, test, sums=kernel.budget // 8)


def _sums(job: Job, place: Path, parts: Sequence[Entk]) -> TileSums:
    """The sums over the chunks of a kernel, in the run's folder until it is done."""
    about = [job.run.fingerprint("gram"), *(sorted(part.names) for part in parts)]
    return TileSums(place, durable.digest(durable.canonical_json(about).encode()))


def _cut(block: np.ndarray, panel: Panel, tile: Tile) -> np.ndarray:
    """A tile out of its panel."""
    row, column = panel.rows.start, panel.columns.start
    return block[
        tile.row_start - row : tile.row_stop - row,
        tile.column_start - column : tile.column_stop - column,
    ]


def _panels(kernel: Entk, config: Config) -> list[Panel]:
    """The blocks of whole tiles that the kernel is computed in."""
    return list(kernel.panels(*_sides(config)))


def _pairs(panels: Iterable[Panel]) -> int:
    """Entries of the kernel in some panels, those of a symmetric one counted once."""
    sizes = [(len(rows), len(columns), rows == columns) for rows, columns, _ in panels]
    return sum(n * (n + 1) // 2 if symmetric else n * m for n, m, symmetric in sizes)


def _layout(config: Config) -> GramLayout:
    return GramLayout(config.train, config.test, config.gram_dtype, config.tile)
