"""The Gram matrix of N training and M test samples on disk, as tiles behind an (N+M)×N view.

`gram.h5` holds a virtual dataset "gram" over the tile shards in `gram/`, so that any HDF5 reader
sees one matrix. Rows 0…N−1 are the training samples, rows N…N+M−1 the test samples, and columns the
training samples; attributes of the dataset document this in the file. A tile that does not exist
yet reads as NaN through HDF5; `GramStore.read` refuses it by name. Of the symmetric training block
only the tiles on and below the diagonal are computed. A shard below the diagonal also holds its
transpose, because a virtual dataset cannot transpose.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.scalars import instance
from rmtgen.scalars import path as checked_path
from rmtgen.store import durable, files
from rmtgen.store.gram_layout import GramLayout, Tile
from rmtgen.store.gram_view import TILES, VIEW, check_view, read_layout, view_of
from rmtgen.store.shards import JOURNAL, ShardRecord, ShardSet, hdf5_image, required


class GramStore:
    """A Gram matrix on disk: `create` a store to write to, or `open` an existing one.

    Reading verifies the digest of every tile.

    Attributes:
        layout: The shape of the matrix.
        folder: The directory that holds `gram.h5` and `gram/`.
    """

    def __init__(
        self,
        folder: Path,
        layout: GramLayout,
        shards: ShardSet,
        view: durable.Recorded | None = None,
    ):
        self.folder, self.layout, self.shards = folder, layout, shards
        self._view = view

    @classmethod
    @public
    def create(
        cls,
        folder: str | Path,
        layout: GramLayout,
        fingerprint: str | None = None,
        writer: str | None = None,
    ) -> "GramStore":
        """Start a store in `folder`, or resume the unfinished one there.

        Args:
            folder: The run directory.
            layout: Shape, dtype and tile edge.
            fingerprint: Digest of what the matrix is computed from, so that tiles of two matrices
                are never mixed; None: not checked.
            writer: Name of this process among several that fill the store at once; None for the
                only one.

        Raises:
            StaleInputError: The existing tiles have another fingerprint.
            CorruptInputError: The folder holds a store of another layout.
            StorageError: The disk refuses.
        """
        layout = instance(layout, GramLayout, "layout", "Make one: GramLayout(n_train, n_test).")
        folder = checked_path(folder, "folder")
        if not (writer is None or isinstance(writer, str)):
            raise UsageError(f"writer must be text or None: got {writer!r:.60}.")
        view, image = folder / VIEW, hdf5_image({}, {"gram": view_of(layout)}, layout.__dict__)
        record = ShardRecord.of(TILES, image)
        if not files.is_there(view):
            shards = ShardSet(folder / TILES, fingerprint, view=record, writer=writer)
            durable.write_bytes(durable.make_folder(folder) / VIEW, image, writer)
            return cls(folder, layout, shards, record)
        if not durable.holds(view, record):
            record = _other_view(folder, layout)
        shards = ShardSet(folder / TILES, fingerprint, view=record, writer=writer)
        return cls(folder, layout, shards, record)

    @classmethod
    @public
    def open(
        cls, path: str | Path, recorded: Mapping[str, durable.Recorded] | None = None
    ) -> "GramStore":
        """Open the store in a run directory, or by its `gram.h5`.

        Args:
            path: The directory or the file.
            recorded: What the manifest of its stage records of its files, by name. None: what the
                journal of the tiles records of `gram.h5`; a store of version 0.1.0 has no such
                record.

        Raises:
            MissingInputError: `gram.h5` does not exist.
            CorruptInputError: It is not a Gram store, or not what was written.
        """
        path = checked_path(path, "path")
        view = path / VIEW if path.is_dir() else path
        if not files.is_there(view):
            raise MissingInputError(f"no Gram matrix at {view}. Make one: `rmtgen gram`.")
        known = required(recorded, view.parent, VIEW, f"{TILES}/{JOURNAL}")
        shards = ShardSet(view.parent / TILES, journal=known.get(f"{TILES}/{JOURNAL}"))
        record = known.get(VIEW, shards.view)
        return cls(view.parent, read_layout(view, record), shards, record)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns, (N+M, N)."""
        return self.layout.shape

    @property
    def dtype(self) -> str:
        """Type of the entries, `float32` or `float64`."""
        return self.layout.dtype

    def tiles(self) -> list[Tile]:
        """Every tile, in order, written or not."""
        return self.layout.tiles()

    def pending(self) -> list[Tile]:
        """The tiles that are not written yet, in order."""
        return [tile for tile in self.layout.tiles() if tile.name not in self.shards]

    @public
    def write(self, tile: Tile, block: np.ndarray) -> None:
        """Store one tile, which is durable on return.

        Args:
            tile: One of `layout.tiles()`.
            block: Its entries, (rows, columns), stored in the dtype of the layout.

        Raises:
            UsageError: The block has another shape.
            StorageError: The disk refuses.
        """
        if block.shape != tile.shape:
            raise UsageError(f"{tile.name} needs a block of shape {tile.shape}, got {block.shape}.")
        block = np.ascontiguousarray(block, dtype=self.layout.dtype)
        arrays = (
            {"tile": block, "mirror": np.ascontiguousarray(block.T)}
            if tile.mirrored
            else {"tile": block}
        )
        self.shards.write(tile.name, arrays)

    @public
    def read(
        self, rows: slice | np.ndarray = slice(None), columns: slice | np.ndarray = slice(None)
    ) -> np.ndarray:
        """Entries of the (N+M)×N matrix; the digest of every tile that is read is verified.

        Args:
            rows: A slice of the N+M rows, or integer indices in any order, repeats allowed.
            columns: Likewise of the N columns.

        Returns:
            Array (len(rows), len(columns)) in the dtype of the layout.

        Raises:
            UsageError: An index is out of range.
            MissingInputError: A required tile was never finished; the message names it.
            CorruptInputError: The bytes of a tile are not those that were written; the message
                names it.
        """
        row_index = _as_index(rows, self.shape[0], "row")
        column_index = _as_index(columns, self.shape[1], "column")
        for tile in self.layout.tiles():
            if _parts(tile, row_index, column_index):
                self._check_size(tile)
        out = np.empty((len(row_index), len(column_index)), dtype=self.layout.dtype)
        for tile in self.layout.tiles():
            self._copy_tile(tile, row_index, column_index, out)
        return out

    @public
    def tile(self, tile: Tile) -> np.ndarray:
        """The entries of one tile.

        The digest of its file is verified the first time, later the checksum of HDF5 alone.

        Raises:
            MissingInputError: The tile was never finished; the message names it.
            CorruptInputError: The tile is damaged; the message names it.
        """
        return self._checked(tile.name, self.shards.array(tile.name, "tile"), tile.shape)

    @public
    def verify(self) -> int:
        """Verify `gram.h5` and the digest of every tile, and return the number of tiles.

        Raises:
            MissingInputError: A tile does not exist; the message names the first.
            CorruptInputError: `gram.h5` or a tile is damaged; the message names the first.
        """
        check_view(self.folder / VIEW, self._view, self.layout)
        for tile in self.layout.tiles():
            self.shards.record(tile.name)
        return self.shards.verify()

    def identity(self) -> str:
        """Digest of all entries, from the digests of the tiles' files.

        Raises:
            MissingInputError: A tile was never finished; the message names it.
        """
        digests = [self.shards.record(tile.name).blake2b for tile in self.layout.tiles()]
        return durable.digest(durable.canonical_json([self.layout.__dict__, digests]).encode())

    def files(self) -> list[Path]:
        """Every file of the store."""
        return [
            self.folder / VIEW,
            *(self.shards.path(tile.name) for tile in self.layout.tiles()),
            self.shards.journal,
        ]

    @public
    def as_dataset(self) -> h5py.Dataset:
        """The view as an open, read-only h5py dataset, after every digest was verified once.

        A tile that is not finished reads as NaN. Close it with `dataset.file.close()`.

        Raises:
            CorruptInputError: `gram.h5` or a tile is damaged, or a file stands in the place of a
                tile that was never finished; the message names it.
        """
        check_view(self.folder / VIEW, self._view, self.layout)
        for tile in self.layout.tiles():
            if tile.name not in self.shards and files.is_there(self.shards.path(tile.name)):
                raise CorruptInputError(
                    f"{self.shards.path(tile.name)} must be listed in {self.shards.journal}, and"
                    " is not. Delete it and run `rmtgen gram`: only this tile is computed."
                )
            if tile.name in self.shards:
                self.tile(tile)
        return h5py.File(self.folder / VIEW, "r", locking="best-effort")["gram"]

    def _check_size(self, tile: Tile) -> None:
        """Check that a tile is there and its file large enough, before memory is taken.

        Raises:
            MissingInputError: The tile was never finished; the message names it.
            CorruptInputError: Its file is too small; the message names it.
        """
        least = math.prod(tile.shape) * np.dtype(self.dtype).itemsize
        if self.shards.record(tile.name).size < least:
            raise self._misshapen(tile.name, tile.shape)

    def _checked(self, name: str, array: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        if array is None or array.dtype != self.dtype or array.shape != shape:
            raise self._misshapen(name, shape)
        return array

    def _misshapen(self, name: str, shape: tuple[int, int]) -> CorruptInputError:
        return CorruptInputError(
            f"{self.shards.path(name)} must hold {self.dtype} numbers of shape {shape}, and does"
            " not. Delete the file and run the stage again: only this shard is computed again."
        )

    def _copy_tile(
        self, tile: Tile, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
    ) -> None:
        """Copy the entries of one tile, and of its transpose if it is mirrored, into `out`."""
        parts = _parts(tile, rows, columns)
        arrays = self.shards.read(tile.name) if parts else {}
        for name, shape, at, entries in parts:
            out[np.ix_(*at)] = self._checked(tile.name, arrays.get(name), shape)[np.ix_(*entries)]


_Part = tuple[str, tuple[int, int], tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _parts(tile: Tile, rows: np.ndarray, columns: np.ndarray) -> list[_Part]:
    """The arrays of a tile that hold entries of a selection.

    Returns:
        For each array its name and shape, and the rows and columns of the selection and of the
        array at which the entries are.
    """
    spans = [("tile", tile.rows, tile.columns)]
    if tile.mirrored:
        spans.append(("mirror", tile.columns, tile.rows))
    found = []
    for name, row_span, column_span in spans:
        row_at, column_at = _positions_in(rows, row_span), _positions_in(columns, column_span)
        if len(row_at) and len(column_at):
            shape = row_span.stop - row_span.start, column_span.stop - column_span.start
            entries = rows[row_at] - row_span.start, columns[column_at] - column_span.start
            found.append((name, shape, (row_at, column_at), entries))
    return found


def _positions_in(index: np.ndarray, span: slice) -> np.ndarray:
    """The positions of the entries of `index` that lie within `span`."""
    return np.flatnonzero((index >= span.start) & (index < span.stop))


def _as_index(selection: slice | np.ndarray, length: int, axis: str) -> np.ndarray:
    if isinstance(selection, slice):
        return np.arange(length)[selection]
    index = np.asarray(selection)
    if (
        index.ndim != 1
        or index.dtype.kind not in "iu"
        or (len(index) and not (0 <= index.min() <= index.max() < length))
    ):
        raise UsageError(
            f"{axis} indices must be a one-dimensional array of integers in [0, {length}), got"
            f" {index.dtype} of shape"
            f" {index.shape}{f' from {index.min()} to {index.max()}' if index.size else ''}."
        )
    return index


def _other_view(folder: Path, layout: GramLayout) -> ShardRecord:
    """The record of a gram.h5 whose bytes another version of HDF5 wrote.

    Raises:
        CorruptInputError: It has another layout, or is no Gram store.
    """
    view = folder / VIEW
    found = GramStore.open(folder).layout
    if found != layout:
        raise CorruptInputError(
            f"{view} holds {found}, expected {layout}. Remove {view} and {folder / TILES}/ to start"
            " again."
        )
    return ShardRecord(TILES, view.stat().st_size, durable.file_digest(view))
