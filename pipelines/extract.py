"""Stage `extract`: images, backbone -> features.h5."""

import sys
from collections.abc import Sequence

from pipelines.stage import Job, Result, note, run_stage


def work(job: Job) -> Result:
    """Draw the subsets, load the backbone, and store the features of every batch that is not there yet."""
    import torch

    from rmtgen import durable
    from rmtgen.backbones import load_backbone
    from rmtgen.datasets import dataset_files, load_split
    from rmtgen.feature_store import FeatureLayout, FeatureStore
    from rmtgen.features import default_device, feature_batches
    from rmtgen.manifest import FileRecord
    from rmtgen.precision import set_fp32_precision
    from rmtgen.weights import local_weights

    config = job.config
    set_fp32_precision(config.fp32_precision)
    split = load_split(
        config.dataset,
        train=config.train,
        test=config.test,
        root=config.data_root,
        seed=config.seed,
        stratify=config.stratify,
        download=config.download,
        on_corrupt=config.on_corrupt,
    )
    for skipped in split.skipped:
        note(f"skipped a damaged image: {skipped}")
    backbone = load_backbone(
        config.model,
        init=config.init,
        weights=config.weights,
        init_seed=config.init_seed,
        img_size=config.img_size,
        checkpoints=config.checkpoints,
    )
    weights = local_weights(config.model, config.weights, config.checkpoints) if config.init == "pretrained" else None
    sources = [*dataset_files(config.dataset, config.data_root), *([weights] if weights else [])]
    inputs = {str(path): FileRecord.of(path) for path in sources}
    drawn = {name: getattr(split, name).indices.tolist() for name in ("train", "test")}
    layout = FeatureLayout(
        split.train.labels, split.test.labels, split.train.classes, backbone.feature_dim, config.batch_size
    )
    identity = {"backbone": backbone.digest(), "drawn": durable.digest(durable.canonical_json(drawn).encode())}
    basis = job.run.basis("extract", {**identity, **{name: record.blake2b for name, record in inputs.items()}})
    store = FeatureStore.create(job.folder, layout, basis)
    device = default_device(config.device)
    with torch.inference_mode():
        for name in ("train", "test"):
            pending, total = store.pending(name), len(layout.batches(name))
            batches = feature_batches(
                backbone,
                getattr(split, name),
                batches=pending,
                batch_size=config.batch_size,
                device=device,
                workers=config.workers,
            )
            for batch, features in job.progress(batches, total, f"{name} batch", done=total - len(pending)):
                store.write(name, batch, features.numpy())
    store.shards.seal()
    details = {
        "backbone": backbone.source,
        "backbone_blake2b": identity["backbone"],
        "feature_dim": backbone.feature_dim,
        "device": str(device),
        "classes": list(split.train.classes),
        "train_indices": drawn["train"],
        "test_indices": drawn["test"],
        "skipped": list(split.skipped),
        "duplicates": [str(one) for one in split.duplicates],
    }
    images = len(split.train.labels) + len(split.test.labels)
    return Result(store.files(), f"{images} images × {backbone.feature_dim} features", details, inputs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("extract", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
