"""Stage `extract`: images, backbone -> features.h5; for a sketched entk, its rows.

The rows come from a `Network`, or from a file of features of one's own (`rmtgen.stages.own_rows`).
Those of a concatenation stay where its members have them (`rmtgen.stages.concatenating`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.datasets import Split
from rmtgen.datasets.decoding import DECODING
from rmtgen.device import default_device
from rmtgen.kernels.entk import Entk, Plan, Sketch, sketch_error
from rmtgen.kernels.entk.plan import plan_panels
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.models.backbones import Backbone
from rmtgen.models.facts import backbone_facts, counted
from rmtgen.models.features import (
    TransformedImages,
    decoding_workers,
    feature_batches,
    place,
)
from rmtgen.rates import LONG
from rmtgen.runs.inputs import local_inputs
from rmtgen.runs.manifest import FileRecord
from rmtgen.stages.calibrating import calibrated
from rmtgen.stages.concatenating import concatenate, looking_cost
from rmtgen.stages.cost import PROBE_IMAGES, StageCost, Workload
from rmtgen.stages.decoding import Decoding
from rmtgen.stages.division import Division, Unit, complete
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.loading import (
    framed,
    joint_images,
    open_backbone,
    open_images,
    placeholder,
    room_of,
    up_to_layer,
)
from rmtgen.stages.origin import Make, Origin
from rmtgen.stages.own_rows import OwnRows, copying_cost
from rmtgen.store import durable
from rmtgen.store.batched_rows import FeatureLayout
from rmtgen.store.feature_store import FeatureStore, batch_name

_CHECKED = 128
"""Number of training images on which a sketch is compared with the exact kernel."""


class Extraction(Division):
    """Batches of images to rows. The origin of the rows is opened at once."""

    noun = "batch"

    def __init__(self, job: Job):
        self.job, config = job, job.config
        # its device and its files are looked at at once, before what takes minutes
        self.origin: Origin = Network(job) if config.has_network else OwnRows(config)
        split = self.origin.split
        found = local_inputs(config)
        self.inputs = {role: FileRecord.of(path) for role, path in found.items()}
        self.details = {
            **self.origin.details,
            "sources": {role: str(path) for role, path in found.items()},
            "classes": list(split.train.classes),
            "train_indices": split.train.indices.tolist(),
            "test_indices": split.test.indices.tolist(),
            "skipped": list(split.skipped),
            "duplicates": list(split.duplicates),
            "contradictions": list(split.contradictions),
        }
        labels, classes = (split.train.labels, split.test.labels), split.train.classes
        layout = FeatureLayout(*labels, classes, self.origin.dim, config.batch_size)
        fingerprint = _fingerprint(job, self.origin.made_from, self.inputs, self.details)
        self._rows, self._began = 0, 0.0
        self.store = FeatureStore.create(job.folder, layout, fingerprint, job.writer)
        self.shards = self.store.shards
        self._batch_of = {
            batch_name(name, batch): (name, batch)
            for name in ("train", "test")
            for batch in layout.batches(name)
        }
        self.units = [
            Unit(unit, (unit,), layout.shape(*batch)[0]) for unit, batch in self._batch_of.items()
        ]

    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Store the rows of some batches, one split after another."""
        rows_of = self.origin.make(self.store)
        batches = (self._batch_of[unit.name] for unit in units)
        self._began = time.perf_counter()
        for name, group in groupby(batches, key=lambda batch: batch[0]):
            for batch, rows in rows_of(name, [number for _, number in group]):
                self.store.write(name, batch, rows.numpy())
                self._rows += len(rows)
                yield batch_name(name, batch)

    def begun(self) -> Result:
        """What is known so far of the images and the origin, and how fast the rows came."""
        there = sum(int(unit.cost) for unit in self.units if not self.lacking(unit))
        images = sum(int(unit.cost) for unit in self.units)
        speed, saved = self._speed()
        details = {**self.details, **self.origin.facts(), "made": self._rows, "speed": speed}
        details["decoding_saved"] = saved
        if self.job.config.has_network:
            details["images_per_second"] = speed
        headline = f"{there} of {images} images × {self.store.layout.dim} {self.origin.columns}"
        return Result([], headline, details, self.inputs)

    def gather(self) -> Result:
        """The store, sealed, and what its origin finds in it."""
        store, split = self.store, self.origin.split
        speed, saved = self._speed()
        store.shards.seal()
        headline = f"{len(split.train) + len(split.test)} images × {store.layout.dim}"
        headline += f" {self.origin.columns}"
        findings, remark = self.origin.findings(store)
        details = self.details | findings
        if self.job.config.has_network:
            details |= {"images_per_second": speed, "decoding_saved": saved}
        return Result(store.files(), headline + remark, details, self.inputs)

    def _speed(self) -> tuple[float | None, float]:
        """Rows a second had every image been decoded, and seconds that kept ones have saved."""
        if not self._rows:
            return None, 0.0
        seconds = time.perf_counter() - self._began
        alone = self.origin.alone(seconds)
        return self._rows / alone, alone - seconds


