"""What a configuration names outside its run: the backbone and the images."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from rmtgen.datasets import Split, load_split
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.kernels.entk.plan import RandomImages
from rmtgen.models.backbones import Backbone, load_backbone
from rmtgen.models.features import TransformedImages
from rmtgen.models.inner_layers import at_layer
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import data_inputs
from rmtgen.runs.manifest import FileRecord
from rmtgen.stages.shared import once
from rmtgen.store.tree import FileList

log = logging.getLogger(__name__)

SHOWN = 5
"""Number of images in several classes that are named in the log."""
KEPT_BYTES = 2**28
"""Bytes of transformed images that a stage keeps: 21,845 of 32 px, or 445 of 224 px."""


def open_backbone(config: Config, head: str | None = None) -> Backbone:
    """The configured backbone, without a head or under a fresh one, before it is calibrated."""
    return load_backbone(
        config.model,
        init="random" if config.init == "calibrated" else config.init,
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


def up_to_layer(config: Config, backbone: Backbone) -> Backbone:
    """The backbone up to the configured layer."""
    if config.layer is None:
        return backbone
    return at_layer(backbone, config.layer, pooling=config.pooling)


def open_images(config: Config) -> Split:
    """The configured subsets; damaged images that are left out are noted on stderr.

    Every image is decoded once to find damage, in a ranking for all representations together, as
    long as the files stay what they were.
    """
    settings: dict[str, Any] = {
        "name": config.dataset,
        "train": config.train,
        "test": config.test,
        "root": config.data_root,
        "seed": config.seed,
        "stratify": config.stratify,
        "shuffle": config.shuffle,
        "download": config.download,
        "on_corrupt": config.on_corrupt,
        "split": config.split,
        "max_pixels": config.max_pixels or MAX_PIXELS,
        "labelling": config.labelling,
    }
    return once((*settings.items(), *_stamps(config)), lambda: _opened(settings))


def _opened(settings: Mapping[str, Any]) -> Split:
    split = load_split(**settings)
    for skipped in split.skipped:
        log.warning(f"skipped a damaged image: {skipped}")
    if same := split.contradictions:
        more = "; …" if len(same) > SHOWN else ""
        log.warning(
            f"the same picture is in several classes, {len(same)} such: {'; '.join(same[:SHOWN])}"
            f"{more}. Remove all but the right one of each"
        )
    return split


def _stamps(config: Config) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of the data set; of a folder or a list its listing's."""
    stamps = []
    for role, path in data_inputs(config).items():
        if isinstance(path, FileList) or path.is_dir():
            record = FileRecord.of(path)
            stamps.append((f"{role} {record.blake2b}", record.size, record.mtime_ns))
        else:
            status = path.stat()
            stamps.append((str(path), status.st_size, status.st_mtime_ns))
    return stamps


class Kept(Dataset):
    """Images that may be read several times, kept from the first time on, as many as fit."""

    def __init__(self, images: ConcatDataset, room: int = KEPT_BYTES):
        """Take images as tensors of one shape, and the bytes that may be kept of them."""
        self.images, self.room = images, room
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Tensor:
        """An image, which the caller may change."""
        if position in self._kept:
            return self._kept[position].clone()
        found = self.images[position]
        if found.nbytes <= self.room:
            self.room -= found.nbytes
            self._kept[position] = found.clone()
        return found


def joint_images(backbone: Backbone, split: Split) -> Kept:
    """The images as the backbone takes them, those of training first."""
    parts = [TransformedImages(part, backbone) for part in (split.train, split.test) if len(part)]
    return Kept(ConcatDataset(parts))


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
