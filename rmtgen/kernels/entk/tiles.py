"""The order of the tiles of a kernel, and the cache of the blocks of samples behind them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Span = tuple[int, int]
"""Positions [start, stop) of the images of a block."""

Block = TypeVar("Block")


class BlockCache(Generic[Block]):
    """Cache of blocks by their spans, with a capacity in samples.

    Tiles sweep along the columns repeatedly, so the most recently used block is evicted first: all
    others are needed again sooner.

    Attributes:
        capacity: Maximum number of samples in the cache; one pair of blocks may exceed it.
        computed: Number of samples whose blocks were computed.
    """

    def __init__(self, capacity: int):
        self.capacity, self.computed = capacity, 0
        self.blocks: OrderedDict[Span, Block] = OrderedDict()

    def get(self, span: Span, compute: Callable[[Span], Block], *, partner: Span) -> Block:
        """A block, which is computed if it is not in the cache.

        Args:
            span: Span of the block.
            compute: Function of the span. The cache keeps no reference to it, since a method of the
                owner would make a reference cycle that delays the release of memory.
            partner: Span of the other block of the tile, which is never evicted.
        """
        if span not in self.blocks:
            evictable = [held for held in reversed(self.blocks) if held != partner]
            while evictable and samples_in(*self.blocks, span) > self.capacity:
                del self.blocks[evictable.pop(0)]
            self.blocks[span] = compute(span)
            self.computed += samples_in(span)
        self.blocks.move_to_end(span)
        return self.blocks[span]

    def clear(self) -> None:
        """Remove all blocks."""
        self.blocks.clear()


def samples_in(*spans: Span) -> int:
    """Number of samples in all spans."""
    return sum(stop - start for start, stop in spans)


def tile_order(rows: range, columns: range, edge: int) -> Iterator[tuple[Span, Span]]:
    """The tiles of a kernel, with one triangle only if rows and columns are the same.

    Every second row of tiles runs backwards, so that consecutive tiles share a block.
    """
    across = _spans(columns, edge)
    for number, row in enumerate(_spans(rows, edge)):
        tiles = [span for span in across if rows != columns or span[0] <= row[0]]
        for column in tiles[::-1] if number % 2 else tiles:
            yield row, column


def _spans(positions: range, edge: int) -> list[Span]:
    starts = range(positions.start, positions.stop, edge)
    return [(start, min(start + edge, positions.stop)) for start in starts]
