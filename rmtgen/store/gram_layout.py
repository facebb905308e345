"""The shape of a stored Gram matrix, and the tiles that it is computed in."""

from dataclasses import dataclass

import numpy as np

from rmtgen.scalars import choice, whole_number

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
        for name, least in (("n_train", 1), ("n_test", 0), ("tile", 1)):
            whole_number(getattr(self, name), f"{name} of a Gram layout", least=least)
        choice(self.dtype, "dtype of a Gram layout", DTYPES)

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
    def tile_count(self) -> int:
        """Number of tiles, without making a list of them."""
        blocks, test_blocks = (-(-size // self.tile) for size in (self.n_train, self.n_test))
        return blocks * (blocks + 1) // 2 + test_blocks * blocks

    @property
    def bytes_on_disk(self) -> int:
        """Number of bytes of all entries; a mirrored tile is stored with its transpose."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


def _blocks(start: int, stop: int, edge: int) -> list[tuple[int, int]]:
    return [(at, min(at + edge, stop)) for at in range(start, stop, edge)]
