"""What a configuration names outside its run: the backbone and the images."""

from typing import TYPE_CHECKING

from rmtgen.runs.config import Config
from rmtgen.stages.engine import note

if TYPE_CHECKING:
    from rmtgen.datasets import Split
    from rmtgen.models.backbones import Backbone


def open_backbone(config: Config, head: str | None = None) -> "Backbone":
    """The configured backbone, without a head or under a fresh one."""
    from rmtgen.models.backbones import load_backbone

    return load_backbone(
        config.model,
        init=config.init,
        weights=config.weights,
        head=head,
        heads=config.heads or 1,
        head_seed=config.head_seed,
        init_seed=config.init_seed,
        img_size=config.img_size,
        checkpoints=config.checkpoints,
    )


def open_images(config: Config) -> "Split":
    """The configured subsets; damaged images that are left out are noted on stderr."""
    from rmtgen.datasets import load_split

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
    return split
