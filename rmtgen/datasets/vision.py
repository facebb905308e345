"""The data sets that torchvision reads, from a local copy or downloaded on request.

A new one is an entry in `VISION_SETS`.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtgen.datasets.images import (
    ArrayImages,
    EncodedImages,
    FileImages,
    ImageSource,
    LabelledImages,
)
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.source import Access, DataSource
from rmtgen.errors import CapacityError, CorruptInputError, MissingInputError

Part = dict[str, Any]
Reader = Callable[[Sequence[Any]], tuple[ImageSource, np.ndarray]]
"""From torchvision's data sets, one per part of a split, to all images and labels."""


def read_arrays(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    """Images and labels from the attributes `data` (n, h, w) or (n, h, w, 3) and `targets`."""
    pixels = np.concatenate([np.asarray(part.data) for part in parts])
    return ArrayImages(pixels), np.concatenate([np.asarray(part.targets) for part in parts])


def read_channels_first(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    """Images and labels from the attributes `data` (n, 3, h, w) and `labels`."""
    pixels = np.concatenate([part.data for part in parts]).transpose(0, 2, 3, 1)
    return ArrayImages(pixels), np.concatenate([part.labels for part in parts])


def read_files(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    """Images and labels from the attributes `_image_files` (paths) and `_labels`."""
    paths = [str(path) for part in parts for path in part._image_files]
    return FileImages(paths), np.concatenate([np.asarray(part._labels) for part in parts])


@dataclass(frozen=True)
class VisionSet(DataSource):
    """A data set of torchvision.

    Attributes:
        constructor: Name of its class in `torchvision.datasets`.
        places: Where torchvision stores its files, relative to the root.
        reader: Function that reads its images and labels.
        train: Arguments of the constructor, one dictionary per part of the training split.
        test: Arguments of the constructor, one dictionary per part of the test split.
        published: Numbers of training and test images, where they are known.
    """

    constructor: str
    places: tuple[str, ...]
    reader: Reader
    train: tuple[Part, ...] = ({"split": "train"},)
    test: tuple[Part, ...] = ({"split": "test"},)
    published: tuple[int, int] | None = None

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, in the order of torchvision.

        Raises:
            MissingInputError: There is no local copy, or the download failed.
            CorruptInputError: torchvision cannot read the local copy.
        """
        return {split: self._split(name, split, access) for split in splits}

    def files(self, name: str, root: Path) -> list[Path]:
        """Where torchvision stores the data set below `root`."""
        return [root / place for place in self.places]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int] | None:
        """Those that were published."""
        return self.published

    def _split(self, name: str, split: str, access: Access) -> LabelledImages:
        import torchvision.datasets  # noqa: PLC0415 - it imports torch, which a cached stage must not

        constructor = getattr(torchvision.datasets, self.constructor)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for results, not for progress
                parts = [
                    constructor(str(access.root), download=access.download, **part)
                    for part in getattr(self, split)
                ]
            images, labels = self.reader(parts)
            _check_read(images, labels)
        except MemoryError as error:
            raise CapacityError(f"{name} does not fit into memory. Free some.") from error
        except Exception as error:  # the errors of torchvision have no common base class
            raise _unavailable(name, self.files(name, access.root), access, error) from error
        if isinstance(images, EncodedImages):
            images.max_pixels = access.max_pixels
        classes = getattr(parts[0], "classes", range(int(labels.max()) + 1))
        return LabelledImages(
            name,
            split,
            images,
            labels.astype(np.int64),
            tuple(map(str, classes)),
            np.arange(len(labels)),
        )


BY_FLAG: dict[str, tuple[Part, ...]] = {"train": ({"train": True},), "test": ({"train": False},)}
"""Splits of the data sets whose constructor has the argument `train` instead of `split`."""

# Flowers-102 and FGVC-Aircraft (labelled by variant) have a validation part. As in studies of
# transfer learning it belongs to the training split, of 2,040 and 6,667 images.
VISION_SETS: dict[str, VisionSet] = {
    "cifar10": VisionSet(
        "CIFAR10", ("cifar-10-batches-py",), read_arrays, **BY_FLAG, published=(50_000, 10_000)
    ),
    "cifar100": VisionSet(
        "CIFAR100", ("cifar-100-python",), read_arrays, **BY_FLAG, published=(50_000, 10_000)
    ),
    "svhn": VisionSet(
        "SVHN",
        ("train_32x32.mat", "test_32x32.mat"),
        read_channels_first,
        published=(73_257, 26_032),
    ),
    "fashionmnist": VisionSet(
        "FashionMNIST", ("FashionMNIST/raw",), read_arrays, **BY_FLAG, published=(60_000, 10_000)
    ),
    "food101": VisionSet(
        "Food101", ("food-101/meta", "food-101/images"), read_files, published=(75_750, 25_250)
    ),
    "flowers102": VisionSet(
        "Flowers102",
        ("flowers-102",),
        read_files,
        train=({"split": "train"}, {"split": "val"}),
        published=(2_040, 6_149),
    ),
    "fgvcaircraft": VisionSet(
        "FGVCAircraft",
        ("fgvc-aircraft-2013b",),
        read_files,
        train=({"split": "trainval"},),
        published=(6_667, 3_333),
    ),
}
"""The data sets of torchvision by name."""


def _check_read(images: ImageSource, labels: np.ndarray) -> None:
    """Require pictures of 8 bits and whole numbers as labels, one each.

    Raises:
        ValueError: The files hold something else.
    """
    if isinstance(images, ArrayImages):
        pixels = images.pixels
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or 0 in pixels.shape:
            raise ValueError(f"pixels of shape {pixels.shape} and type {pixels.dtype}")
        if pixels.ndim == 4 and pixels.shape[3] != 3:
            raise ValueError(f"pixels of shape {pixels.shape}, expected 3 channels")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images, labels of shape {labels.shape}, {labels.dtype}")


def _unavailable(
    name: str, places: Sequence[Path], access: Access, error: Exception
) -> MissingInputError | CorruptInputError:
    shown = " and ".join(map(str, places))
    reason = f"{type(error).__name__}: {error}".strip().replace("\n", " ")
    root = access.root
    if access.download:
        return MissingInputError(
            f"{name} could not be downloaded to {root} ({reason}). Check the network and the disk,"
            f" or put a copy at {shown}."
        )
    if all(place.exists() for place in places):
        return CorruptInputError(
            f"{shown} must be a complete copy of {name}, but cannot be read ({reason}). Remove it"
            " and download it with download=True."
        )
    return MissingInputError(
        f"{name} must be at {shown}, got no complete copy there. Download it with download=True"
        f" (in a shell: python -c \"import rmtgen; rmtgen.load_dataset('{name}', root='{root}',"
        ' download=True)").'
    )
