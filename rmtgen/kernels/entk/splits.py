"""Float32 rows as pairs of float16 halves, and their products as tensor cores sum them.

A row is divided into chunks. A chunk has a power of two s as scale, and an entry of it is
a = s (high + 2⁻¹¹ low) with both halves in float16, which take the four bytes of a float32. The
error of an entry is at most 2⁻²² of the entry or 2⁻³⁶ of the largest of its chunk. So the error of
a chunk is at most 2⁻²¹ of its norm, whatever its range: numbers that float16 cannot hold beside
larger ones change no product by more than its rounding error. A chunk with an infinity or NaN has
products that are not finite.

A product is high·high + 2⁻¹¹ (high·low + low·high), in float32 within a chunk and in float64 over
all chunks. What is dropped, low·low, is below rounding, but on a diagonal it has one sign and would
shift the smallest eigenvalues: there `Halves.dropped` is to be added. Tensor cores cut their sum
toward zero at each step, so that a sum of positive numbers comes out too small by an amount that
grows with its length. Therefore the sum of high·high leaves them after every `STEP` entries, and is
added by the ordinary units, which round to nearest.

This module is the arithmetic without tensor cores, in torch; `tensor_cores` does the same on them,
by functions of the same names.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

import torch
from jaxtyping import Float16, Float32, Float64, Int32
from torch import Tensor

from rmtgen.kernels.entk.sites import Window

LOW = 2**11
"""Factor of the low half: float16 holds 11 bits."""

STEP = 32
"""Entries whose sum tensor cores take at a time.

With 64 the smallest eigenvalues are less accurate than those of float32 products, and with 16 the
sum leaves the tensor cores too often.
"""

CHUNK = 2**11
"""Entries that a float32 sum takes, before it continues in float64."""

EXACT = 4
"""Entries that emulated tensor cores add exactly before they cut the sum to float32.

