"""Stage `extract`: images, backbone -> features.h5; for a sketched entk, its rows."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rmtgen.stages.engine import Job, Result, run_stage
from rmtgen.stages.loading import open_backbone, open_images
from rmtgen.store import durable

_CHECKED = 128
"""Training images on which a sketch is held against the exact kernel."""

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rmtgen.datasets import Split
    from rmtgen.models.backbones import Backbone
    from rmtgen.runs.manifest import FileRecord
    from rmtgen.store.feature_store import FeatureStore

    Make = Callable[[str, Sequence[int]], Iterable[tuple[int, Tensor]]]
    """From a split's name and numbers of batches to the rows of each."""


def work(job: Job) -> Result:
    """Load the backbone, draw the subsets, and store the features of every batch that is not there
    yet.
    """
    from rmtgen.device import default_device
    from rmtgen.runs.inputs import sources
    from rmtgen.runs.manifest import FileRecord
    from rmtgen.store.feature_store import FeatureLayout, FeatureStore

    config = job.config
    device = default_device(
        config.device
    )  # what is checked in no time comes before what takes minutes
    backbone, split = (
        open_backbone(config, head="random" if config.projection else None),
        open_images(config),
    )
    found = sources(config)
    inputs = {role: FileRecord.of(path) for role, path in found.items()}
    labels = split.train.labels, split.test.labels
    dim = config.projection or backbone.feature_dim
    layout = FeatureLayout(*labels, split.train.classes, dim, config.batch_size)
    details = {
        "backbone": backbone.source,
        "backbone_blake2b": backbone.digest(),
        "feature_dim": backbone.feature_dim,
        "device": str(device),
        "sources": {role: str(path) for role, path in found.items()},
        "classes": list(split.train.classes),
        "train_indices": split.train.indices.tolist(),
        "test_indices": split.test.indices.tolist(),
        "skipped": list(split.skipped),
        "duplicates": list(split.duplicates),
    }
    store = FeatureStore.create(job.folder, layout, _basis(job, inputs, details))
    _fill(job, store, (_sketches if config.projection else _features)(job, backbone, split, store))
    store.shards.seal()
    headline = (
        f"{sum(map(len, labels))} images × {dim}"
        f" {'sketched gradients' if config.projection else 'features'}"
    )
    if config.projection:
        error, bound = _sketch_error(job, backbone, split, store)
        details |= {"sketch_error": error, "sketch_error_bound": bound}
        headline += f"; kernel off by {error:.1%} (bound {bound:.1%})"
    return Result(store.files(), headline, details, inputs)


def _basis(job: Job, inputs: "Mapping[str, FileRecord]", details: Mapping[str, object]) -> str:
    """What the features are made from; shards of another basis are never mixed in."""
    drawn = [details["train_indices"], details["test_indices"]]
    made_from = {
        "backbone": details["backbone_blake2b"],
        "drawn": durable.digest(durable.canonical_json(drawn).encode()),
    }
    return job.run.basis(
        "extract", {**made_from, **{role: record.blake2b for role, record in inputs.items()}}
    )


def _fill(job: Job, store: "FeatureStore", make: "Make") -> None:
    """Make and store every batch that is not there yet, both splits under one bar."""
    splits = ("train", "test")
    pending, total = (
        {name: store.pending(name) for name in splits},
        sum(len(store.layout.batches(n)) for n in splits),
    )
    made = ((name, *batch) for name in splits for batch in make(name, pending[name]))
    for name, batch, rows in job.progress(
        made, total, "batch", done=total - sum(map(len, pending.values()))
    ):
        store.write(name, batch, rows.numpy())


def _features(job: Job, backbone: "Backbone", split: "Split", _store: "FeatureStore") -> "Make":
    from rmtgen.models.features import feature_batches

    config = job.config
    settings = {
        "batch_size": config.batch_size,
        "device": config.device,
        "workers": config.workers,
        "fp32_precision": config.fp32_precision,
    }
    return lambda name, batches: feature_batches(
        backbone, getattr(split, name), batches=batches, **settings
    )


def _sketches(job: Job, backbone: "Backbone", split: "Split", store: "FeatureStore") -> "Make":
    from torch.utils.data import ConcatDataset

    from rmtgen.kernels.entk import Sketch
    from rmtgen.models.features import TransformedImages

    config = job.config
    images = ConcatDataset(
        [TransformedImages(part, backbone) for part in (split.train, split.test)]
    )
    settings = {
        "device": config.device,
        "memory": config.memory,
        "precision": config.fp32_precision,
    }
    sketch = Sketch(backbone.model, images, config.projection, seed=config.seed, **settings)

    def make(name: str, batches: Sequence[int]) -> "Iterable[tuple[int, Tensor]]":
        start = 0 if name == "train" else len(split.train)
        for batch in batches:
            span = store.layout.span(name, batch)
            yield batch, sketch.rows(range(start + span.start, start + span.stop))

    return make


def _sketch_error(
    job: Job, backbone: "Backbone", split: "Split", store: "FeatureStore"
) -> tuple[float, float]:
    """How far the sketch is from the exact kernel on the first training images."""
    import torch

    from rmtgen.kernels.entk import Entk, sketch_error
    from rmtgen.models.features import TransformedImages

    config, count = job.config, min(_CHECKED, len(split.train))
    images = TransformedImages(split.train.subset(slice(count)), backbone)
    settings = {
        "device": config.device,
        "memory": config.memory,
        "precision": config.fp32_precision,
    }
    exact = Entk(backbone.model, images, **settings).block(range(count), range(count))
    return sketch_error(exact, torch.from_numpy(store.read("train")[:count]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("extract", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
