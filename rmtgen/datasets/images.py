"""Image sources (files, members of a tar, arrays) that decode on access, and their labels."""

import os
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from rmtgen.errors import CorruptInputError


class ImageSource(Sequence[Image.Image]):
    """A sequence of RGB images, stored as bytes and decoded on access.

    A source can be pickled, so that the workers of a DataLoader can hold it.
    """

    @abstractmethod
    def read(self, position: int) -> bytes:
        """The bytes of one image: its encoded file, or its pixels.

        Raises:
            CorruptInputError: The bytes cannot be read.
        """

    @abstractmethod
    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB image encoded by the bytes that `read` returned.

        Args:
            content: The bytes.
            where: The name of the image in error messages.

        Raises:
            CorruptInputError: The bytes are not a complete image.
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
            CorruptInputError: The image is damaged.
        """
        content = self.read(position)
        self.decode(content, self.locate(position))
        return content_digest(content)


class EncodedImages(ImageSource):
    """Images stored as encoded files (PNG, JPEG, …), wherever the files are."""

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB image in an encoded file; images of more than 8 bits per channel are refused."""
        with _naming_damage(where), Image.open(BytesIO(content)) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"mode {image.mode} would be clipped to 8 bits; convert it first")
            return to_rgb(image)


class FileImages(EncodedImages):
    """Images stored as one file each."""

    def __init__(self, paths: Sequence[str]):
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int) -> bytes:
        """The content of the file."""
        return read_file(self.paths[position])

    def locate(self, position: int) -> str:
        """The path of the file."""
        return self.paths[position]

    def select(self, positions: Sequence[int] | np.ndarray) -> "FileImages":
        """The files at `positions`."""
        return FileImages([self.paths[position] for position in positions])


class TarImages(EncodedImages):
    """Images stored as members of an uncompressed tar, read in place by offset.

    Each process opens the archive on its first read. `pread` takes the offset as an argument, so
    threads, and workers forked after the first read, do not interfere.
    """

    def __init__(self, path: str, names: Sequence[str], offsets: np.ndarray, sizes: np.ndarray):
        self.path, self.names, self.offsets, self.sizes = path, tuple(names), offsets, sizes

    def __reduce__(self) -> tuple:
        return TarImages, (self.path, self.names, self.offsets, self.sizes)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def read(self, position: int) -> bytes:
        """The content of the member."""
        offset, size = int(self.offsets[position]), int(self.sizes[position])
        try:
            content = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise CorruptInputError(
                f"{self.locate(position)} cannot be read: {error.strerror}."
            ) from error
        if len(content) != size:
            raise CorruptInputError(
                f"{self.locate(position)} must hold {size} bytes, got {len(content)}: the archive"
                " was truncated. Copy or pack it again."
            )
        return content

    def locate(self, position: int) -> str:
        """The path of the archive, a colon, the name of the member."""
        return f"{self.path}:{self.names[position]}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "TarImages":
        """The members at `positions`."""
        names = [self.names[position] for position in positions]
        return TarImages(self.path, names, self.offsets[positions], self.sizes[positions])


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
        name: The name given to `load_dataset`.
        split: "train" or "test".
        images: The n images, decoded on access; picklable.
        labels: int64, (n,); 0 ≤ label < len(classes).
        classes: The name of each label.
        indices: int64, (n,); the position of each image in the full split, whose order is fixed
            (sorted paths for a folder).
    """

    name: str
    split: str
    images: ImageSource
    labels: np.ndarray
    classes: tuple[str, ...]
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Image.Image:
        return self.images[position]

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
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB copy of an image of any mode."""
    # Pillow warns if a palette with an alpha table is converted directly; the colours are the same.
    if isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_file(path: str) -> bytes:
    """The content of an image file.

    Raises:
        CorruptInputError: The file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CorruptInputError(f"{path} cannot be read: {error.strerror}.") from error


def content_digest(content: bytes) -> bytes:
    """The BLAKE2b-128 digest of the bytes of an image, by which duplicates are found."""
    return blake2b(content, digest_size=16).digest()


@contextmanager
def _naming_damage(where: str) -> Iterator[None]:
    """Turn any failure of a decoder into a `CorruptInputError` that names the image.

    Decoders have no common error class: on damaged bytes they fail in many ways.
    """
    try:
        yield
    except CorruptInputError:
        raise
    except Exception as error:
        raise CorruptInputError(
            f"{where} cannot be decoded: {type(error).__name__}: {error}."
        ) from error
