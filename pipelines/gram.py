"""Stage `gram`: features, or images under a backbone, -> gram.h5."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.inputs import open_backbone, open_images
from pipelines.stage import Job, Result, run_stage

if TYPE_CHECKING:
    import numpy as np

    from rmtgen.feature_store import FeatureStore
    from rmtgen.gram import Tile


def work(job: Job) -> Result:
    """Compute and store every tile of the Gram matrix that is not there yet."""
    from rmtgen.feature_store import FeatureStore
    from rmtgen.features import default_device
    from rmtgen.gram import GramLayout, GramStore

    config, device = job.config, default_device(job.config.device)
    features = FeatureStore.open(job.folder)
    layout = GramLayout(config.train, config.test, config.gram_dtype, config.tile)
    store = GramStore.create(job.folder, layout, job.run.basis("gram"))
    pending, total = store.pending(), len(layout.tiles())
    if pending:
        block = {"features": _feature_kernel, "entk": _tangent_kernel}[config.kernel](job, features)
        for tile in job.progress(pending, total, "tile", done=total - len(pending)):
            store.write(tile, block(tile))
    store.shards.seal()
    shape = " × ".join(str(size) for size in layout.shape)
    details = {"kernel": config.kernel, "device": str(device), "tiles": total}
    return Result(store.files(), f"{shape} Gram matrix in {total} tiles", details)


def _feature_kernel(job: Job, features: "FeatureStore") -> "Callable[[Tile], np.ndarray]":
    import numpy as np
    import torch

    from rmtgen.features import default_device
    from rmtgen.linear_kernel import linear_block

    device = default_device(job.config.device)
    rows = torch.from_numpy(np.concatenate([features.read("train"), features.read("test")]))

    def block(tile: "Tile") -> np.ndarray:
        left = rows[tile.row_start : tile.row_stop].to(device)
        right = left if tile.symmetric else rows[tile.column_start : tile.column_stop].to(device)
        return linear_block(left, right).cpu().numpy()

    return block


def _tangent_kernel(job: Job, features: "FeatureStore") -> "Callable[[Tile], np.ndarray]":
    import numpy as np
    import torch

    from rmtgen.entk import Entk, Joined
    from rmtgen.errors import StaleInputError
    from rmtgen.features import TransformedImages

    config, split = job.config, open_images(job.config)
    for name, images in (("train", split.train), ("test", split.test)):
        if not np.array_equal(images.labels, features.layout.labels(name)):
            raise StaleInputError(
                f"the {name} images must be those of {job.folder}/features.h5, got other labels. The data set has changed: put it back, "
                f"or move {job.folder} away and run again."
            )
    backbone = open_backbone(config, head="random")
    pictures = Joined(*(TransformedImages(images, backbone) for images in (split.train, split.test)))
    dtype = getattr(torch, config.gram_dtype)
    settings = {"device": config.device, "memory": config.memory, "dtype": dtype, "precision": config.fp32_precision}
    kernel = Entk(backbone.model, pictures, **settings)

    def block(tile: "Tile") -> np.ndarray:
        return kernel.block(range(tile.row_start, tile.row_stop), range(tile.column_start, tile.column_stop)).numpy()

    return block


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("gram", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
