"""Stage `gram`: features -> gram.h5."""

import sys
from collections.abc import Sequence

from pipelines.stage import Job, Result, run_stage


def work(job: Job) -> Result:
    """Compute and store every tile of the Gram matrix that is not there yet."""
    import numpy as np
    import torch

    from rmtgen.feature_store import FeatureStore
    from rmtgen.features import default_device
    from rmtgen.gram import GramLayout, GramStore
    from rmtgen.linear_kernel import linear_block

    config, device = job.config, default_device(job.config.device)
    features = FeatureStore.open(job.folder)
    rows = torch.from_numpy(np.concatenate([features.read("train"), features.read("test")]))
    layout = GramLayout(config.train, config.test, config.gram_dtype, config.tile)
    store = GramStore.create(job.folder, layout, job.run.basis("gram"))
    pending, total = store.pending(), len(layout.tiles())
    for tile in job.progress(pending, total, "tile", done=total - len(pending)):
        left = rows[tile.row_start : tile.row_stop].to(device)
        right = left if tile.symmetric else rows[tile.column_start : tile.column_stop].to(device)
        store.write(tile, linear_block(left, right).cpu().numpy())
    store.shards.seal()
    shape = " × ".join(str(size) for size in layout.shape)
    return Result(store.files(), f"{shape} Gram matrix in {total} tiles", {"device": str(device), "tiles": total})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("gram", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
