"""The Gram matrix of N training and M test samples on disk, as tiles behind an (N+M)×N view.

`gram.h5` holds a virtual dataset "gram" over the tile shards in `gram/`, so that any HDF5 reader
sees one matrix. Rows 0…N−1 are the training samples, rows N…N+M−1 the test samples, and columns the
training samples; attributes of the dataset document this in the file. A tile that does not exist
yet reads as NaN through HDF5; `GramStore.read` refuses it by name. Of the symmetric training block
only the tiles on and below the diagonal are computed. A shard below the diagonal also holds its
transpose, because a virtual dataset cannot transpose.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.store import durable
from rmtgen.store.shards import Piece, ShardSet, View, hdf5_image

VIEW = "gram.h5"
"""File name of the view."""

TILES = "gram"
"""Folder name of the tile shards."""

DTYPES = ("float32", "float64")
"""Types of the entries."""


@dataclass(frozen=True)
class Tile:
    """One block of the Gram matrix.

    Attributes:
        row_start: First row in the (N+M)×N view.
        row_stop: Row after the last.
        column_start: First column.
        column_stop: Column after the last.
        mirrored: Whether the block is strictly below the diagonal of the training block, so that
            its transpose is another block.
    """

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int
    mirrored: bool

    @property
    def name(self) -> str:
        """The name of the shard, which sorts by row, then by column."""
        return f"tile-{self.row_start:08d}-{self.column_start:08d}"

    @property
    def rows(self) -> slice:
        """The rows in the view."""
        return slice(self.row_start, self.row_stop)

    @property
    def columns(self) -> slice:
        """The columns in the view."""
        return slice(self.column_start, self.column_stop)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.row_stop - self.row_start, self.column_stop - self.column_start

    @property
    def symmetric(self) -> bool:
        """Whether the block is on the diagonal of the training block."""
        return self.row_start == self.column_start


@dataclass(frozen=True)
class GramLayout:
    """The shape of a stored Gram matrix.

    Attributes:
        n_train: Number N of training samples.
        n_test: Number M of test samples.
        dtype: Type of the entries, one of `DTYPES`.
        tile: Edge of a tile in samples.
    """

    n_train: int
    n_test: int
    dtype: str = "float64"
    tile: int = 1024

    def __post_init__(self) -> None:
        if self.n_train < 1 or self.n_test < 0 or self.tile < 1 or self.dtype not in DTYPES:
            raise UsageError(
                f"a Gram layout needs n_train ≥ 1, n_test ≥ 0, tile ≥ 1 and a dtype of {DTYPES}:"
                f" got n_train={self.n_train}, n_test={self.n_test}, tile={self.tile},"
                f" dtype={self.dtype!r}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the view, (N+M, N)."""
        return self.n_train + self.n_test, self.n_train

    def tiles(self) -> list[Tile]:
        """Every tile to compute: the lower half of the training block, then the test rows.

        No tile holds both training and test rows.
        """
        columns = _blocks(0, self.n_train, self.tile)
        train = [
            Tile(*rows, *cols, mirrored=rows[0] > cols[0])
            for rows in columns
            for cols in columns
            if rows[0] >= cols[0]
        ]
        test_rows = _blocks(self.n_train, self.shape[0], self.tile)
        return train + [
            Tile(*rows, *cols, mirrored=False) for rows in test_rows for cols in columns
        ]

    @property
    def bytes_on_disk(self) -> int:
        """Number of bytes of all entries; a mirrored tile is stored with its transpose."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


class GramStore:
    """A Gram matrix on disk: `create` a store to write to, or `open` an existing one.

    Reading verifies the digest of every tile.

    Attributes:
        layout: The shape of the matrix.
        folder: The directory that holds `gram.h5` and `gram/`.
    """

    def __init__(self, folder: Path, layout: GramLayout, fingerprint: str | None = None):
        self.folder, self.layout = folder, layout
        self.shards = ShardSet(folder / TILES, fingerprint)

    @classmethod
    @public
    def create(
        cls, folder: str | Path, layout: GramLayout, fingerprint: str | None = None
    ) -> "GramStore":
        """Start a store in `folder`, or resume the unfinished one there.

        Args:
            folder: The run directory.
            layout: Shape, dtype and tile edge.
            fingerprint: Digest of what the matrix is computed from, so that tiles of two matrices
                are never mixed; None: not checked.

        Raises:
            StaleInputError: The existing tiles have another fingerprint.
            CorruptInputError: The folder holds a store of another layout.
            StorageError: The disk refuses.
        """
        folder = durable.make_folder(Path(folder))
        if (folder / VIEW).exists():
            found = _read_layout(folder / VIEW)
            if found != layout:
                raise CorruptInputError(
                    f"{folder / VIEW} holds {found}, expected {layout}. Remove {folder / VIEW} and"
                    f" {folder / TILES}/ to start again."
                )
        else:
            durable.write_bytes(
                folder / VIEW, hdf5_image({}, {"gram": _view(layout)}, layout.__dict__)
            )
        return cls(folder, layout, fingerprint)

    @classmethod
    @public
    def open(cls, path: str | Path) -> "GramStore":
        """Open the store in a run directory, or by its `gram.h5`.

        Raises:
            MissingInputError: `gram.h5` does not exist.
            CorruptInputError: It is not a Gram store.
        """
        path = Path(path)
        view = path / VIEW if path.is_dir() else path
        if not view.exists():
            raise MissingInputError(f"no Gram matrix at {view}. Make one: `rmtgen gram`.")
        return cls(view.parent, _read_layout(view))

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
        out = np.empty((len(row_index), len(column_index)), dtype=self.layout.dtype)
        for tile in self.layout.tiles():
            self._copy_tile(tile, row_index, column_index, out)
        return out

    @public
    def tile(self, tile: Tile) -> np.ndarray:
        """The entries of one tile; the checksum of HDF5 is verified, the digest is not.

        Raises:
            MissingInputError: The tile was never finished; the message names it.
            CorruptInputError: The tile cannot be read; the message names it.
        """
        return self.shards.array(tile.name, "tile")

    @public
    def verify(self) -> int:
        """Verify the digest of every tile, and return their number.

        Raises:
            MissingInputError: A tile does not exist; the message names the first.
            CorruptInputError: A tile is damaged; the message names the first.
        """
        for tile in self.layout.tiles():
            self.shards.record(tile.name)
        return self.shards.verify()

    def files(self) -> list[Path]:
        """Every file of the store."""
        return [
            self.folder / VIEW,
            *(self.shards.path(tile.name) for tile in self.layout.tiles()),
            self.shards.journal,
        ]

    @public
    def as_dataset(self) -> h5py.Dataset:
        """The view as an open, read-only h5py dataset, without verification of digests.

        Close it with `dataset.file.close()`.
        """
        return h5py.File(self.folder / VIEW, "r", locking="best-effort")["gram"]

    def _copy_tile(
        self, tile: Tile, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
    ) -> None:
        """Copy the entries of one tile, and of its transpose if it is mirrored, into `out`."""
        spans = [("tile", tile.rows, tile.columns)]
        if tile.mirrored:
            spans.append(("mirror", tile.columns, tile.rows))
        wanted = []
        for name, row_span, column_span in spans:
            row_at, column_at = _positions_in(rows, row_span), _positions_in(columns, column_span)
            if len(row_at) and len(column_at):
                entries = rows[row_at] - row_span.start, columns[column_at] - column_span.start
                wanted.append((name, np.ix_(row_at, column_at), np.ix_(*entries)))
        arrays = self.shards.read(tile.name) if wanted else {}
        for name, at, entries in wanted:
            out[at] = arrays[name][entries]


def _blocks(start: int, stop: int, edge: int) -> list[tuple[int, int]]:
    return [(at, min(at + edge, stop)) for at in range(start, stop, edge)]


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


class _Described(View):
    """A view whose dataset has attributes that describe its rows and columns to other readers."""

    def create(self, file: h5py.File, name: str) -> None:
        super().create(file, name)
        n_test, n_train = self.shape[0] - self.shape[1], self.shape[1]
        file[name].attrs.update(
            {
                "description": (
                    "Gram matrix: entry (i, j) is the kernel k(x_i, x_j) of row i and column j; NaN"
                    " in a tile not finished yet"
                ),
                "rows": (
                    f"the {n_train} training samples, in the order of train_labels in features.h5,"
                    f" then the {n_test} test samples"
                ),
                "columns": f"the {n_train} training samples, in the same order",
                "units": (
                    "squared unit of the features; of an empirical NTK, squared unit of the output"
                    " over that of the parameters"
                ),
            }
        )


def _view(layout: GramLayout) -> View:
    pieces = []
    for tile in layout.tiles():
        pieces.append(Piece((tile.rows, tile.columns), tile.name, "tile", tile.shape))
        if tile.mirrored:
            pieces.append(Piece((tile.columns, tile.rows), tile.name, "mirror", tile.shape[::-1]))
    return _Described(layout.shape, layout.dtype, TILES, pieces)


def _read_layout(view: Path) -> GramLayout:
    try:
        with h5py.File(view, "r", locking="best-effort") as file:
            attributes = {key: file.attrs[key] for key in ("n_train", "n_test", "dtype", "tile")}
            if file["gram"].is_virtual is False:
                raise KeyError("gram is not a virtual dataset")
    except (OSError, KeyError) as error:
        raise CorruptInputError(
            f"{view} is not a Gram store of rmtgen ({error}). Remove it and run `rmtgen gram`."
        ) from error
    return GramLayout(
        int(attributes["n_train"]),
        int(attributes["n_test"]),
        str(attributes["dtype"]),
        int(attributes["tile"]),
    )
