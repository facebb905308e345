"""Pictures that are decoded when asked for, from files, from inside a tar, or from an array; and
the labels that go with them.
"""

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
    """A sequence of RGB pictures, held as bytes and decoded on access. It can be pickled, so
    DataLoader workers can hold it.
    """

    @abstractmethod
    def read(self, position: int) -> bytes:
        """The bytes of one image: its encoded file, or its pixels.

        Raises:
            CorruptInputError: They cannot be read.
        """

    @abstractmethod
    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB picture in the bytes that `read` gave; `where` names it in errors.

        Raises:
            CorruptInputError: The bytes are not a whole picture.
        """

    @abstractmethod
    def locate(self, position: int) -> str:
        """The name of one image, as a reader of an error message would look for it."""

    @abstractmethod
    def select(self, positions: Sequence[int] | np.ndarray) -> "ImageSource":
        """The source that holds only the images at `positions`, in that order."""

    def __getitem__(self, position: int) -> Image.Image:
        return self.decode(self.read(position), self.locate(position))

    def examine(self, position: int) -> bytes:
        """Reads and decodes one image, keeps neither, and returns the BLAKE2b-16 digest of its
        bytes.

        Raises:
            CorruptInputError: It is damaged.
        """
        content = self.read(position)
        self.decode(content, self.locate(position))
        return content_digest(content)


class EncodedImages(ImageSource):
    """Images held as PNG, JPEG, ... files, wherever the files lie."""

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB picture in an encoded file: grey, palette and alpha images by Pillow's own
        conversion.
        """
        with _naming_damage(where), Image.open(BytesIO(content)) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"mode {image.mode} would be clipped to 8 bits; convert it first")
            # Pillow warns on the direct way from a palette with an alpha table; the colours are the
            # same.
            opaque = (
                image.convert("RGBA")
                if isinstance(image.info.get("transparency"), bytes)
                else image
            )
            return opaque.convert("RGB")


class FileImages(EncodedImages):
    """One file an image."""

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
    """Members of an uncompressed tar, read in place by offset.

    The archive is opened on the first read in each process. `pread` carries its own offset, so
    threads, and workers forked after the first read, cannot disturb each other.
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
                " was cut short."
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
    """Images held as pixels: uint8, (n, height, width) grey or (n, height, width, 3) RGB."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, position: int) -> bytes:
        """The pixels, row by row."""
        return self.pixels[position].tobytes()

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The RGB picture with these pixels; grey is repeated in every channel. It cannot be
        damaged.
        """
        pixels = np.frombuffer(content, dtype=np.uint8).reshape(self.pixels.shape[1:])
        return Image.fromarray(pixels).convert("RGB")

    def locate(self, position: int) -> str:
        """The position in the array."""
        return f"image {position}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "ArrayImages":
        """A copy of the pixels at `positions`, so that the whole array can be freed."""
        return ArrayImages(self.pixels[positions])


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Labelled images of one split. Also a map-style dataset: `len()`, and `[i]` decodes image i to
    an RGB `PIL.Image`.

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
        """BLAKE2b-16 of each image's encoded file, or of its pixels where the set is an array."""
        return [content_digest(self.images.read(position)) for position in range(len(self))]

    def subset(self, positions: Sequence[int] | np.ndarray | slice) -> "LabelledImages":
        """The images at `positions` (of these images, not of the full split): integers, a mask, or
        a slice.
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


def read_file(path: str) -> bytes:
    """The content of an image file; raises a `CorruptInputError` if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CorruptInputError(f"{path} cannot be read: {error.strerror}.") from error


def content_digest(content: bytes) -> bytes:
    """BLAKE2b of an image's bytes, 16 bytes long: equal for equal images, and for no others in
    practice.
    """
    return blake2b(content, digest_size=16).digest()


@contextmanager
def _naming_damage(where: str) -> Iterator[None]:
    """Turns a decoder's failure into one error class. Fed foreign bytes, decoders fail in a dozen
    ways; each means damage.
    """
    try:
        yield
    except CorruptInputError:
        raise
    except Exception as error:
        raise CorruptInputError(
            f"{where} cannot be decoded: {type(error).__name__}: {error}."
        ) from error
