"""Loading of one subset, and of a training and a test subset that share no image."""

from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from rmtgen.datasets.catalogue import open_splits
from rmtgen.datasets.decoding import MAX_PIXELS, check_pixels
from rmtgen.datasets.images import ImageSource, LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.source import Access, data_root
from rmtgen.datasets.subsets import (
    SPLITS,
    check_learnable,
    check_seed,
    check_size,
    subset_order,
)
from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, DamagedImageError, UsageError, did_you_mean
from rmtgen.scalars import flag

_POLICIES = ("refuse", "skip")
_BATCH = 1024
"""Number of images submitted to the threads at a time; after Ctrl-C only these are still read."""


@dataclass(frozen=True, eq=False)
class Split:
    """A training and a test subset that share no image.

    Attributes:
        train: The training subset.
        test: The test subset.
        skipped: Names of the damaged images that were left out.
        duplicates: Names of the training images that were left out because the test subset holds
            the same image.
        contradictions: The names and classes of training images that hold the same bytes and are
            in several classes, a text for each such image.
    """

    train: LabelledImages
    test: LabelledImages
    skipped: tuple[str, ...]
    duplicates: tuple[str, ...]
    contradictions: tuple[str, ...] = ()


@public
def load_dataset(  # noqa: PLR0913 - one public function for one question
    name: str,
    *,
    root: str | Path = "data",
    split: str = "train",
    size: int | None = None,
    seed: int = 0,
    stratify: bool = False,
    shuffle: bool = True,
    download: bool = False,
    share: float | None = None,
    max_pixels: int = MAX_PIXELS,
    labelling: Labelling = USUAL,
) -> LabelledImages:
    """A seeded subset of the training or test images of a data set, decoded on access.

    Unless `shuffle` is False, the order is seeded even if all images are taken, since several data
    sets are sorted by class.
    The first 100 images of the subset of size 1000 are the subset of size 100. No image is decoded
    here, and a training and a test subset may share an image: `load_split` checks both.

    Args:
        name: A name of `catalogue.DATA_SETS`: cifar10, cifar100, svhn, fashionmnist, food101,
            flowers102 (training: train and validation parts) and fgvcaircraft (training: trainval)
            through torchvision; mnist5k (extra `demo`); folder:PATH, a folder or .tar of
            CLASS/IMAGE, or of train/CLASS/IMAGE and test/CLASS/IMAGE; csv:PATH, a table of the
            columns path and label and, if wanted, split (train, val, test); wds:PATTERN, WebDataset
            shards such as wds:train-{000..015}.tar; hfds/NAME from the hub, or a folder of such a
            set (extra `hub`).
        root: Folder of the data sets of torchvision.
        split: "train" or "test".
        size: Number of images; None: all.
        seed: Seed ≥ 0. Each seed and split has its own random stream.
        stratify: Balance the classes of the first n images, for every n, as far as the data allow.
        shuffle: False: the first images in the order of the source, whatever the seed.
        download: Download a data set that is missing.
        share: Share of the images of each class that are for the test, where the data are not
            divided: in a folder of CLASS/IMAGE, a table without the column split, or shards of one
            split; None: 0.2. Equal files go to one side; `seed` is that of the division too.
        max_pixels: The largest number of pixels of an image that is decoded.
        labelling: Which columns of a table, of shards, or of a set of the hub label the images,
            and whether they name a class, any number of labels, or values.

    Returns:
        The subset. Images are upright, as their EXIF orientation says.

    Raises:
        UsageError: The name or split is unknown; the data have fewer images than `size`, a class
            without a training image, or a single class; they are divided already, and a share is
            given; or `stratify` is given without `shuffle`.
        MissingInputError: The data do not exist, or the download failed.
        CorruptInputError: The data are damaged.
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise UsageError(
            f"split must be train or test, got {split!r:.60}. {did_you_mean(str(split), SPLITS)}"
        )
    check_seed(seed)
    stratify, shuffle = flag(stratify, "stratify"), flag(shuffle, "shuffle")
    download = flag(download, "download")
    access = Access(
        data_root(root), download, share, seed, check_pixels(max_pixels), labelling=labelling
    )
    full = open_splits(name, (split,), access)[split]
    check_size(size, full)
    order = subset_order(full, seed=seed, stratify=stratify, shuffle=shuffle)
    subset = full.subset(order[:size])
    if split == "train":
        check_learnable(subset, full)
    return subset


@public
def load_split(  # noqa: PLR0913 - one public function for one question
    name: str,
    *,
    train: int | None,
    test: int | None,
    root: str | Path = "data",
    seed: int = 0,
    stratify: bool = False,
    shuffle: bool = True,
    download: bool = False,
    on_corrupt: str = "refuse",
    split: float | None = None,
    max_pixels: int = MAX_PIXELS,
    labelling: Labelling = USUAL,
) -> Split:
    """A training and a test subset that share no image.

    Every image is decoded once, so that damage is found before any computation. The test subset is
    the first part of its seeded order. The training subset is drawn in its own order without the
    images whose bytes equal those of a test image. The next image in the order replaces one that
    is left out.

    Args:
        name: As for `load_dataset`.
        train: Number of training images; None: all that remain.
        test: Number of test images; None: all; 0: none, and all images of a folder that is not
            divided are for training.
        root: Folder of the data sets of torchvision.
        seed: Seed ≥ 0.
        stratify: Balance the classes of both subsets.
        shuffle: False: both orders are those of the source, whatever the seed.
        download: Download a data set that is missing.
        on_corrupt: "refuse" damaged images, or "skip" them; likewise images without a label, rows
            of a table whose file is missing, and samples of shards without an image.
        split: `share` of `load_dataset`.
        max_pixels: As for `load_dataset`.
        labelling: As for `load_dataset`.

    Returns:
        Both subsets, and the names of the images that were left out.

    Raises:
        UsageError: As for `load_dataset`; too few images remain after some are left out; or an
            image has more pixels than are allowed.
        MissingInputError: The data do not exist, or the download failed.
        StorageError, CapacityError: The disk, the permissions or the memory refuse an image; none
            is taken for damaged because of that.
        CorruptInputError: The data are damaged; or images are damaged and `on_corrupt` is
            "refuse".
    """
    if on_corrupt not in _POLICIES:
        raise UsageError(f"on_corrupt must be refuse or skip, got {on_corrupt!r}.")
    check_seed(seed)
    untested = test == 0 and not isinstance(test, bool)
    pixels = check_pixels(max_pixels)
    options = split, seed, pixels, on_corrupt == "skip", untested, labelling
    full = _opened(name, Access(data_root(root), download, *options))
    check_size(train, full["train"])
    if not untested:
        check_size(test, full["test"])
    drawing = partial(subset_order, seed=seed, stratify=stratify, shuffle=shuffle)
    order = {split: drawing(full[split]) for split in SPLITS}
    drawn_test = _draw(full["test"], test, order["test"], excluded=())
    drawn_train = _draw(full["train"], train, order["train"], excluded=drawn_test.digests)
    damage = drawn_test.damage + drawn_train.damage
    if damage and on_corrupt == "refuse":
        raise _refusal(name, damage)
    tests = [] if untested else _enough(drawn_test, test, full["test"])
    test_subset = full["test"].subset(tests)
    train_subset = full["train"].subset(_enough(drawn_train, train, full["train"]))
    check_learnable(train_subset, full["train"])
    skipped = tuple(place for place, _ in damage)
    duplicates = tuple(drawn_train.duplicates)
    contradictions = tuple(_contradictions(full["train"], drawn_train))
    return Split(train_subset, test_subset, skipped, duplicates, contradictions)


def _opened(name: str, access: Access) -> dict[str, LabelledImages]:
    """Both splits of a data set; where no test images are wanted there need be none."""
    if not access.undivided:
        return open_splits(name, SPLITS, access)
    train = open_splits(name, ("train",), access)["train"]
    return {"train": train, "test": replace(train.subset([]), split="test")}


@dataclass(eq=False)
class _Drawn:
    """The positions drawn, by the digests of their images too, and what was left out."""

    positions: list[int] = field(default_factory=list)
    digests: dict[bytes, list[int]] = field(default_factory=dict)
    damage: list[tuple[str, DamagedImageError]] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def _draw(
    data: LabelledImages, size: int | None, order: np.ndarray, excluded: Container[bytes]
) -> _Drawn:
    """Follow the order to the first `size` undamaged images whose digest is not excluded."""
    wanted, read, drawn = len(data) if size is None else size, 0, _Drawn()
    with ThreadPoolExecutor() as pool:
        while len(drawn.positions) < wanted and read < len(order):
            batch = order[read : read + min(wanted - len(drawn.positions), _BATCH)].tolist()
            read += len(batch)
            for position, outcome in zip(
                batch, pool.map(partial(_examine, data.images), batch), strict=True
            ):
                if isinstance(outcome, DamagedImageError):
                    drawn.damage.append((data.images.locate(position), outcome))
                elif outcome in excluded:
                    drawn.duplicates.append(data.images.locate(position))
                else:
                    drawn.positions.append(position)
                    drawn.digests.setdefault(outcome, []).append(position)
    return drawn


def _contradictions(data: LabelledImages, drawn: _Drawn) -> Iterator[str]:
    """Which images are the same, byte by byte, and labelled differently."""
    for positions in drawn.digests.values():
        if len(np.unique(data.labels[positions], axis=0)) > 1 and data.labels.ndim == 1:
            yield " = ".join(
                f"{data.images.locate(position)} ({data.classes[data.labels[position]]})"
                for position in positions
            )


def _examine(images: ImageSource, position: int) -> bytes | DamagedImageError:
    try:
        return images.examine(position)
    except DamagedImageError as error:
        return error


def _refusal(name: str, damage: Sequence[tuple[str, DamagedImageError]]) -> CorruptInputError:
    shown = " ".join(str(error) for _, error in damage[:3]) + (" …" if len(damage) > 3 else "")
    return CorruptInputError(
        f"every image must be intact: {len(damage)} chosen from {name} are damaged. {shown} "
        "Replace them, or leave them out: on_corrupt=skip."
    )


def _enough(drawn: _Drawn, size: int | None, data: LabelledImages) -> list[int]:
    found = len(drawn.positions)
    if found < (1 if size is None else size):
        raise UsageError(
            f"{data.split} size must be at most the {found} images of {data.name} {data.split} that"
            f" remain, got {size}: of {len(data)}, {len(drawn.damage)} are damaged and"
            f" {len(drawn.duplicates)} are also test images."
            f"{f' Set {data.split}={found}.' if found else ' Repair or add some.'}"
        )
    return drawn.positions
