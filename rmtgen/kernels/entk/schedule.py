"""The division of a kernel into blocks, and the order of its tiles, by their cost.

A budget holds the gradients of C samples. One side of the kernel is held in large blocks; the other
is streamed past each of them in small ones. A sample that comes into memory meets at most C others
before it leaves, so that a kernel of E entries takes at least E/C passes; blocks of equal size take
2E/C, a held block of H samples E/H. But each streamed block makes the held one form its gradients
once more (`rules`), so small blocks are not the best: `divide` weighs passes against forming, in
FLOPs. It depends on sizes alone, never on measured times, and so does each bit of the kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np

Span = tuple[int, int]
"""Positions [start, stop) of the images of a block."""

_MOST_CHOICES = 64
"""Numbers of held blocks that are compared."""

_NONE = range(0)


@dataclass(frozen=True)
class SampleCost:
    """FLOPs of a sample in all weights.

    Attributes:
        passing: FLOPs of its pass through the network, each time that it comes into memory.
        forming: FLOPs of its gradients from their factors, in each tile.
        meeting: FLOPs of its products with another sample.
    """

    passing: float
    forming: float
    meeting: float = 1.0


@dataclass(frozen=True)
class Division:
    """How the two sides of a kernel are divided.

    Attributes:
        held: Samples per block of the side that is held.
        streamed: Samples per block of the side that is streamed.
        by_columns: Whether the columns are held, instead of the rows.
    """

    held: int
    streamed: int
    by_columns: bool = False


class Panel(NamedTuple):
    """A part of a kernel that is computed at once.

    Attributes:
        rows: Positions of its rows.
        columns: Positions of its columns.
        blocks: The blocks of samples that these lie in, which are held together; None: the panel is
            divided by itself.
    """

    rows: range
    columns: range
    blocks: tuple[Span, Span] | None = None


def divide(
    rows: range,
    columns: range,
    capacity: int,
    grain: int,
    cost: SampleCost,
    below: range = _NONE,
) -> tuple[float, Division]:
    """The cheapest division of a kernel; blocks begin at multiples of `grain` within their side.

    Args:
        rows: Positions of the n rows.
        columns: Positions of the m columns; the same for the symmetric kernel.
        capacity: Samples whose gradients fit into memory, at least two.
        grain: Samples that are not divided, unless fewer than two grains fit.
        cost: FLOPs of a sample.
        below: Positions of further rows of a symmetric kernel, which meet all its columns too.

    Returns:
        FLOPs of all passes and of all forming of gradients, and the division.
    """
    grain, symmetric = min(grain, capacity // 2), rows == columns
    if symmetric and not below and len(rows) <= capacity:
        return len(rows) * (cost.passing + cost.forming), Division(len(rows), len(rows))
    sides = [(len(rows), len(below), False)]
    if not symmetric:
        sides = [(len(rows), len(columns), False), (len(columns), len(rows), True)]
    choices = [
        (_flops(n, m, sizes, cost, symmetric), Division(*sizes, by_columns))
        for n, m, by_columns in sides
        for sizes in _sizes(n, m, capacity, grain, symmetric)
    ]
    return min(choices, key=lambda choice: choice[0])


def _sizes(n: int, m: int, capacity: int, grain: int, symmetric: bool) -> Iterator[tuple[int, int]]:
    """Samples per held block and per streamed one that fit together, for n held.

    Streamed are m, and in a symmetric kernel the n as well if they are not held at once. More held
    blocks than twice the fewest never pay: less would be held than streamed.
    """
    fewest = -(-n // ((capacity // grain - 1) * grain))
    most = min(2 * fewest, -(-n // grain))
    for number in np.unique(np.linspace(fewest, most, _MOST_CHOICES, dtype=int)):
        held = min(n, -(-n // (int(number) * grain)) * grain)
        room, longest = capacity - held, max(m, n) if symmetric and held < n else m
        yield held, longest if longest <= room else room // grain * grain


def _flops(n: int, m: int, sizes: tuple[int, int], cost: SampleCost, symmetric: bool) -> float:
    """FLOPs of all passes and of all forming of gradients."""
    held, streamed = sizes
    starts = np.arange(0, n, held)
    past = starts if symmetric else np.zeros_like(starts)
    tiles = symmetric - -past // streamed - -m // streamed
    passed = past.sum() + (m if m <= streamed and not symmetric else len(starts) * m)
    formed = np.minimum(held, n - starts) @ tiles + (past + m).sum()
    return float(cost.passing * (n + passed) + cost.forming * formed)


def tile_order(
    rows: range, columns: range, division: Division, below: range = _NONE
) -> Iterator[tuple[Span, Span]]:
    """The tiles of a kernel, with one triangle only if rows and columns are the same.

    The tile of a held block with itself is not divided. Every second held block is passed
    backwards, so that consecutive tiles share a block. Rows `below` a symmetric kernel meet each
    block while it is held.
    """
    held, streamed = (columns, rows) if division.by_columns else (rows, columns)
    for number, own in enumerate(spans(held, division.held)):
        past = streamed if rows != columns else range(streamed.start, own[0])
        tiles = [(own, other) for other in spans(past, division.streamed)]
        if rows == columns:
            tiles += [(other, own) for other in spans(below, division.streamed)] + [(own, own)]
        for row, column in tiles[::-1] if number % 2 else tiles:
            yield (column, row) if division.by_columns else (row, column)


def least_passes(images: int, entries: int, capacity: int, workers: int = 1) -> int:
    """The fewest passes that any order of tiles takes, of workers that share it equally.

    Of the two samples of an entry one came later to the worker that computes it, and met at most
    `capacity` samples when it came, itself included; the k-th to come met at most k. So P samples
    leave a worker at most P (P + 1) / 2 entries, and `capacity` a sample where P is larger.

    Args:
        images: Samples of the kernel, each of which passes at least once.
        entries: Entries that are computed.
        capacity: Samples whose gradients fit into the memory of a worker.
        workers: Number of workers.
    """
    each, filled = entries / workers, capacity * (capacity + 1) / 2
    passes = (
        sqrt(2 * each + 0.25) - 0.5 if each <= filled else capacity + (each - filled) / capacity
    )
    return max(images, ceil(workers * passes * (1 - 1e-12)))


def spans(positions: range, edge: int) -> list[Span]:
    """A range in pieces of `edge`, the last of which may be shorter."""
    starts = range(positions.start, positions.stop, edge)
    return [(start, min(start + edge, positions.stop)) for start in starts]
