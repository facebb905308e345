"""What a configuration names outside its run: the backbone and the images."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset

from rmtgen.datasets import LabelledImages, Split, load_split
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.kernels.entk.plan import RandomImages
from rmtgen.memory import tightest
from rmtgen.models.backbones import Backbone, load_backbone
from rmtgen.models.features import TransformedImages
from rmtgen.models.framed_images import FramedImages, Room
from rmtgen.models.inner_layers import at_layer
from rmtgen.models.recipes import framing_of, framing_settings, normalisation_of
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import data_inputs
from rmtgen.runs.manifest import FileRecord
from rmtgen.stages.shared import once, others_follow
from rmtgen.store import durable
from rmtgen.store.tree import FileList

log = logging.getLogger(__name__)

SHOWN = 5
"""Number of images in several classes that are named in the log."""
KEPT_BYTES = 2**28
"""Bytes of images that an eNTK keeps, as it reads them again: 87,267 of 32 px, 1,783 of 224 px."""


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


def framed(
    config: Config, backbone: Backbone, images: LabelledImages, room: Room
) -> tuple[Backbone, FramedImages]:
    """Images of the size of an input, and the backbone whose transform takes these.

    Within `images_shared` networks whose transforms frame alike get the same pictures, which are
    decoded once.

    Args:
        config: The run.
        backbone: Its backbone.
        images: Images of `open_images`.
        room: For pictures that are kept.
    """
    recipe = backbone.recipe or {}

    def make() -> FramedImages:
        return FramedImages(images.images, framing_of(recipe), backbone.input_size, room)

    key = images, durable.canonical_json(framing_settings(recipe))
    frames = once(key, make) if others_follow() else make()
    return replace(backbone, transform=normalisation_of(recipe)), frames


def room_of(config: Config, alone: int = 0) -> Room:
    """Room for pictures that are kept.

    For the networks of a command together what `memory` says, but not above half of what is free.

    Args:
        config: The run.
        alone: Bytes for a run that is the only one of its command.
    """
    if not others_follow():
        return Room(alone)
    place = Path(config.spill) if config.spill else None
    return once("room", lambda: Room(min(config.memory, tightest().free // 2), place))


def joint_images(config: Config, backbone: Backbone, split: Split) -> ConcatDataset:
    """The images as the backbone takes them, those of training first; read several times."""
    room = room_of(config, KEPT_BYTES)
    parts = [
        framed(config, backbone, part, room) for part in (split.train, split.test) if len(part)
    ]
    return ConcatDataset([TransformedImages(frames, reader) for reader, frames in parts])


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