With this number the bias of the diagonal is that of an NVIDIA H100.
"""

_FIELDS = 1, 253
"""Least and largest exponent field of a scale, so that its inverse is a normal number as well."""

_DROPPED_BITS = 29
"""Bits of a float64 beyond those of a float32."""

_ENTRIES = 2**21
"""Entries of the work array of an emulated product."""


@dataclass(frozen=True, eq=False)
class Halves:
    """Rows in float16 halves.

    Attributes:
        parts: High and low half of every chunk; the last chunk is filled up with zeros.
        scales: Scale of every chunk, a power of two.
        low_squares: Sum of the squares of the low half of every chunk.
    """

    parts: Float16[Tensor, "n chunks 2 chunk"]
    scales: Float32[Tensor, "n chunks"]
    low_squares: Float32[Tensor, "n chunks"]

    def __len__(self) -> int:
        return len(self.parts)

    def dropped(self) -> Float64[Tensor, " n"]:
        """The product low·low of every row with itself."""
        squares = self.low_squares.double() * self.scales.double().square()
        return squares.sum(dim=1) / LOW**2

    def joined(self) -> Float64[Tensor, "n p"]:
        """The rows that the halves stand for, with the zeros at the end."""
        high, low = self.parts.double().unbind(dim=2)
        return ((high + low / LOW) * self.scales.double()[..., None]).flatten(1)


@dataclass(frozen=True, eq=False)
class HalvedFactor:
    """The input or the output gradient of n samples at a site in halves, positions first.

    A sample has a scale, and each of its positions one relative to that. So products of positions
    neither overflow float32 nor vanish beside each other where those of samples do not.

    Attributes:
        halves: One row for each position of each sample, and one chunk of channels; the scales are
            relative to those of the samples.
        scales: Scale of every sample.
    """

    halves: Halves
    scales: Float64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.scales)

    @classmethod
    def of(cls, halves: Halves, n: int) -> "HalvedFactor":
        """The factor of n samples, from halves with absolute scales."""
        scales = halves.scales.view(-1, n)
        largest = scales.amax(dim=0)
        relative = (scales / largest).view(-1, 1)
        return cls(Halves(halves.parts, relative, halves.low_squares), largest.double())


HalvedFactors = tuple[HalvedFactor, HalvedFactor]
"""Input and output gradient."""


@dataclass(frozen=True, eq=False)
class Terms:
    """The pairs of output positions t, t' of a window, and the pairs of input positions of each.

    Attributes:
        t_in: Number of input positions.
        t: Number of output positions.
        pairs: Input positions that t and t' meet at the same tap.
        ends: Where the pairs of each (t, t') begin, and the end.
    """

    t_in: int
    t: int
    pairs: Int32[Tensor, "taps 2"]
    ends: Int32[Tensor, " terms"]

    @classmethod
    def of(cls, window: Window, device: torch.device) -> "Terms":
        """The terms of a window."""
        met = _met(window)
        pairs, ends = [], [0]
        for first, second in product(met, repeat=2):
            pairs += [(first[tap], second[tap]) for tap in first if tap in second]
            ends.append(len(pairs))
        whole_numbers = {"dtype": torch.int32, "device": device}
        return cls(
            prod(window.grid),
            len(met),
            torch.tensor(pairs, **whole_numbers).view(-1, 2),
            torch.tensor(ends, **whole_numbers),
        )


def _met(window: Window) -> list[dict[int, int]]:
    """The input position at each tap, for every output position."""
    (height, width), (down, across) = window.out, window.stride
    met: list[dict[int, int]] = [{} for _ in range(height * width)]
    for tap, (top, left) in enumerate(product(*window.taps)):
        for y, x in product(range(top.low, top.high), range(left.low, left.high)):
            row = top.start + (y - top.low) * down
            column = left.start + (x - left.low) * across
            met[y * width + x][tap] = row * window.grid[1] + column
    return met


def split(rows: Float32[Tensor, "n t c"], chunk: int) -> Halves:
    """The positions of n samples in halves, in chunks of `chunk` entries.

    Returns:
        One row for each position of each sample, those of the first position before others.
    """
    whole = rows.transpose(0, 1).flatten(0, 1)
    chunks = -(-whole.shape[1] // chunk)
    whole = torch.nn.functional.pad(whole, (0, chunks * chunk - whole.shape[1]))
    whole = whole.unflatten(1, (chunks, chunk))
    field = (whole.abs().amax(dim=2).view(torch.int32) >> 23).clamp(*_FIELDS)
    scaled = whole * _power(254 - field)[..., None]
    high = scaled.half()
    low = ((scaled - high.float()) * LOW).half()
    squares = low.float().square().sum(dim=2)
    return Halves(torch.stack([high, low], dim=2), _power(field), squares)


def _power(field: Tensor) -> Float32[Tensor, "..."]:
    """The power of two with an exponent field."""
    return (field << 23).view(torch.float32)


def multiply(
    kernel: Float64[Tensor, "n m"],
    left: Halves,
    right: Halves,
    symmetric: bool,
    *,
    cut: bool = True,
) -> None:
    """Add left·rightᵀ to a kernel, with the rounding of tensor cores emulated.

    Args:
        kernel: Matrix to add to.
        left: n rows.
        right: m rows, with equal chunks.
        symmetric: Whether only the part on and below the diagonal needs to be correct.
        cut: Whether tensor cores cut their sums; else they round to nearest.
    """
    at_once = max(1, _ENTRIES // kernel.numel())
    for low in range(0, left.scales.shape[1], at_once):
        part = slice(low, low + at_once)
        found = _chunk_products(left.parts[:, part], right.parts[:, part], cut).double()
        rows, columns = (side.scales[:, part].T.double() for side in (left, right))
        kernel += found.mul_(rows[:, :, None]).mul_(columns[:, None, :]).sum(dim=0)


def pair_bytes(terms: Terms) -> int:
    """Memory that `contract` takes for each pair of samples, in bytes."""
    inputs = terms.t_in
    return 16 * (inputs**2 + terms.t**2)


def contract(
    kernel: Float64[Tensor, "n m"],
    terms: Terms,
    rows: HalvedFactors,
    columns: HalvedFactors,
    symmetric: bool,
) -> None:
    """Add Σ_tt' (g_it·g_jt')(a_it·a_jt') to a kernel, with the rounding of tensor cores emulated.

    Args:
        kernel: Matrix to add to.
        terms: The pairs of positions.
        rows: Factors of n samples.
        columns: Factors of m samples.
        symmetric: Whether only the part on and below the diagonal needs to be correct.
    """
    inputs, grads = (_position_products(*sides) for sides in zip(rows, columns, strict=True))
    total = torch.zeros_like(kernel, dtype=torch.float32)
    ends = terms.ends.tolist()
    for term, (low, high) in enumerate(pairwise(ends)):
        t, u = divmod(term, terms.t)
        p, q = terms.pairs[low:high].long().T
        total += grads[t, u] * inputs[p, q].sum(dim=0)
    left, right = (a.scales * g.scales for a, g in (rows, columns))
    kernel += total.double() * left[:, None] * right


def _position_products(left: HalvedFactor, right: HalvedFactor) -> Float32[Tensor, "t u n m"]:
    """The products of all positions."""
    sides = left.halves, right.halves
    found = left.scales.new_zeros(*map(len, sides))
    multiply(found, *sides, False)
    return (
        found.float().view(-1, len(left), found.shape[1]).unflatten(2, (-1, len(right)))
    ).transpose(1, 2)


def _chunk_products(
    left: Float16[Tensor, "n s 2 k"], right: Float16[Tensor, "m s 2 k"], cut: bool
) -> Float32[Tensor, "s n m"]:
    """The scaled product of each chunk."""
    (high, low), (other, other_low) = (side.permute(2, 1, 0, 3).double() for side in (left, right))
    cross = high.new_zeros(len(high), high.shape[1], other.shape[1], dtype=torch.float32)
    total = torch.zeros_like(cross)
    for start in range(0, high.shape[2], STEP):
        part = slice(start, start + STEP)
        cross = summed(cross, high[..., part], other_low[..., part], cut)
        cross = summed(cross, low[..., part], other[..., part], cut)
        total += summed(torch.zeros_like(total), high[..., part], other[..., part], cut)
    return total.add_(cross, alpha=1 / LOW)


def summed(
    total: Float32[Tensor, "s n m"],
    left: Float64[Tensor, "s n k"],
    right: Float64[Tensor, "s m k"],
    cut: bool,
) -> Float32[Tensor, "s n m"]:
    """The sum that tensor cores make of a total and a product."""
    exact = total.double()
    for start in range(0, left.shape[2], EXACT):
        part = slice(start, start + EXACT)
        exact.baddbmm_(left[..., part], right[..., part].mT)
        if cut:
            exact.view(torch.int64).bitwise_and_(-(1 << _DROPPED_BITS))
        else:
            exact.copy_(exact.float())
    return exact.float()