class Network:
    """A backbone, up to a layer, or the sketched gradients of one under a head."""

    def __init__(self, job: Job):
        self.job, config = job, job.config
        device = default_device(config.device)  # checked at once
        self._decoding = Decoding(decoding_workers(config.workers, device))
        opened = open_backbone(config, head="random" if config.projection else None)
        self.split = open_images(config)
        self.backbone = up_to_layer(config, calibrated(config, opened, self.split.train))
        self.dim = config.projection or self.backbone.feature_dim
        self.columns = "sketched gradients" if config.projection else "features"
        # statistics of images are made from these, and may differ in a last bit between machines
        self.made_from = {"backbone": opened.digest(), "decoding": DECODING}
        self.details = {
            "backbone": self.backbone.source,
            "backbone_blake2b": self.backbone.digest(),
            "feature_dim": self.backbone.feature_dim,
            "device": str(device),
            "dataset": {**self.split.train.origin, "decoding": DECODING},
        }

    def make(self, store: FeatureStore) -> Make:
        """Passes of images, in batches."""
        if self.job.config.projection:
            return _sketches(self.job, self.backbone, self.split, store)
        return _features(self.job, self.backbone, self.split, self._decoding)

    def alone(self, seconds: float) -> float:
        """With the decoding of all images; of a sketch, which takes longer by far, the same."""
        return self._decoding.alone(seconds)

    def facts(self) -> dict[str, Any]:
        """What the backbone costs."""
        return {**backbone_facts(self.backbone)}

    def findings(self, store: FeatureStore) -> tuple[dict[str, Any], str]:
        """Facts of the backbone; of a sketch also its error."""
        facts = self.facts()
        if not self.job.config.projection:
            return facts, ""
        error, bound = _sketch_error(self.job, self.backbone, self.split, store)
        facts |= {"sketch_error": error, "sketch_error_bound": bound}
        return facts, f"; kernel off by {error:.1%} (root mean square at most {bound:.1%})"


def _fingerprint(
    job: Job,
    made_from: Mapping[str, str],
    inputs: Mapping[str, FileRecord],
    details: Mapping[str, object],
) -> str:
    """What the rows are made from; shards of anything else are never mixed in."""
    drawn = [details["train_indices"], details["test_indices"]]
    digest = durable.digest(durable.canonical_json(drawn).encode())
    files = {role: record.blake2b for role, record in inputs.items()}
    return job.run.fingerprint("extract", {**made_from, "drawn": digest} | files)


