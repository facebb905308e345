"""The seven data sets that torchvision reads, from a local copy or downloaded when asked."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtgen.datasets.images import ArrayImages, FileImages, ImageSource, LabelledImages
from rmtgen.errors import CorruptInputError, MissingInputError

Reader = Callable[[Sequence[Any]], tuple[ImageSource, np.ndarray]]


def _read_arrays(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    pixels = np.concatenate([np.asarray(part.data) for part in parts])
    return ArrayImages(pixels), np.concatenate([np.asarray(part.targets) for part in parts])


def _read_channels_first(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    pixels = np.concatenate([part.data for part in parts]).transpose(0, 2, 3, 1)
    return ArrayImages(pixels), np.concatenate([part.labels for part in parts])


def _read_files(parts: Sequence[Any]) -> tuple[ImageSource, np.ndarray]:
    paths = [str(path) for part in parts for path in part._image_files]
    return FileImages(paths), np.concatenate([np.asarray(part._labels) for part in parts])


@dataclass(frozen=True)
class VisionSet:
    """How torchvision names a set, where it keeps it, and which of its parts make our training and
    test split.
    """

    constructor: str
    places: tuple[str, ...]  # below the root
    reader: Reader
    train: tuple[dict[str, Any], ...] = ({"split": "train"},)
    test: tuple[dict[str, Any], ...] = ({"split": "test"},)


_FLAG: dict[str, Any] = {"train": ({"train": True},), "test": ({"train": False},)}

VISION_SETS = {
    "cifar10": VisionSet("CIFAR10", ("cifar-10-batches-py",), _read_arrays, **_FLAG),
    "cifar100": VisionSet("CIFAR100", ("cifar-100-python",), _read_arrays, **_FLAG),
    "svhn": VisionSet("SVHN", ("train_32x32.mat", "test_32x32.mat"), _read_channels_first),
    "fashionmnist": VisionSet("FashionMNIST", ("FashionMNIST/raw",), _read_arrays, **_FLAG),
    "food101": VisionSet("Food101", ("food-101/meta", "food-101/images"), _read_files),
    # Both have a validation part, which transfer studies train on: 2,040 and 6,667 images, ten and
    # about 67 a class.
    "flowers102": VisionSet(
        "Flowers102", ("flowers-102",), _read_files, train=({"split": "train"}, {"split": "val"})
    ),
    "fgvcaircraft": VisionSet(
        "FGVCAircraft", ("fgvc-aircraft-2013b",), _read_files, train=({"split": "trainval"},)
    ),
}


def open_vision(name: str, split: str, *, root: Path, download: bool) -> LabelledImages:
    """One split of a set that torchvision knows, in torchvision's order.

    Flowers-102 trains on its train and validation parts (2,040 images), FGVC-Aircraft on trainval
    (6,667, labelled by variant).

    Args:
        name: A key of `VISION_SETS`.
        split: "train" or "test".
        root: Where torchvision keeps its copies.
        download: Fetch a missing copy.

    Returns:
        The split, all images.

    Raises:
        MissingInputError: There is no local copy, or the download failed.
        CorruptInputError: The local copy is there but torchvision cannot read it.
    """
    import torchvision.datasets  # noqa: PLC0415 - it imports torch, which a cached stage must not pay for

    known = VISION_SETS[name]
    constructor = getattr(torchvision.datasets, known.constructor)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # results go to stdout, progress does not
            parts = [
                constructor(str(root), download=download, **part) for part in getattr(known, split)
            ]
        images, labels = known.reader(parts)
    # torchvision has no error class of its own: RuntimeError, URLError, EOFError, UnpicklingError,
    # ValueError, ...
    except Exception as error:
        raise _unavailable(name, root, download, error) from error
    classes = getattr(parts[0], "classes", range(int(labels.max()) + 1))
    return LabelledImages(
        name,
        split,
        images,
        labels.astype(np.int64),
        tuple(map(str, classes)),
        np.arange(len(labels)),
    )


def local_places(name: str, root: Path) -> list[Path]:
    """Where torchvision keeps a set below `root`."""
    return [root / place for place in VISION_SETS[name].places]


def _unavailable(
    name: str, root: Path, download: bool, error: Exception
) -> MissingInputError | CorruptInputError:
    places = local_places(name, root)
    shown = " and ".join(map(str, places))
    reason = f"{type(error).__name__}: {error}".strip().replace("\n", " ")
    if download:
        return MissingInputError(
            f"{name} could not be downloaded to {root} ({reason}). Check the network and the disk,"
            f" or put {shown} there."
        )
    if all(place.exists() for place in places):
        return CorruptInputError(
            f"{shown} must be the whole {name}, but cannot be read ({reason}). Remove it and fetch"
            " it with download=True."
        )
    return MissingInputError(
        f"{name} must lie at {shown}, got nothing complete there. Fetch it with download=True (in a"
        f" shell: python -c \"import rmtgen; rmtgen.load_dataset('{name}', root='{root}',"
        ' download=True)").'
    )
