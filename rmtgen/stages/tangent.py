"""The eNTK of a run: blocks of its Gram matrix, in one piece or in chunks; its plan."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from rmtgen.datasets import Split
from rmtgen.errors import NumericalError, StaleInputError
from rmtgen.kernels.entk import Entk, Plan
from rmtgen.kernels.entk.chunks import chunks
from rmtgen.kernels.entk.pace import Pace
from rmtgen.kernels.entk.passes import Images
from rmtgen.kernels.entk.plan import plan_chunks, schedule
from rmtgen.kernels.entk.precision import IEEE
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.kernels.entk.work import count
from rmtgen.rates import Rates
from rmtgen.runs.config import Config
from rmtgen.stages.calibrating import calibrated
from rmtgen.stages.division import Unit
from rmtgen.stages.engine import Job
from rmtgen.stages.loading import joint_images, open_backbone, open_images, placeholder
from rmtgen.stages.panels import pairs_in, panel_unit
from rmtgen.stages.products import NOTE, agreed
from rmtgen.stages.simulation import shared
from rmtgen.store import durable
from rmtgen.store.batched_rows import BatchedRows
from rmtgen.store.gram_store import GramLayout, Tile
from rmtgen.store.gram_view import TILES
from rmtgen.store.shards import ShardSet
from rmtgen.store.tile_sums import TileSums, discard

_CHECKED = 256
"""Number of training images on which heads are compared."""
SUMS = "sums"
"""Folder of the sums of a kernel in chunks, below that of the run, until the kernel is done."""
WORTH = {"cpu": 2e12, "cuda": 1e15}
"""FLOPs from which on the seconds of a kernel are predicted, which takes about a tenth of them."""


class Tangent:
    """The eNTK of the same images as the features, averaged over its heads."""

    def __init__(self, job: Job, features: BatchedRows):
        self.config = config = job.config
        split = open_images(config)
        _check_labels(job, features, split)
        backbone = calibrated(config, open_backbone(config, head="random"), split.train)
        images = joint_images(config, backbone, split)
        named = config.entk_precision
        make = partial(_entk, config, backbone.model, images, spill=_spill(job))
        self.kernel = make(named)
        own = self.kernel.layout.products
        self.products = agreed(job.folder, own, named=named is not None)
        if self.products == IEEE.name != own:
            self.kernel = make(IEEE.name)
        self.chunks = _chunks(self.kernel, config)
        self._job, self._place = job, job.folder / SUMS
        self.shared = _shared(job, self.chunks) if len(self.chunks) > 1 else None
        alone = len(self.chunks) > 1 and self.shared is None
        if alone:
            self.require_products()  # before sums of other products are removed
        self._sums = _sums(job, self._place, self.chunks) if alone else None
        self._groups = self.chunks if self.shared else [self.kernel]
        self._panels = [_panels(group, config) for group in self._groups]
        self._panel_of = [self._places(panels) for panels in self._panels]
        self._opened: tuple[int, Entk] | None = None
        self._held: tuple[int, int, np.ndarray] | None = None
        self.checked = min(_CHECKED, config.train)

    @property
    def features(self) -> int:
        """Number of features that the kernel is made of: the parameters, once for every head."""
        parameters = self.kernel.passes.capture.parameters.values()
        return sum(parameter.numel() for parameter in parameters) * len(self.kernel.parts)

    def _places(self, panels: Sequence[Panel]) -> dict[tuple[int, int], int]:
        """The number of the panel of each tile, by its first row and column."""
        return {
            (row, column): number
            for number, panel in enumerate(panels)
            for row, column in product(*(side[:: self.config.tile] for side in panel[:2]))
        }

    @property
    def notes(self) -> list[Path]:
        """The files beside the tiles that belong to them."""
        return [self._job.folder / NOTE]

    def require_products(self) -> None:
        """Refuse to make a tile whose products are not those of the others.

        Raises:
            StaleInputError: The others' are of tensor cores, which this device has not.
        """
        own = self.kernel.layout.products
        if own != self.products:
            place, device = self._job.folder / TILES, self.kernel.passes.device
            raise StaleInputError(
                f"all tiles of a Gram matrix must have the same products: those in {place} are"
                f" {self.products}, and {device} has {own}. Make the rest on a device like theirs;"
                f" or delete that folder; or give all processes gram_precision={own}, which makes"
                " another run."
            )

    def units(self, tiles: Sequence[Tile]) -> list[Unit]:
        """The panels, each with its tiles; those of each chunk where processes share chunks."""
        names: dict[tuple[int, int], list[str]] = defaultdict(list)
        for chunk, places in enumerate(self._panel_of):
            for tile in tiles:
                number = places[tile.row_start, tile.column_start]
                names[chunk, number].append(part_name(tile, chunk) if self.shared else tile.name)
        return [
            panel_unit(group, panel, (chunk, number), names[chunk, number])
            for chunk, (group, panels) in enumerate(zip(self._groups, self._panels, strict=True))
            for number, panel in enumerate(panels)
        ]

    def _number(self, tile: Tile) -> int:
        return self._panel_of[0][tile.row_start, tile.column_start]

    def prepare(self, tiles: Sequence[Tile]) -> None:
        """Sum the chunks of the kernel, each of them for the tiles that lack it."""
        if tiles:
            self.require_products()
        sums = self._sums
        while sums and (behind := [tile for tile in tiles if sums.parts(tile) < len(self.chunks)]):
            parts = min(map(sums.parts, behind))
            self._add(sums, parts, [tile for tile in behind if sums.parts(tile) == parts])

    def _add(self, sums: TileSums, parts: int, tiles: Sequence[Tile]) -> None:
        """Add a chunk to the sums of some tiles, panel by panel."""
        kernel = self.chunks[parts].opened()
        panels = _panels(self.chunks[parts], self.config)
        places, wanted = self._places(panels), defaultdict(list)
        for tile in tiles:
            wanted[places[tile.row_start, tile.column_start]].append(tile)
        unit = f"panel of chunk {parts + 1}/{len(self.chunks)}"
        for number in self._job.progress(sorted(wanted), len(wanted), unit):
            mean = _mean(kernel, panels[number])
            for tile in wanted[number]:
                sums.add(tile, _cut(mean, panels[number], tile))
        kernel.finish()

    def block(self, tile: Tile) -> np.ndarray:
        """One tile, out of its panel, which is computed once for all tiles in it."""
        if self._sums:
            return self.finished(self._sums.read(tile), tile)
        return self._cut_out(0, tile, lambda panel: _whole(self.kernel, panel))

    def part(self, chunk: int, tile: Tile) -> np.ndarray:
        """One chunk of one tile, float64; the network of a chunk stays until another is asked."""
        if self._opened is None or self._opened[0] != chunk:
            self.require_products()
            self._shut()
            self._opened = chunk, self.chunks[chunk].opened()
        kernel = self._opened[1]
        return self._cut_out(chunk, tile, lambda panel: _mean(kernel, panel))

    def _cut_out(
        self, chunk: int, tile: Tile, compute: Callable[[Panel], np.ndarray]
    ) -> np.ndarray:
        """A tile out of its panel, which is kept until another is computed."""
        number = self._panel_of[chunk][tile.row_start, tile.column_start]
        panel = self._panels[chunk][number]
        if self._held is None or self._held[:2] != (chunk, number):
            self._held = None  # not two at a time
            self._held = chunk, number, compute(panel)
        return _cut(self._held[2], panel, tile)

    def _shut(self) -> None:
        """Free the network and the gradients of a chunk."""
        if self._opened:
            self._opened[1].finish()
        self._opened = None

    def finished(self, total: np.ndarray, tile: Tile) -> np.ndarray:
        """A sum over all chunks in the type of the matrix, which it must not overflow."""
        with np.errstate(over="ignore"):
            found = total.astype(self.config.gram_dtype)
        if not np.isfinite(found).all():
            row, column = np.argwhere(~np.isfinite(found))[0]
            at = tile.row_start + int(row), tile.column_start + int(column)
            raise NumericalError(self.kernel.passes.explain(*at))
        return found

    def close(self) -> None:
        """Remove what was spilled, and the sums of chunks, which only one process has."""
        self.kernel.finish()
        self._shut()
        if self._job.writer is None:
            self.discard()

    def discard(self) -> None:
        """Remove the sums of a process that was alone, of which nobody else must be left."""
        discard(self._place)

    def predicted_seconds(self, tiles: Sequence[Tile]) -> float | None:
        """Seconds that some tiles will take; None where that is not worth measuring."""
        device = self.kernel.passes.device
        panels = [self._panels[0][number] for number in sorted(set(map(self._number, tiles)))]
        repeats = schedule(self.kernel, panels, pairs_in(panels))
        weights = count(self.kernel.passes, self.kernel.layout, repeats)
        if sum(weight.flops for weight in weights) < WORTH[device.type]:
            return None
        if self._sums:
            return self._chunked_seconds(self._sums, tiles, Rates(device))
        seconds = Pace.measured(self.kernel, repeats, Rates(device)).seconds(self.kernel, repeats)
        return seconds.passes + seconds.products

    def _chunked_seconds(self, sums: TileSums, tiles: Sequence[Tile], rates: Rates) -> float:
        """Seconds of the chunks that some tiles lack, by their share of all."""
        lacking = sum(len(self.chunks) - sums.parts(tile) for tile in tiles)
        plan = _plan(self.kernel, self.chunks, self.config, rates)
        share = lacking / (len(self.chunks) * gram_layout(self.config).tile_count)
        return plan.seconds.total * share

    def remarks(self) -> dict[str, float]:
        """The spread of the heads' kernels on the first images, ‖std‖_F / ‖mean‖_F.

        That of K / tr K is the part that a risk at relative ridges can depend on.
        """
        if len(self.kernel.parts) == 1:
            return {}
        first = torch.stack([*self.kernel.blocks(*[range(self.checked)] * 2).values()])
        traces = first.diagonal(dim1=1, dim2=2).sum(dim=1)
        scaled = first / traces[:, None, None]
        return {"spread_of_heads": _spread(first), "spread_without_scale": _spread(scaled)}


def _spread(kernels: torch.Tensor) -> float:
    """‖std‖_F / ‖mean‖_F over the first axis."""
    return float(kernels.std(dim=0).norm() / kernels.mean(dim=0).norm())


def _entk(
    config: Config,
    model: torch.nn.Module,
    images: Images,
    precision: str | None,
    spill: str | None = None,
) -> Entk:
    return Entk(
        model,
        images,
        dtype=getattr(torch, config.gram_dtype),
        by="output" if config.heads else None,
        device=config.device,
        memory=config.memory,
        precision=precision,
        tile=config.tile,
        spill=spill,
    )


def _spill(job: Job) -> str | None:
    """The folder to spill to; processes that share the work have one each."""
    place = job.config.spill
    return str(Path(place) / job.writer) if place and job.writer else place


def _check_labels(job: Job, features: BatchedRows, split: Split) -> None:
    for name, images in (("train", split.train), ("test", split.test)):
        if not np.array_equal(images.labels, features.layout.labels(name)):
            raise StaleInputError(
                f"the {name} images must be those of {job.folder}/features.h5, got other labels."
                f" The data set has changed: put it back, or move {job.folder} away and run again."
            )


def tangent_plan(config: Config, rates: Rates, workers: Sequence[int] = ()) -> Plan:
    """What the stage will do for an eNTK run, weight by weight, and on so many workers.

    Raises:
        UsageError: As `rmtgen.entk_plan`.
    """
    backbone, images = placeholder(config)
    kernel = _entk(config, backbone.model, images, config.entk_precision)
    parts = _chunks(kernel, config)
    plan = _plan(kernel, parts, config, rates)
    groups = [(part, _panels(part, config)) for part in parts]
    return replace(plan, shared=shared(plan, kernel, groups, workers))


def _plan(kernel: Entk, parts: Sequence[Entk], config: Config, rates: Rates) -> Plan:
    """The plan of a kernel in chunks, or in one piece."""
    groups = [(part, _panels(part, config)) for part in parts]
    what = f"({config.train:,} + {config.test:,}) × {config.train:,}"
    return plan_chunks(kernel, groups, what, pairs_in(groups[0][1]), rates)


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
    return TileSums(place, _identity(job, parts))


def _shared(job: Job, parts: Sequence[Entk]) -> ShardSet | None:
    """The tiles of each chunk, which several processes make; None for one that is alone."""
    identity = _identity(job, parts)
    place = job.parts().folder / identity
    if job.writer is None and not place.is_dir():
        return None
    return ShardSet(place, identity, writer=job.writer)


def _identity(job: Job, parts: Sequence[Entk]) -> str:
    """Digest of what the parts of a kernel are computed from."""
    about = [job.run.fingerprint("gram"), *(sorted(part.names) for part in parts)]
    if (products := parts[0].layout.products) != IEEE.name:
        about.append(products)
    return durable.digest(durable.canonical_json(about).encode())


def part_name(tile: Tile, chunk: int) -> str:
    """Name of the shard of one chunk of a tile."""
    return f"{tile.name}-{chunk}"


def _whole(kernel: Entk, panel: Panel) -> np.ndarray:
    """A panel of the kernel, its mean over the heads in the type of the computation."""
    parts = kernel.blocks(*panel)
    return (sum(parts.values()) / len(parts)).numpy()


def _mean(kernel: Entk, panel: Panel) -> np.ndarray:
    """A panel of a chunk, its mean over the heads in float64."""
    shape = len(panel.rows), len(panel.columns)
    onto = {name: torch.zeros(shape, dtype=torch.float64) for name in kernel.parts}
    first, *others = kernel.blocks(*panel, onto=onto).values()
    for other in others:
        first += other
    return first.div_(len(onto)).numpy()


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


def gram_layout(config: Config) -> GramLayout:
    """The layout of the stored Gram matrix of a run."""
    return GramLayout(config.train, config.test, config.gram_dtype, config.tile)
