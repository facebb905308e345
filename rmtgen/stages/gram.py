"""Stage `gram`: features, or images under a backbone, -> gram.h5."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtgen.stages.engine import Job, Result, run_stage
from rmtgen.stages.loading import open_backbone, open_images

if TYPE_CHECKING:
    import numpy as np

    from rmtgen.datasets import Split
    from rmtgen.store.feature_store import FeatureStore
    from rmtgen.store.gram_store import Tile

_CHECKED = 256
"""Training images on which heads are compared."""


def work(job: Job) -> Result:
    """Compute and store every tile of the Gram matrix that is not there yet."""
    from rmtgen.device import default_device
    from rmtgen.store.feature_store import FeatureStore
    from rmtgen.store.gram_store import GramLayout, GramStore

    config, device = job.config, default_device(job.config.device)
    features = FeatureStore.open(job.folder)
    layout = GramLayout(config.train, config.test, config.gram_dtype, config.tile)
    store = GramStore.create(job.folder, layout, job.run.basis("gram"))
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
    said = "".join(f", {name.replace('_', ' ')} {value:.1%}" for name, value in remarks.items())
    return Result(store.files(), f"{shape} Gram matrix in {total} tiles{said}", details | remarks)


class _Linear:
    """F Fᵀ from stored features."""

    def __init__(self, job: Job, features: "FeatureStore"):
        import numpy as np
        import torch

        from rmtgen.device import default_device

        self.device = default_device(job.config.device)
        self.rows = torch.from_numpy(
            np.concatenate([features.read("train"), features.read("test")])
        )

    def block(self, tile: "Tile") -> "np.ndarray":
        """One tile."""
        from rmtgen.kernels.linear import linear_block

        left = self.rows[tile.row_start : tile.row_stop].to(self.device)
        right = (
            left
            if tile.symmetric
            else self.rows[tile.column_start : tile.column_stop].to(self.device)
        )
        return linear_block(left, right).cpu().numpy()

    def remarks(self) -> dict[str, float]:
        """Nothing to say: it is exact."""
        return {}


class _Tangent:
    """The eNTK of the images that the features are of, averaged over heads where there are several."""

    def __init__(self, job: Job, features: "FeatureStore"):
        import torch
        from torch.utils.data import ConcatDataset

        from rmtgen.kernels.entk import Entk
        from rmtgen.models.features import TransformedImages

        config, split = job.config, open_images(job.config)
        _check_labels(job, features, split)
        backbone = open_backbone(config, head="random")
        pictures = ConcatDataset(
            [TransformedImages(images, backbone) for images in (split.train, split.test)]
        )
        settings = {
            "dtype": getattr(torch, config.gram_dtype),
            "by": "output" if config.heads else None,
        }
        place = {
            "device": config.device,
            "memory": config.memory,
            "precision": config.fp32_precision,
        }
        self.kernel, self.checked = (
            Entk(backbone.model, pictures, **settings, **place),
            min(_CHECKED, config.train),
        )

    def block(self, tile: "Tile") -> "np.ndarray":
        """One tile."""
        spans = range(tile.row_start, tile.row_stop), range(tile.column_start, tile.column_stop)
        parts = self.kernel.blocks(*spans)
        return (sum(parts.values()) / len(parts)).numpy()

    def remarks(self) -> dict[str, float]:
        """How far one head's kernel is from the mean over heads: the standard deviation's norm over
        the mean's, on the first images.
        """
        import torch

        if len(self.kernel.parts) == 1:
            return {}
        first = torch.stack([*self.kernel.blocks(*[range(self.checked)] * 2).values()])
        return {"spread_of_heads": float(first.std(dim=0).norm() / first.mean(dim=0).norm())}


def _check_labels(job: Job, features: "FeatureStore", split: "Split") -> None:
    import numpy as np

    from rmtgen.errors import StaleInputError

    for name, images in (("train", split.train), ("test", split.test)):
        if not np.array_equal(images.labels, features.layout.labels(name)):
            raise StaleInputError(
                f"the {name} images must be those of {job.folder}/features.h5, got other labels."
                f" The data set has changed: put it back, or move {job.folder} away and run again."
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("gram", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
