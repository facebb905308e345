"""Stage `gram`: features, or images under a backbone, -> gram.h5."""

import numpy as np
import torch

from rmtgen.datasets import Split
from rmtgen.device import default_device
from rmtgen.errors import StaleInputError
from rmtgen.kernels.entk import Entk, Plan
from rmtgen.kernels.entk.plan import plan_blocks
from rmtgen.kernels.linear import linear_block
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import recorded
from rmtgen.stages.cost import PROBE_IMAGES, StageCost, Workload
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.loading import joint_images, open_backbone, open_images, placeholder
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramLayout, GramStore, Tile

_CHECKED = 256
"""Number of training images on which heads are compared."""


def work(job: Job) -> Result:
    """Compute and store every tile of the Gram matrix that is not there yet."""
    config, device = job.config, default_device(job.config.device)
    features = FeatureStore.open(job.folder, recorded(job.folder, "extract"))
    layout = _layout(config)
    store = GramStore.create(job.folder, layout, job.run.fingerprint("gram"))
    pending, total = store.pending(), len(layout.tiles())
    kernel = _Tangent(job, features) if config.tangent else _Linear(job, features)
    for tile in job.progress(pending, total, "tile", done=total - len(pending)):
        store.write(tile, kernel.block(tile))
    store.shards.seal()
    shape = " × ".join(str(size) for size in layout.shape)
    details = {
        "kernel": config.kernel,
        "device": str(device),
        "tiles": total,
        "computed": len(pending),
    }
    remarks = kernel.remarks() if pending else {}
    noted = "".join(f", {name.replace('_', ' ')} {value:.1%}" for name, value in remarks.items())
    return Result(store.files(), f"{shape} Gram matrix in {total} tiles{noted}", details | remarks)


class _Linear:
    """F Fᵀ from stored features."""

    def __init__(self, job: Job, features: FeatureStore):
        self.device = default_device(job.config.device)
        rows = np.concatenate([features.read("train"), features.read("test")])
        self.rows = torch.from_numpy(rows)

    def block(self, tile: Tile) -> np.ndarray:
        """One tile."""
        left = self.rows[tile.row_start : tile.row_stop].to(self.device)
        if tile.symmetric:
            return linear_block(left, left).cpu().numpy()
        right = self.rows[tile.column_start : tile.column_stop].to(self.device)
        return linear_block(left, right).cpu().numpy()

    def remarks(self) -> dict[str, float]:
        """Empty: the kernel is exact."""
        return {}


class _Tangent:
    """The eNTK of the same images as the features, averaged over its heads."""

    def __init__(self, job: Job, features: FeatureStore):
        config, split = job.config, open_images(job.config)
        _check_labels(job, features, split)
        backbone = open_backbone(config, head="random")
        images = joint_images(backbone, split)
        self.kernel = Entk(
            backbone.model,
            images,
            dtype=getattr(torch, config.gram_dtype),
            by="output" if config.heads else None,
            device=config.device,
            memory=config.memory,
            precision=config.fp32_precision,
        )
        self.checked = min(_CHECKED, config.train)

    def block(self, tile: Tile) -> np.ndarray:
        """One tile."""
        spans = range(tile.row_start, tile.row_stop), range(tile.column_start, tile.column_stop)
        parts = self.kernel.blocks(*spans)
        return (sum(parts.values()) / len(parts)).numpy()

    def remarks(self) -> dict[str, float]:
        """The spread of the heads' kernels on the first images, ‖std‖_F / ‖mean‖_F."""
        if len(self.kernel.parts) == 1:
            return {}
        first = torch.stack([*self.kernel.blocks(*[range(self.checked)] * 2).values()])
        return {"spread_of_heads": float(first.std(dim=0).norm() / first.mean(dim=0).norm())}


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
    """Passes at the speed of a small batch, products at that of a matrix product."""
    kernel = _placeholder_kernel(workload.config)
    plan, count = _plan_of(kernel, workload.config), min(kernel.batch, PROBE_IMAGES)
    passing = workload.rates.seconds(lambda: kernel.passes(range(count))) / count
    seconds = plan.seconds(passing, workload.rates.product(kernel.passes.dtype))
    disk = _layout(workload.config).bytes_on_disk
    return StageCost(plan.flops, plan.memory_bytes, disk, seconds)


def tangent_plan(config: Config) -> Plan:
    """What the stage will do for an eNTK run, weight by weight.

    Raises:
        UsageError: As `rmtgen.entk_plan`.
    """
    return _plan_of(_placeholder_kernel(config), config)


def _placeholder_kernel(config: Config) -> Entk:
    backbone, images = placeholder(config)
    by, dtype = "output" if config.heads else None, getattr(torch, config.gram_dtype)
    settings = {"device": config.device, "memory": config.memory}
    return Entk(backbone.model, images, dtype=dtype, by=by, **settings)


def _plan_of(kernel: Entk, config: Config) -> Plan:
    n, m = config.train, config.test
    blocks = [
        (range(tile.row_start, tile.row_stop), range(tile.column_start, tile.column_stop))
        for tile in _layout(config).tiles()
    ]
    return plan_blocks(kernel, blocks, f"({n:,} + {m:,}) × {n:,}", n * (n + 1) // 2 + m * n)


def _layout(config: Config) -> GramLayout:
    return GramLayout(config.train, config.test, config.gram_dtype, config.tile)
