"""GramStore: the Gram matrix of N train and M test samples on disk, as tiles behind one virtual
(N+M)×N view.

`gram.h5` is an HDF5 virtual dataset named "gram" over the tile shards in `gram/`, so any HDF5
reader sees one matrix; rows 0…N−1 are the training samples, rows N…N+M−1 the test samples, columns
the training samples; attributes of the dataset say so in the file. A tile that is not there yet
reads as NaN through HDF5 (it cannot refuse); `GramStore.read` refuses it by name. Of the symmetric
train block only the tiles on and below the diagonal are computed; a shard below the diagonal also
holds its transpose, because a virtual dataset cannot transpose.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.store import durable
from rmtgen.store.shards import Piece, ShardSet, View, hdf5_image

VIEW = "gram.h5"
TILES = "gram"
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Tile:
    """One block of the Gram matrix: rows [row_start, row_stop) of the (N+M)×N view, columns
    [column_start, column_stop).
    """

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int
    mirrored: bool
    """Whether the block lies strictly below the diagonal of the train block, so that its transpose
    is another block."""

    @property
    def name(self) -> str:
        """The shard's name; sorts by row, then column."""
        return f"tile-{self.row_start:08d}-{self.column_start:08d}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the block."""
        return self.row_stop - self.row_start, self.column_stop - self.column_start

    @property
    def symmetric(self) -> bool:
        """Whether the block lies on the diagonal of the train block."""
        return self.row_start == self.column_start


