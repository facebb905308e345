"""Image sources (files, members of a tar, arrays) that decode on access, and their labels."""

import os
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from PIL import Image

from rmtgen.datasets import decoding
from rmtgen.datasets.reading import patiently, read_file, read_member
from rmtgen.entrance import public
from rmtgen.names import printable


class ImageSource(Sequence[Image.Image]):
    """A sequence of RGB images, stored as bytes and decoded on access.

    A source can be pickled, so that the workers of a DataLoader can hold it.
    """

    @abstractmethod
    def read(self, position: int) -> bytes:
        """The bytes of one image: its encoded file, or its pixels.

        Raises:
            MissingInputError, StorageError, CapacityError: The bytes cannot be read.
            CorruptInputError: They are not those that were listed.
        """

    @abstractmethod
    def decode(self, content: bytes, where: str) -> Image.Image:
        """The upright RGB image encoded by the bytes that `read` returned.

        Args:
            content: The bytes.
            where: The name of the image in error messages.

        Raises:
            DamagedImageError: The bytes are not a complete image.
            UsageError: The image has more pixels than are allowed.
            CapacityError: It does not fit into memory.
        """

    @abstractmethod
    def locate(self, position: int) -> str:
        """The name of one image in error messages: its path, or its position."""

    @abstractmethod
    def select(self, positions: Sequence[int] | np.ndarray) -> "ImageSource":
        """A source of the images at `positions` only, in that order."""

    def __getitem__(self, position: int) -> Image.Image:  # type: ignore[override]  # no slices
        return self.decode(self.read(position), self.locate(position))

    def examine(self, position: int) -> bytes:
        """Decode one image to check it, and return the `content_digest` of its bytes.

        Raises:
            RmtgenError: As `read` and `decode`; a `DamagedImageError` if the image is damaged.
        """
        content = self.read(position)
        self.decode(content, self.locate(position))
        return content_digest(content)


