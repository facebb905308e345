"""A Gram matrix in a store as the kernel of a ridge problem, read in parts at every use.

The notation is that of `rmtgen.ridge`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.linalg.modes import Modes, gram_modes
from rmtgen.ridge.kernel import ROWS, FeatureKernel, GramKernel, digest_of


@runtime_checkable
class Tile(Protocol):
    """A block of a stored Gram matrix."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def rows(self) -> slice:
        """Rows of the whole matrix (N+M, N)."""

    @property
    def columns(self) -> slice:
        """Columns of the whole matrix."""


@runtime_checkable
class StoredGram(Protocol):
    """K of N samples and k(test) of M below it, read in parts, as `rmtgen.GramStore` does."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N+M, N)."""

    @property
    def dtype(self) -> str:
        """`float32` or `float64`."""

    def tiles(self) -> Sequence[Tile]:
        """The blocks on and below the diagonal of K, and those of k(test), none in both."""

    def tile(self, tile: Tile) -> np.ndarray:
        """The entries of one of them."""

    def read(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """Any entries."""

    def identity(self) -> str:
        """Digest of all entries."""


@dataclass(frozen=True, eq=False)
class StoredKernel:
    """K of the pool and k(test, pool) in a store, read at every use.

    Attributes:
        store: The Gram matrix; its test rows are the test set.
        device: Device on which the work runs.
        budget: Number of bytes that a solver may take.
        probes: Number of random sign vectors in estimates of a trace.
        seed: Seed of the signs.
        spill: Folder for what a solver cannot hold; None: there is none.
        order: Positions in the store of the pool's samples; None: all, as they are stored.
    """

    store: StoredGram
    device: torch.device
    budget: float = math.inf
    probes: int = 16
    seed: int = 0
    spill: Path | None = None
    order: Int64[Tensor, " N"] | None = None

    @property
    def single(self) -> bool:
        """Whether K was rounded to float32."""
        return self.store.dtype == "float32"

    @property
    def stored(self) -> int:
        """Number of samples in the store."""
        return self.store.shape[1]

    @property
    def tests(self) -> int | None:
        """m, None without test samples."""
        rows, columns = self.store.shape
        return rows - columns or None

    def __len__(self) -> int:
        """N, the number of samples in the pool."""
        return self.stored if self.order is None else len(self.order)

    def unit(self) -> float:
        """1: a stored matrix is used as it is."""
        return 1.0

    def over(self, unit: float) -> "StoredKernel":
        """Itself: its unit is 1."""
        return self

    def chosen(self, order: Int64[Tensor, " n"]) -> "StoredKernel":
        """The kernel of some samples of the pool; nothing is read."""
        order = order.cpu()
        return replace(self, order=order if self.order is None else self.order[order])

    def diagonal(self) -> Float64[Tensor, " N"]:
        """K_ii of the pool."""
        found = torch.empty(self.stored, dtype=torch.float64, device=self.device)
        for tile in self.store.tiles():
            if tile.rows == tile.columns:
                found[tile.rows] = self._tile(tile).diagonal()
        return found[self._positions(len(self))]

    def block(self, most: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"] | None]:
        """K of the first n ≤ `most` samples, and k(test) of the first m ≤ `most`."""
        n = min(most, len(self))
        tests = slice(self.stored, self.stored + most)
        return self._square(n), None if self.tests is None else self._read(tests, n)

    def modes(self, n: int, intercept: bool) -> Modes:
        """Modes of the first n samples."""
        return gram_modes(self._square(n), intercept=intercept)

    def symmetric(self, n: int) -> Float64[Tensor, "n n"]:
        """K of the first n samples in float64, a new matrix."""
        if self.order is not None:
            return self._square(n).double()
        matrix = torch.empty(n, n, dtype=torch.float64, device=self.device)
        for rows, columns, block in self._blocks(n):
            matrix[rows, columns] = block
            matrix[columns, rows] = block.mT
        return matrix

    def panel(self, low: int, out: Float64[Tensor, "b high"]) -> None:
        """Fill in rows low … high of K up to the diagonal, high = low + b."""
        high = out.shape[1]
        if self.order is not None:
            out.copy_(self._read(self._positions(high)[low:], high))
            return
        for rows, columns, block in self._blocks(high, low):
            top = max(rows.start, low)
            out[top - low : rows.stop - low, columns] = block[top - rows.start :]

    def panel_bytes(self, rows: int) -> int:
        """Number of bytes that a panel of so many rows takes beside itself.

        They are those of a tile, and of the panel once more where rows come in another order.
        """
        tile = next(iter(self.store.tiles()))
        edges = (span.stop - span.start for span in (tile.rows, tile.columns))
        panel = 0 if self.order is None else rows * len(self)
        return 4 * 8 * math.prod(edges) + np.dtype(self.store.dtype).itemsize * panel

    def identity(self, n: int) -> str:
        """Digest of the store, and of the samples that are taken of it."""
        taken = "" if self.order is None else f" {digest_of([self.order[:n, None]])}"
        return f"{self.store.identity()}{taken}"

    def test_block(self, n: int) -> Float64[Tensor, "n m"]:
        """k(pool, test) of the first n samples."""
        return self._read(slice(self.stored, None), n).double().mT

    def test_scores(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """As `GramKernel.test_scores`."""
        n = modes.n
        rows = self._read(slice(self.stored, None), n)
        return GramKernel(self._square(n), rows).test_scores(modes, null_part)

    def multiply(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        """K of the first n samples times `columns`, one tile at a time."""
        placed = self._placed(columns)
        product = torch.zeros_like(placed)
        for rows, columns_at, block in self._blocks(len(placed)):
            product[rows] += block @ placed[columns_at]
            if rows != columns_at:
                product[columns_at] += block.mT @ placed[rows]
        return product[self._positions(len(columns))]

    def multiply_tests(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "m b"]:
        """k(test, pool) of the first n samples times `columns`, one tile at a time."""
        placed = self._placed(columns)
        product = columns.new_zeros(self.tests, columns.shape[1])
        for tile in self.store.tiles():
            if tile.rows.start >= self.stored and tile.columns.start < len(placed):
                part = placed[tile.columns]
                rows = slice(tile.rows.start - self.stored, tile.rows.stop - self.stored)
                product[rows] += self._tile(tile)[:, : len(part)] @ part
        return product

    def _positions(self, n: int) -> slice | Int64[Tensor, " n"]:
        """Where in the store the first n samples are."""
        return slice(n) if self.order is None else self.order[:n]

    def _placed(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "s b"]:
        """Columns in the order of the store, with zeros for samples that are not taken."""
        if self.order is None:
            return columns
        placed = columns.new_zeros(self.stored, columns.shape[1])
        placed[self._positions(len(columns))] = columns
        return placed

    def _square(self, n: int) -> Float[Tensor, "n n"]:
        """K of the first n samples."""
        return self._read(self._positions(n), n)

    def _read(self, rows: slice | Int64[Tensor, " r"], n: int) -> Float[Tensor, "r n"]:
        """Some rows of the store, and of them the columns of the first n samples.

        Raises:
            NumericalError: An entry is not finite.
        """
        rows, columns = (
            index if isinstance(index, slice) else index.numpy()
            for index in (rows, self._positions(n))
        )
        found = torch.from_numpy(self.store.read(rows, columns)).to(self.device)
        if not all(some.isfinite().all() for some in found.split(ROWS)):
            raise NumericalError(
                "gram must be finite: got NaN or infinite entries in rows that are read. Delete"
                " its tiles and run `rmtgen gram`."
            )
        return found

    def _blocks(
        self, n: int, low: int = 0
    ) -> Iterator[tuple[slice, slice, Float64[Tensor, "r c"]]]:
        """The blocks on and below the diagonal of n stored samples, with rows from `low` on."""
        for tile in self.store.tiles():
            if tile.rows.start < min(n, self.stored) and tile.rows.stop > low:
                rows, columns = (
                    slice(span.start, min(span.stop, n)) for span in (tile.rows, tile.columns)
                )
                block = self._tile(tile)
                yield rows, columns, block[: rows.stop - rows.start, : columns.stop - columns.start]

    def _tile(self, tile: Tile) -> Float64[Tensor, "r c"]:
        block = torch.from_numpy(self.store.tile(tile)).to(self.device, torch.float64)
        if not block.isfinite().all():
            raise NumericalError(
                f"gram must be finite: got {int((~block.isfinite()).sum())} NaN or infinite entries"
                f" of {block.numel()} in {tile.name}. Delete its file and run `rmtgen gram`:"
                " only this tile is computed."
            )
        return block


Kernel = GramKernel | FeatureKernel | StoredKernel
