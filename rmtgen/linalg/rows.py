"""Matrices whose rows are made as they are read.

What reads a matrix in blocks of rows takes one of these in place of a tensor, and a block at a time
is all that it holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Rows(ABC):
    """A matrix that is read as a tensor is: `matrix[part]`, `matrix.split(size)`, `len(matrix)`.

    Attributes:
        shape: Number of rows and columns.
        dtype: Type of the rows.
        device: Device on which they are made.
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, part: slice | Int64[Tensor, " k"]) -> Float[Tensor, "k columns"]:
        """Some rows, as a new tensor."""

    @abstractmethod
    def chosen(self, positions: slice | Int64[Tensor, " k"]) -> "Rows":
        """The matrix of some rows, none of which is made."""

    def split(self, size: int) -> Iterator[Float[Tensor, "k columns"]]:
        """All rows, so many at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


Matrix = Tensor | Rows


class Gathered(Rows):
    """Rows of a tensor, which may lie in a mapped file, in any order.

    Attributes:
        source: The tensor.
        positions: The rows of it.
    """

    def __init__(self, source: Float[Tensor, "N columns"], positions: Int64[Tensor, " n"]):
        self.source, self.positions = source, positions
        self.shape = len(positions), source.shape[1]
        self.dtype, self.device = source.dtype, source.device

    def __getitem__(self, part: slice | Int64[Tensor, " k"]) -> Float[Tensor, "k columns"]:
        return self.source[self.positions[part]]

    def chosen(self, positions: slice | Int64[Tensor, " k"]) -> "Gathered":
        """Rows at some of the positions."""
        return Gathered(self.source, self.positions[positions])


def gathered(matrix: Matrix, positions: Int64[Tensor, " n"]) -> Rows:
    """The matrix of some rows, none of which is copied."""
    return Gathered(matrix, positions) if isinstance(matrix, Tensor) else matrix.chosen(positions)


def first(matrix: Matrix, n: int) -> Matrix:
    """The matrix of the first n rows, none of which is copied."""
    return matrix[:n] if isinstance(matrix, Tensor) else matrix.chosen(slice(n))
