"""Pictures of the size of an input, kept for the next network that sees them alike.

Decoding and scaling a photograph takes longer than a pass of a small network. What is kept is the
picture before its pixels are normalised, a byte a channel: the next network gets the same bits.
"""

import contextlib
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from rmtgen.models.recipes import Framing
from rmtgen.store import durable
from rmtgen.store.spill import REMEDY, nameless


class Room:
    """Bytes for kept pictures of any number of sets.

    Attributes:
        free: Bytes of memory that are left.
        place: Folder of files for a set that does not fit into them; None: a part of it is kept.
    """

    def __init__(self, free: int, place: Path | None = None):
        self.free, self.place = free, place

    def take(self, count: int, size: int) -> tuple[int, mmap.mmap | None]:
        """A map for as many of `count` pieces of `size` bytes as there is room for.

        Forked processes share it, and it is gone with the last that holds it.

        Returns:
            The number of pieces, and the map; None if there is room for none.

        Raises:
            StorageError: The file system of `place` refuses.
        """
        if count * size > self.free and self.place is not None:
            return count, _file(self.place, count * size)
        fitting = min(count, self.free // size)
        if fitting:
            with contextlib.suppress(OSError):  # what is not kept is decoded again
                found = mmap.mmap(-1, fitting * size)
                self.free -= fitting * size
                return fitting, found
        return 0, None


def _file(place: Path, size: int) -> mmap.mmap:
    """A nameless file whose blocks are there, so that a full disk is an error here."""
    with nameless(place) as file, durable.storage_errors(place, REMEDY):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.truncate(file.fileno(), size)
        return mmap.mmap(file.fileno(), size)


class FramedImages(Sequence[Image.Image]):
    """Images after the first part of a transform, decoded once each, as far as there is room.

    The first of them are kept. A forked process shares what is kept; a pickled copy keeps nothing.

    Attributes:
        seconds: What it took to read, decode and frame each of those that have room, > 0; 0 where
            that is still to come.
    """

    seconds: Float32[np.ndarray, " k"]
    _pixels: UInt8[np.ndarray, "k h w 3"]

    def __init__(
        self,
        images: Sequence[Image.Image],
        framing: Framing,
        size: tuple[int, int, int],
        room: Room,
    ):
        """Take images, what makes RGB pictures of one size of them, that size, and room.

        Raises:
            StorageError: As `Room.take`.
        """
        self.images, self.framing, self.size = images, framing, size
        channels, height, width = size
        of_image = 4 + channels * height * width
        count, held = room.take(len(images), of_image)
        shape = (count, height, width, channels)
        if held is None:
            self.seconds, self._pixels = np.zeros(0, np.float32), np.zeros(shape, np.uint8)
        else:
            self.seconds = np.frombuffer(held, np.float32, count)
            pixels = np.frombuffer(held, np.uint8, offset=4 * count)
            self._pixels = pixels.reshape(shape)

    def __reduce__(self) -> tuple:
        return FramedImages, (self.images, self.framing, self.size, Room(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Image.Image:  # type: ignore[override]  # no slices
        """The picture of an image; one that cannot be decoded is tried again the next time."""
        position = range(len(self))[position]
        has_room = position < len(self.seconds)
        if has_room and self.seconds[position]:
            return Image.fromarray(self._pixels[position])
        started = time.perf_counter()
        found = self.framing(self.images[position])
        if has_room:
            self._pixels[position] = np.asarray(found)
            seconds = time.perf_counter() - started
            self.seconds[position] = max(seconds, np.finfo(np.float32).tiny)  # last: it is whole
        return found
