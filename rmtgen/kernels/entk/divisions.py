"""Divisions of a kernel into parts: spans of samples, and the lower triangle."""

from collections.abc import Iterator

from jaxtyping import Float64
from torch import Tensor

DIAGONAL_EDGE = 128
"""Maximum number of rows of a product on the diagonal.

More rows waste work above the diagonal, and fewer rows are slower.
"""


def spans(whole: slice, size: int) -> Iterator[slice]:
    """A span in pieces of at most `size`."""
    for start in range(whole.start, whole.stop, size):
        yield slice(start, min(start + size, whole.stop))


def pieces(kernel: Float64[Tensor, "n m"], symmetric: bool) -> list[tuple[slice, slice]]:
    """The parts of a kernel that are computed."""
    rows, columns = kernel.shape
    return list(triangle(0, rows)) if symmetric else [(slice(0, rows), slice(0, columns))]


def triangle(low: int, high: int) -> Iterator[tuple[slice, slice]]:
    """The lower triangle as a few large squares, whose products are fastest.

    It is the square below the diagonal, and recursively the triangles of both halves, down to
    squares of at most `DIAGONAL_EDGE` rows on the diagonal.
    """
    middle = (low + high) // 2
    if high - low <= DIAGONAL_EDGE:
        yield slice(low, high), slice(low, high)
        return
    yield slice(middle, high), slice(low, middle)
    yield from triangle(low, middle)
    yield from triangle(middle, high)