class EncodedImages(ImageSource):
    """Images stored as encoded files (PNG, JPEG, …), wherever the files are.

    Attributes:
        max_pixels: The largest number of pixels of an image.
    """

    max_pixels: int = decoding.MAX_PIXELS

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The image in an encoded file; images of more than 8 bits per channel are refused."""
        return decoding.decode(content, where, self.max_pixels)

    def examine(self, position: int) -> bytes:
        """As for every source; the picture is decoded in its own mode, which takes less memory."""
        content = self.read(position)
        decoding.examine(content, self.locate(position), self.max_pixels)
        return content_digest(content)


class StoredImages(EncodedImages):
    """Images stored as encoded files whose sizes are known without reading them."""

    @abstractmethod
    def file_sizes(self) -> np.ndarray:
        """The size of each file in bytes, int64."""

    @abstractmethod
    def select(self, positions: Sequence[int] | np.ndarray) -> "StoredImages":
        """A source of the images at `positions` only, in that order."""


class FileImages(StoredImages):
    """Images stored as one file each."""

    def __init__(self, paths: Sequence[str], max_pixels: int = decoding.MAX_PIXELS):
        self.paths, self.max_pixels = tuple(paths), max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int) -> bytes:
        """The content of the file."""
        return read_file(self.paths[position], decoding.most_bytes(self.max_pixels))

    def locate(self, position: int) -> str:
        """The path of the file."""
        return printable(self.paths[position])

    def file_sizes(self) -> np.ndarray:
        """The size of each file in bytes, int64."""
        sizes = [patiently(partial(os.stat, path), printable(path)).st_size for path in self.paths]
        return np.array(sizes, dtype=np.int64)

    def select(self, positions: Sequence[int] | np.ndarray) -> "FileImages":
        """The files at `positions`."""
        return FileImages([self.paths[position] for position in positions], self.max_pixels)


class TarImages(StoredImages):
    """Images stored as members of an uncompressed tar, read in place by offset.

    Each process opens the archive on its first read. `pread` takes the offset as an argument, so
    threads, and workers forked after the first read, do not interfere.
    """

    def __init__(
        self,
        path: str,
        names: Sequence[str],
        offsets: np.ndarray,
        sizes: np.ndarray,
        max_pixels: int = decoding.MAX_PIXELS,
    ):
        self.path, self.names, self.offsets, self.sizes = path, tuple(names), offsets, sizes
        self.max_pixels = max_pixels

    def __reduce__(self) -> tuple:
        return TarImages, (self.path, self.names, self.offsets, self.sizes, self.max_pixels)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def read(self, position: int) -> bytes:
        """The content of the member."""
        place = int(self.offsets[position]), int(self.sizes[position])
        most_bytes = decoding.most_bytes(self.max_pixels)
        return read_member(
            lambda size, offset: os.pread(self._descriptor, size, offset),
            place,
            most_bytes,
            self.locate(position),
        )

    def locate(self, position: int) -> str:
        """The path of the archive, a colon, the name of the member."""
        return printable(f"{self.path}:{self.names[position]}")

    def file_sizes(self) -> np.ndarray:
        """The size of each member in bytes, int64."""
        return self.sizes

    def select(self, positions: Sequence[int] | np.ndarray) -> "TarImages":
        """The members at `positions`."""
        names = [self.names[position] for position in positions]
        chosen = self.offsets[positions], self.sizes[positions]
        return TarImages(self.path, names, *chosen, self.max_pixels)


class ArrayImages(ImageSource):
    """Images stored as pixels: uint8, (n, height, width) grey or (n, height, width, 3) RGB."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, position: int) -> bytes:
        """The pixels, row by row."""
        return self.pixels[position].tobytes()

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB image with these pixels; a grey value is repeated in each channel."""
        pixels = np.frombuffer(content, dtype=np.uint8).reshape(self.pixels.shape[1:])
        return Image.fromarray(pixels).convert("RGB")

    def locate(self, position: int) -> str:
        """The position in the array."""
        return f"image {position}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "ArrayImages":
        """A copy of the pixels at `positions`, so that the full array can be freed."""
        return ArrayImages(self.pixels[positions])


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Labelled images of one split.

    It is also a map-style dataset: `[i]` decodes image i to an RGB `PIL.Image`.

    Attributes:
        name: The name given to `load_dataset`; the class of the data set that `of` was given.
        split: "train" or "test".
        images: The n images, decoded on access; picklable.
        labels: int64, (n,), 0 ≤ label < len(classes); or of several labels bool, (n, c), whether
            an image has each; or of a regression float64, (n, c).
        classes: The name of each class; of each label, or value, in the order of the columns.
        indices: int64, (n,); the position of each image in the full split, whose order is fixed
            (sorted paths for a folder); in a folder without train/ and test/, the position among
            all its images; in a table or in shards, that among all rows or samples.
        origin: How files of one's own were read: their layout, what was passed over, how they were
            split. Values are those of JSON; empty for other data sets.
    """

    name: str
    split: str
    images: ImageSource
    labels: np.ndarray
    classes: tuple[str, ...]
    indices: np.ndarray
    origin: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Image.Image:
        return self.images[position]

    @classmethod
    @public
    def of(cls, dataset: Any, classes: Sequence[str] | None = None) -> "LabelledImages":
        """The images of a map-style data set in Python, such as one of torchvision.

        Labels are the attribute `targets` or `labels` of the data set, or of the one that a
        `torch.utils.data.Subset` is taken from; without them every image is read once.

        Args:
            dataset: Pairs by number, with a length: an image, before any transform, and its class
                number; or c of 0 and 1, whether it has each of several labels; or floats, one or c
                targets of a regression. An image is a PIL image; an array of uint8, (h, w) or
                (h, w, 3); or a tensor of uint8, (h, w), (1, h, w) or (3, h, w).
            classes: The name of each number, label or target; None: the `classes` of the data set,
                else the numbers.

        Returns:
            All images, as the split "train", in the order of the data set.

        Raises:
            UsageError: It is another object; an image is a float tensor or changes from one time
                to the next, as after a transform; a label is none of these; or images have none:
                None, NaN, or -1 in the place of a class or of 0 and 1.
            NumericalError: A target is not finite.
            DamagedImageError: An image cannot be read.
        """
        from rmtgen.datasets.python_dataset import labelled  # it imports this module

        images, labels, names = labelled(dataset, classes)
        return cls(type(dataset).__name__, "train", images, labels, names, np.arange(len(labels)))

    def digests(self) -> list[bytes]:
        """The `content_digest` of each image: of its encoded file, or of its pixels in an array."""
        return [content_digest(self.images.read(position)) for position in range(len(self))]

    def subset(self, positions: Sequence[int] | np.ndarray | slice) -> "LabelledImages":
        """The images at `positions` within this set, not within the full split.

        Args:
            positions: Integers, a boolean mask, or a slice.
        """
        positions = np.arange(len(self))[positions]
        return LabelledImages(
            name=self.name,
            split=self.split,
            images=self.images.select(positions),
            labels=self.labels[positions],
            classes=self.classes,
            indices=self.indices[positions],
            origin=self.origin,
        )


def content_digest(content: bytes) -> bytes:
    """The BLAKE2b-128 digest of the bytes of an image, by which duplicates are found."""
    return blake2b(content, digest_size=16).digest()
