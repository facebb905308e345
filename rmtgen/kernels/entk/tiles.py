"""The cache of the blocks of samples behind the tiles of a kernel."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from rmtgen.kernels.entk.schedule import Span

Block = TypeVar("Block")


class BlockCache(Generic[Block]):
    """Cache of blocks by their spans, with a capacity in samples.

    Tiles sweep along the streamed side repeatedly, so the most recently used block is evicted
    first: all others are needed again sooner.

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


def within(positions: range, start: int) -> slice:
    """The entries of some positions in an array that begins at `start`."""
    return slice(positions.start - start, positions.stop - start)
