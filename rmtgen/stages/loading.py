"""What a configuration names outside its run: the backbone and the images."""

import logging

from torch.utils.data import ConcatDataset

from rmtgen.datasets import Split, load_split
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.kernels.entk.plan import RandomImages
from rmtgen.models.backbones import Backbone, load_backbone
from rmtgen.models.features import TransformedImages
from rmtgen.runs.config import Config

log = logging.getLogger(__name__)


def open_backbone(config: Config, head: str | None = None) -> Backbone:
    """The configured backbone, without a head or under a fresh one."""
    return load_backbone(
        config.model,
        init=config.init,
        weights=config.weights,
        head=head,
        heads=config.heads or 1,
        head_seed=config.head_seed,
        init_seed=config.init_seed,
        img_size=config.img_size,
        transform=config.transform,
        checkpoints=config.checkpoints,
        download=config.download,
    )


def open_images(config: Config) -> Split:
    """The configured subsets; damaged images that are left out are noted on stderr."""
    split = load_split(
        config.dataset,
        train=config.train,
        test=config.test,
        root=config.data_root,
        seed=config.seed,
        stratify=config.stratify,
        shuffle=config.shuffle,
        download=config.download,
        on_corrupt=config.on_corrupt,
        split=config.split,
        max_pixels=config.max_pixels or MAX_PIXELS,
    )
    for skipped in split.skipped:
        log.warning(f"skipped a damaged image: {skipped}")
    return split


def joint_images(backbone: Backbone, split: Split) -> ConcatDataset:
    """The images as the backbone takes them, those of training first."""
    return ConcatDataset([TransformedImages(part, backbone) for part in (split.train, split.test)])


def placeholder(config: Config) -> tuple[Backbone, RandomImages]:
    """The backbone under its heads with random weights, and images of noise: they cost the same."""
    backbone = load_backbone(
        config.model,
        init="random",
        head="random",
        heads=config.heads or 1,
        img_size=config.img_size,
        transform=config.transform,
    )
    return backbone, RandomImages(config.train + config.test, backbone.input_size)