def _features(job: Job, backbone: Backbone, split: Split, decoding: Decoding) -> Make:
    config, room = job.config, room_of(job.config)
    settings = {
        "batch_size": config.batch_size,
        "device": config.device,
        "workers": config.workers,
        "fp32_precision": config.fp32_precision,
    }

    def make(name: str, batches: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        reader, frames = framed(config, backbone, getattr(split, name), room)
        known = frames.seconds.copy()
        for batch, rows in feature_batches(reader, frames, batches=batches, **settings):
            start = batch * config.batch_size
            decoding.note(len(rows), known[start : start + len(rows)])
            yield batch, rows

    return make


def _sketches(job: Job, backbone: Backbone, split: Split, store: FeatureStore) -> Make:
    config = job.config
    images = joint_images(config, backbone, split)
    options = {"device": config.device, "memory": config.memory, "seed": config.seed}
    options |= {"precision": config.fp32_precision}
    sketch = Sketch(backbone.model, images, config.projection, **options)

    def make(name: str, batches: Sequence[int]) -> Iterable[tuple[int, Tensor]]:
        start = 0 if name == "train" else len(split.train)
        for batch in batches:
            span = store.layout.span(name, batch)
            yield batch, sketch.rows(range(start + span.start, start + span.stop))

    return make


def _sketch_error(
    job: Job, backbone: Backbone, split: Split, store: FeatureStore
) -> tuple[float, float]:
    """How far the sketch is from the exact kernel on the first training images."""
    config, count = job.config, min(_CHECKED, len(split.train))
    images = TransformedImages(split.train.subset(slice(count)), backbone)
    options = {"device": config.device, "memory": config.memory}
    kernel = Entk(backbone.model, images, precision=config.entk_precision, **options)
    exact = kernel.block(range(count), range(count))
    return sketch_error(exact, torch.from_numpy(store.read("train")[:count]))


divide = Extraction


def work(job: Job) -> Result:
    """All of it, in this process."""
    return concatenate(job) if job.run.members else complete(job, Extraction(job))


def cost(workload: Workload) -> StageCost:
    """Forward passes of all images; of a sketch, backward passes and projections too.

    Of features of one's own that of copying them, and of a concatenation that of looking at them.
    """
    if workload.members:
        return looking_cost(workload)
    if not workload.config.has_network:
        return copying_cost(workload)
    own = _sketch_cost(workload) if workload.config.projection else _forward_cost(workload)
    return own.after(workload.calibration)


def _forward_cost(workload: Workload) -> StageCost:
    """Passes at the speed of a batch, and the transform of a picture per image."""
    config, backbone = workload.config, workload.backbone
    model = place(backbone.model, workload.device)
    images = torch.zeros(PROBE_IMAGES, *backbone.input_size, device=workload.device)
    with torch.inference_mode():
        with counted(model) as counter:
            model(images[:1])
        passing = _seconds_of_image(workload, model, images)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    pixels = 4 * config.batch_size * backbone.input_size[1] * backbone.input_size[2]
    # three live maps of about 64 channels at full resolution: generous for every timm stem
    activations = pixels * 64 * 3
    return StageCost(
        flops=counter.get_total_flops() * workload.images,
        ram=weights + activations,
        disk=4 * workload.images * workload.dim,
        seconds=(passing + workload.transform_seconds) * workload.images,
        longest=(passing + workload.transform_seconds) * config.batch_size,
    )


def _seconds_of_image(workload: Workload, model: torch.nn.Module, images: Tensor) -> float:
    """Seconds of an image in a batch as large as that of the run, unless a smaller one takes long.

    Small images fill the device only in large batches.
    """
    count = min(workload.config.batch_size, len(images))
    while True:
        batch = images[:1].expand(count, *images.shape[1:])
        batch = batch.contiguous(memory_format=torch.channels_last)
        seconds = workload.rates.seconds(partial(model, batch))
        if count == workload.config.batch_size or seconds >= LONG:
            return seconds / count
        count = min(2 * count, workload.config.batch_size)


def _sketch_cost(workload: Workload) -> StageCost:
    config = workload.config
    backbone, images = placeholder(config)
    settings = {"device": config.device, "memory": config.memory}
    sketch = Sketch(backbone.model, images, workload.dim, **settings)
    count = min(sketch.batch, PROBE_IMAGES)
    with FlopCounterMode(display=False) as counter:
        sketch.rows(range(1))
    passing = workload.rates.seconds(lambda: sketch.rows(range(count))) / count
    check = _check_plan(workload, Entk(backbone.model, images, **settings))
    return StageCost(
        flops=counter.get_total_flops() * workload.images + check.flops,
        ram=max(sketch.bytes, check.memory_bytes),
        disk=4 * workload.images * workload.dim,
        seconds=(passing + workload.transform_seconds) * workload.images + check.seconds.total,
        longest=(passing + workload.transform_seconds) * config.batch_size + check.seconds.total,
    )


def _check_plan(workload: Workload, kernel: Entk) -> Plan:
    """The exact kernel that a sketch is compared with."""
    checked = range(min(_CHECKED, workload.config.train))
    pairs = len(checked) * (len(checked) + 1) // 2
    return plan_panels(
        kernel, [Panel(checked, checked)], "check of the sketch", pairs, workload.rates
    )
