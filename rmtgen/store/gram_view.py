"""`gram.h5`: the virtual dataset over the tiles of a Gram matrix, written, read and checked."""

import contextlib
from pathlib import Path

import h5py

from rmtgen.store import durable
from rmtgen.store.gram_layout import GramLayout
from rmtgen.store.hdf5 import integer, open_hdf5, text
from rmtgen.store.shards import Piece, View

VIEW = "gram.h5"
"""File name of the view."""

TILES = "gram"
"""Folder name of the tile shards."""

LARGEST_TILE = 1 << 20
"""Widest tile in samples of a file that is read; one of that width takes 4 TiB."""


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


def view_of(layout: GramLayout) -> View:
    """The virtual dataset of all tiles."""
    pieces = []
    for tile in layout.tiles():
        pieces.append(Piece((tile.rows, tile.columns), tile.name, "tile", tile.shape))
        if tile.mirrored:
            pieces.append(Piece((tile.columns, tile.rows), tile.name, "mirror", tile.shape[::-1]))
    return _Described(layout.shape, layout.dtype, TILES, pieces)


def _open_view(
    view: Path, record: durable.Recorded | None
) -> contextlib.AbstractContextManager[h5py.File]:
    remedy = "Delete it and run `rmtgen gram` again."
    return open_hdf5(view, record, remedy, what="a Gram store of rmtgen", shards=TILES)


def read_layout(view: Path, record: durable.Recorded | None) -> GramLayout:
    """The layout that gram.h5 states.

    Raises:
        CorruptInputError: It is no Gram store, or not the recorded one.
    """
    with _open_view(view, record) as file:
        layout = GramLayout(
            integer(file, "n_train"),
            integer(file, "n_test"),
            text(file, "dtype"),
            integer(file, "tile"),
        )
        if min(layout.tile, layout.shape[0]) > LARGEST_TILE:
            raise ValueError(f"a tile must be at most {LARGEST_TILE} samples wide")
        gram = file["gram"]
        if not gram.is_virtual or gram.shape != layout.shape or gram.dtype != layout.dtype:
            raise KeyError(f"gram is not a virtual dataset of shape {layout.shape}")
        if layout.tile_count != gram.id.get_create_plist().get_virtual_count() - _mirrors(layout):
            raise KeyError(f"gram does not read {layout.tile_count} tiles")
    return layout


def check_view(view: Path, record: durable.Recorded | None, layout: GramLayout) -> None:
    """Check that gram.h5 is the recorded one, and reads the tiles that the layout has.

    Raises:
        CorruptInputError: It is not, or reads others.
    """
    with _open_view(view, record) as file:
        if _sources(file["gram"]) != _expected_sources(layout):
            raise ValueError("it reads other tiles than its layout has")


def _mirrors(layout: GramLayout) -> int:
    """Number of tiles that are stored with their transposes."""
    blocks = -(-layout.n_train // layout.tile)
    return blocks * (blocks - 1) // 2


def _sources(gram: h5py.Dataset) -> set[tuple]:
    """Where a virtual dataset takes what from: the corners in the view, the file and the array."""
    return {
        (*source.vspace.get_select_bounds(), source.file_name, source.dset_name)
        for source in gram.virtual_sources()
    }


def _expected_sources(layout: GramLayout) -> set[tuple]:
    return {
        (
            tuple(axis.start for axis in piece.place),
            tuple(axis.stop - 1 for axis in piece.place),
            f"{TILES}/{piece.shard}.h5",
            piece.array,
        )
        for piece in view_of(layout).pieces
    }