@dataclass(frozen=True)
class GramLayout:
    """The shape of a stored Gram matrix: N train and M test samples, dtype of the entries, tile
    edge in samples.
    """

    n_train: int
    n_test: int
    dtype: str = "float64"
    tile: int = 1024

    def __post_init__(self):
        if self.n_train < 1 or self.n_test < 0 or self.tile < 1 or self.dtype not in DTYPES:
            raise UsageError(
                f"a Gram layout needs n_train ≥ 1, n_test ≥ 0, tile ≥ 1 and a dtype of {DTYPES}:"
                f" got n_train={self.n_train}, n_test={self.n_test}, tile={self.tile},"
                f" dtype={self.dtype!r}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the virtual view, (N+M, N)."""
        return self.n_train + self.n_test, self.n_train

    def tiles(self) -> list[Tile]:
        """Every tile that has to be computed: the train block's lower half, then the test rows.
        Blocks never straddle the two.
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
        """Bytes of all entries: mirrored tiles are stored both ways, so every entry of the view is
        there once.
        """
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


class GramStore:
    """A Gram matrix on disk. `open` one that exists, `create` one to fill; reading verifies every
    tile's digest.

    Attributes:
        layout: the `GramLayout`.
        folder: the directory that holds `gram.h5` and `gram/`.
    """

    def __init__(self, folder: Path, layout: GramLayout, basis: str | None = None):
        self.folder, self.layout = folder, layout
        self.shards = ShardSet(folder / TILES, basis)

    @classmethod
    def create(
        cls, folder: str | Path, layout: GramLayout, basis: str | None = None
    ) -> "GramStore":
        """Start a store in `folder`, or go on with the unfinished one there.

        Args:
            folder: the run directory.
            layout: shape, dtype and tile edge.
            basis: digest of what the matrix is made from, so that tiles of two matrices are never
                mixed; None: not checked.

        Raises:
            StaleInputError: the tiles there have another basis.
            CorruptInputError: another layout's store is there.
            StorageError: the disk refuses.
        """
        folder = durable.make_folder(Path(folder))
        if (folder / VIEW).exists():
            found = _read_layout(folder / VIEW)
            if found != layout:
                raise CorruptInputError(
                    f"{folder / VIEW} holds {found}, expected {layout}. Remove {folder / VIEW} and"
                    f" {folder / TILES}/ to start anew."
                )
        else:
            durable.write_bytes(
                folder / VIEW, hdf5_image({}, {"gram": _view(layout)}, layout.__dict__)
            )
        return cls(folder, layout, basis)

    @classmethod
    def open(cls, path: str | Path) -> "GramStore":
        """Open the store in a run directory, or by its `gram.h5`.

        Raises:
            MissingInputError: there is no `gram.h5`.
            CorruptInputError: it is not a Gram store.
        """
        path = Path(path)
        view = path / VIEW if path.is_dir() else path
        if not view.exists():
            raise MissingInputError(f"no Gram matrix at {view}. Make one: `make gram`.")
        return cls(view.parent, _read_layout(view))

    @property
    def shape(self) -> tuple[int, int]:
        """(N+M, N)."""
        return self.layout.shape

    @property
    def dtype(self) -> str:
        """Type of the entries, `float32` or `float64`."""
        return self.layout.dtype

    def tiles(self) -> list[Tile]:
        """Every tile, in order, written or not."""
        return self.layout.tiles()

    def pending(self) -> list[Tile]:
        """The tiles still to be written, in order."""
        return [tile for tile in self.layout.tiles() if tile.name not in self.shards]

    def write(self, tile: Tile, block: np.ndarray) -> None:
        """Store one tile, durable when this returns.

        Args:
            tile: one of `layout.tiles()`.
            block: (rows, columns) entries, stored as the layout's dtype.

        Raises:
            UsageError: the block has another shape.
            StorageError: the disk refuses.
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

    def read(
        self, rows: slice | np.ndarray = slice(None), columns: slice | np.ndarray = slice(None)
    ) -> np.ndarray:
        """Entries of the (N+M)×N matrix at the given rows and columns, every tile's digest compared
        on the way.

        Args:
            rows: a slice, or integer indices in any order, repeats allowed, into the N+M rows.
            columns: likewise into the N columns.

        Returns:
            (len(rows), len(columns)) array of the layout's dtype.

        Raises:
            UsageError: an index is out of range.
            MissingInputError: a tile that is needed was never finished, by name.
            CorruptInputError: a tile's bytes are not those that were written, by name.
        """
        row_index = _as_index(rows, self.shape[0], "row")
        column_index = _as_index(columns, self.shape[1], "column")
        out = np.empty((len(row_index), len(column_index)), dtype=self.layout.dtype)
        for tile in self.layout.tiles():
            self._copy_tile(tile, row_index, column_index, out)
        return out

    def tile(self, tile: Tile) -> np.ndarray:
        """The entries of one tile, in one reading of them: HDF5's own checksum is compared, the
        digest is not (`verify`).

        Raises:
            MissingInputError: it was never finished, by name.
            CorruptInputError: it cannot be read, by name.
        """
        return self.shards.array(tile.name, "tile")

    def verify(self) -> int:
        """Compare every tile with its digest; the number of tiles that passed.

        Raises:
            MissingInputError, CorruptInputError: naming the first tile that is missing or damaged.
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

    def as_dataset(self) -> h5py.Dataset:
        """The virtual view as an open, read-only h5py dataset; close it with
        `dataset.file.close()`. Digests are not compared.
        """
        return h5py.File(self.folder / VIEW, "r", locking="best-effort")["gram"]

    def _copy_tile(
        self, tile: Tile, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
    ) -> None:
        """Copy what `out` needs of one shard: the tile, and its transpose where it is mirrored."""
        row_span, column_span = (
            (tile.row_start, tile.row_stop),
            (tile.column_start, tile.column_stop),
        )
        placements = [(row_span, column_span, False)] + (
            [(column_span, row_span, True)] if tile.mirrored else []
        )
        wanted = [
            (
                np.flatnonzero(_within(rows, r)),
                np.flatnonzero(_within(columns, c)),
                r[0],
                c[0],
                transposed,
            )
            for r, c, transposed in placements
        ]
        wanted = [place for place in wanted if len(place[0]) and len(place[1])]
        if not wanted:
            return
        block = self.shards.read(tile.name)["tile"]
        for row_at, column_at, row_start, column_start, transposed in wanted:
            source = block.T if transposed else block
            out[np.ix_(row_at, column_at)] = source[
                np.ix_(rows[row_at] - row_start, columns[column_at] - column_start)
            ]


def _blocks(start: int, stop: int, edge: int) -> list[tuple[int, int]]:
    return [(at, min(at + edge, stop)) for at in range(start, stop, edge)]


def _within(index: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    return (index >= span[0]) & (index < span[1])


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
    """A view whose dataset says in attributes what its rows and columns are, for readers that know
    nothing of this package.
    """

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
        rows, columns = (
            slice(tile.row_start, tile.row_stop),
            slice(tile.column_start, tile.column_stop),
        )
        pieces.append(Piece((rows, columns), tile.name, "tile", tile.shape))
        if tile.mirrored:
            pieces.append(Piece((columns, rows), tile.name, "mirror", tile.shape[::-1]))
    return _Described(layout.shape, layout.dtype, TILES, pieces)


def _read_layout(view: Path) -> GramLayout:
    try:
        with h5py.File(view, "r", locking="best-effort") as file:
            attributes = {key: file.attrs[key] for key in ("n_train", "n_test", "dtype", "tile")}
            if file["gram"].is_virtual is False:
                raise KeyError("gram is not a virtual dataset")
    except (OSError, KeyError) as error:
        raise CorruptInputError(
            f"{view} is not a Gram store of rmtgen ({error}). Remove it and run `make gram`."
        ) from error
    return GramLayout(
        int(attributes["n_train"]),
        int(attributes["n_test"]),
        str(attributes["dtype"]),
        int(attributes["tile"]),
    )
