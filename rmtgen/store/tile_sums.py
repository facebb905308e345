"""Sums of tiles over the parts of a kernel, in float64, on a disk until they are complete.

A tile is read, added to and written under another name; only then the earlier sum is removed. A
process that is killed loses at most the tiles that it was adding to, and the next one continues
from the parts that each tile has.
"""

import contextlib
from pathlib import Path

import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, warn
from rmtgen.store.gram_layout import Tile
from rmtgen.store.spill import Spill

_REMEDY = "Free space there and run the stage again: it resumes."


class TileSums:
    """The sums of the tiles of one kernel over its parts, which are added in order.

    Attributes:
        spill: The files, one a tile.
    """

    def __init__(self, place: Path, identity: str):
        """Continue the sums of an identity below a place, and remove those of any other.

        Raises:
            StorageError: The file system refuses.
            CorruptInputError: There is something else under the name of the folder.
        """
        self.spill = Spill(place, identity, remedy=_REMEDY)
        discard(place, but=identity)
        self._parts: dict[str, int] = {}
        for path in self.spill.folder.iterdir():
            name, _, number = path.stem.rpartition("-")
            if path == self.spill.path(path.stem) and number.isdecimal():
                self._parts[name] = max(int(number), self._parts.get(name, 0))

    def parts(self, tile: Tile) -> int:
        """The number of parts in the sum of a tile."""
        return self._parts.get(tile.name, 0)

    def add(self, tile: Tile, block: np.ndarray) -> None:
        """Add the next part to a tile, which is durable on return.

        A sum that is damaged is removed with a warning: the tile then has no part.

        Raises:
            StorageError: The disk refuses; the sum is as before.
        """
        parts = self.parts(tile)
        if parts:
            try:
                block = self.read(tile) + block
            except CorruptInputError as failure:
                warn(f"a tile is computed again: {failure}")
                return
        total = np.ascontiguousarray(block, dtype=np.float64)
        self.spill.write(self._name(tile, parts + 1), "", [_bytes(total)])
        self._parts[tile.name] = parts + 1
        self.spill.path(self._name(tile, parts)).unlink(missing_ok=True)

    def read(self, tile: Tile) -> np.ndarray:
        """The sum of a tile so far, float64 (rows, columns).

        Raises:
            CorruptInputError: It is not what was written. It is removed: the tile has no part.
        """
        found = np.empty(tile.shape)
        name = self._name(tile, self.parts(tile))
        try:
            self.spill.read(name, "", [_bytes(found)])
        except (CorruptInputError, MissingInputError, StaleInputError) as failure:
            self.spill.path(name).unlink(missing_ok=True)
            self._parts.pop(tile.name, None)
            raise CorruptInputError(f"{failure} Run the stage again: it resumes.") from failure
        return found

    def _name(self, tile: Tile, parts: int) -> str:
        return f"{tile.name}-{parts}"


def discard(place: Path, but: str | None = None) -> None:
    """Remove the sums below a place, except those of one identity."""
    for folder in place.iterdir() if place.is_dir() else ():
        if folder.name != but and folder.is_dir():
            Spill(place, folder.name).clear()
    if but is None:
        with contextlib.suppress(OSError):  # absent, or something else is in it
            place.rmdir()


def _bytes(array: np.ndarray) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")
