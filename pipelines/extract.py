"""Stage `extract`: images, backbone -> features.h5."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.inputs import open_backbone, open_images
from pipelines.stage import Job, Result, run_stage
from rmtgen import durable

if TYPE_CHECKING:
    from rmtgen.backbones import Backbone
    from rmtgen.datasets import LabelledImages
    from rmtgen.feature_store import FeatureStore
    from rmtgen.manifest import FileRecord


def work(job: Job) -> Result:
    """Load the backbone, draw the subsets, and store the features of every batch that is not there yet."""
    from rmtgen.feature_store import FeatureLayout, FeatureStore
    from rmtgen.features import default_device
    from rmtgen.manifest import FileRecord
    from rmtgen.sources import sources

    config = job.config
    device = default_device(config.device)  # what is checked in no time comes before what takes minutes
    backbone, split = open_backbone(config), open_images(config)
    found = sources(config)
    inputs = {role: FileRecord.of(path) for role, path in found.items()}
    labels = split.train.labels, split.test.labels
    layout = FeatureLayout(*labels, split.train.classes, backbone.feature_dim, config.batch_size)
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
    for name, images in (("train", split.train), ("test", split.test)):
        _fill(job, store, name, backbone, images)
    store.shards.seal()
    headline = f"{sum(map(len, labels))} images × {backbone.feature_dim} features"
    return Result(store.files(), headline, details, inputs)


def _basis(job: Job, inputs: "Mapping[str, FileRecord]", details: Mapping[str, object]) -> str:
    """What the features are made from; shards of another basis are never mixed in."""
    drawn = [details["train_indices"], details["test_indices"]]
    made_from = {
        "backbone": details["backbone_blake2b"],
        "drawn": durable.digest(durable.canonical_json(drawn).encode()),
    }
    return job.run.basis("extract", {**made_from, **{role: record.blake2b for role, record in inputs.items()}})


def _fill(job: Job, store: "FeatureStore", split: str, backbone: "Backbone", images: "LabelledImages") -> None:
    from rmtgen.features import feature_batches

    config, pending, total = job.config, store.pending(split), len(store.layout.batches(split))
    batches = feature_batches(
        backbone,
        images,
        batches=pending,
        batch_size=config.batch_size,
        device=config.device,
        workers=config.workers,
        fp32_precision=config.fp32_precision,
    )
    for batch, features in job.progress(batches, total, f"{split} batch", done=total - len(pending)):
        store.write(split, batch, features.numpy())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("extract", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
