"""The parameters of a kernel in chunks: it is the sum of the kernels of each chunk alone.

The gradients of a chunk take less memory a sample, so that more samples are held at once. If all
are, each passes once a chunk, and its gradients are formed once: with E entries a sample in chunks
that hold N samples in memory for C, N/C chunks and N²/C passes, where one schedule of all
parameters takes N²/2C passes at least, but forms what it holds anew for every block that streams
past. The backward pass of a chunk ends at its first layer. Products are the same, and so is the
kernel up to rounding; it is summed in float64.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from rmtgen.errors import NumericalError, UsageError

if TYPE_CHECKING:
    from rmtgen.kernels.entk.kernel import Entk

NUMBERS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of chunks of about equal size that are compared, beside those that hold all samples."""

HELD = (0.8, 0.9, 1.0)
"""Shares of the memory for gradients that chunks fill with all samples, of those compared."""

WORTH = 0.98
"""Share of the FLOPs of a kernel in one piece that a division into chunks may take."""


def chunks(
    entk: "Entk", rows: range, columns: range, below: range = range(0), *, sums: int = 0
) -> list["Entk"]:
    """The cheapest chunks of a kernel; itself alone where they save too little.

    A kernel whose gradients fit has one chunk, and so has a model that needs separate passes.

    Args:
        entk: The kernel.
        rows: Positions of its rows.
        columns: Positions of its columns; the same for the symmetric kernel.
        below: Positions of further rows of a symmetric kernel.
        sums: Bytes of the budget that the sums over the chunks take.
    """
    samples = len({*rows, *columns, *below})
    budget = entk.budget - sums - _network_bytes(entk)  # each chunk has a copy of its own
    whole = [entk]
    if samples <= entk.capacity or entk.passes.capture.fallback or budget < entk.budget // 2:
        return whole
    sides = rows, columns, below
    costs = [
        (sum(own.division(*sides)[0] for own in choice), choice)
        for choice in (whole, *_choices(entk, samples, budget))
    ]
    (before, _), (found, best) = costs[0], min(costs, key=lambda cost: cost[0])
    symmetric = rows == columns
    pairs = len(columns) * (len(below) + (len(rows) + 1) / 2 if symmetric else len(rows))
    products = pairs * entk.cost.meeting
    return best if found + products <= WORTH * (before + products) else whole


def _choices(entk: "Entk", samples: int, budget: int) -> Iterator[list["Entk"]]:
    """Divisions into chunks: of about equal size, and such that all samples are held."""
    order = _first_calls(entk)
    sizes = {name: entk.layout.restricted([name], 0).entries for name in order}
    whole = sum(sizes.values())
    held = {share * whole * entk.capacity / samples for share in HELD}
    for most in sorted(held | {whole / number for number in NUMBERS}):
        with contextlib.suppress(UsageError):  # the budget is too small beside the sums
            yield [
                entk.restricted(names, order[names[0]], budget) for names in _groups(sizes, most)
            ]


def _network_bytes(entk: "Entk") -> int:
    return sum(parameter.nbytes for parameter in entk.passes.capture.model.parameters())


def _first_calls(entk: "Entk") -> dict[str, int]:
    """The number of the first call that each parameter of the kernel enters, in order."""
    layout = entk.layout
    first: dict[str, int] = {}
    kept = {*layout.materialised, *(one.name for one in layout.factored.values())}
    for number, call in enumerate(entk.passes.probe[0].calls):
        for name in call.names():
            if name in kept:
                first.setdefault(name, number)
    return first


def _groups(sizes: dict[str, int], most: float) -> Iterator[list[str]]:
    """Consecutive parameters that take at most so many entries, or are one."""
    group: list[str] = []
    entries = 0
    for name, size in sizes.items():
        if group and entries + size > most:
            yield group
            group, entries = [], 0
        group.append(name)
        entries += size
    yield group


def sums_bytes(entk: "Entk", rows: range, columns: range) -> int:
    """Bytes of the sums over chunks that count to the budget: those that are not the result."""
    narrow = entk.passes.dtype == torch.float32 and entk.passes.device.type == "cpu"
    return 8 * len(rows) * len(columns) * len(entk.parts) if narrow else 0


def summed(
    groups: Sequence["Entk"], rows: range, columns: range, *, progress: bool = False
) -> dict[str, Float[Tensor, "n m"]]:
    """Every part of a kernel, in the type of its computation; see `Entk.blocks`.

    Args:
        groups: The chunks, or the kernel alone.
        rows: Positions of n images.
        columns: Positions of m images.
        progress: Show a bar per chunk on stderr if that is a terminal.
    """
    if len(groups) == 1:
        return groups[0].blocks(rows, columns, progress=progress)
    sums: dict[str, Tensor] = {}
    for group in groups:
        part = group.opened()
        for name in part.parts.keys() - sums.keys():
            sums[name] = torch.zeros(len(rows), len(columns), dtype=torch.float64)
        part.blocks(rows, columns, progress=progress, onto=sums)
        part.finish()
    return {name: _narrowed(groups[0], own, rows, columns) for name, own in sums.items()}


def _narrowed(entk: "Entk", kernel: Tensor, rows: range, columns: range) -> Tensor:
    """A finished part of the kernel in the type of the computation.

    Raises:
        NumericalError: A sum overflows it.
    """
    found = kernel.to(entk.passes.dtype)
    bad = (~found.isfinite()).nonzero()
    if len(bad):
        raise NumericalError(entk.passes.explain(rows[int(bad[0, 0])], columns[int(bad[0, 1])]))
    return found
