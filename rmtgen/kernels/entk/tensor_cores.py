"""The arithmetic of `splits` on tensor cores, in Triton.

A program holds a tile of two sets of samples. It adds the products of a chunk to its tile of the
float64 kernel, and no other program writes there: the sums have one order. Programs above the
diagonal of a symmetric kernel return at once.

Each variant of a function takes a second or so to compile. So numbers are constants of a variant
only where they shape its loops, and arguments whose divisibility helps no access are not
specialised: the kernel of a ResNet-18 takes nine variants.

Triton comes with torch on Linux; this module is imported only where it is to be used.
"""

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from rmtgen.kernels.entk.splits import STEP, HalvedFactors, Halves, Terms

_GROUP = 8
"""Rows of tiles that share their columns in the cache."""


class Tile(NamedTuple):
    """Samples of a tile, entries of a step, warps of a program, and steps that are loaded ahead."""

    rows: int
    columns: int
    step: int = STEP
    warps: int = 4
    stages: int = 3


PRODUCT_TILE = Tile(128, 128, warps=8)
CONTRACT_TILE = Tile(128, 64, warps=8)


@triton.jit(do_not_specialize=["n", "chunks"])
def _split(
    parts, scales, low_squares, rows, n, by_sample, by_position, entries, chunks,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One chunk of one position of a sample; see `splits.split`."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    along = tl.arange(0, WIDTH)
    inside = along < tl.minimum(CHUNK, entries - chunk * CHUNK)
    start = rows + row % n * by_sample + row // n * by_position + chunk * CHUNK
    whole = tl.load(start + along, mask=inside, other=0)
    field = tl.max(tl.abs(whole), 0).to(tl.int32, bitcast=True) >> 23
    field = tl.minimum(tl.maximum(field, 1), 253)
    scaled = whole * ((254 - field) << 23).to(tl.float32, bitcast=True)
    high = scaled.to(tl.float16)
    low = ((scaled - high.to(tl.float32)) * 2048).to(tl.float16)
    at = row * chunks + chunk
    tl.store(parts + at * (2 * CHUNK) + along, high, mask=along < CHUNK)
    tl.store(parts + at * (2 * CHUNK) + CHUNK + along, low, mask=along < CHUNK)
    tl.store(scales + at, (field << 23).to(tl.float32, bitcast=True))
    tl.store(low_squares + at, tl.sum(low.to(tl.float32) * low.to(tl.float32), 0))


@triton.jit
def _chunk_product(
    left, right, CHUNK, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr
):
    """The scaled product of one chunk; `left` and `right` point at the chunk of each sample."""
    along = tl.arange(0, STEP)
    x_at, y_at = left[:, None] + along[None, :], right[:, None] + along[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    cross = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for _ in range(0, CHUNK, STEP):
        x, y = tl.load(x_at), tl.load(y_at)
        cross = tl.dot(x, tl.trans(tl.load(y_at + CHUNK)), cross)
        cross = tl.dot(tl.load(x_at + CHUNK), tl.trans(y), cross)
        # A limit on the imprecise sum keeps the compiler from making `total` the accumulator.
        total += tl.dot(x, tl.trans(y), max_num_imprecise_acc=STEP)
        x_at += STEP
        y_at += STEP
    return total + cross * (1 / 2048)


@triton.jit
def _add(kernel, stride, top, start, n, m, found, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Add a tile to the kernel in float64."""
    i, j = top + tl.arange(0, ROWS), start + tl.arange(0, COLUMNS)
    at = kernel + i[:, None].to(tl.int64) * stride + j[None, :]
    inside = (i[:, None] < n) & (j[None, :] < m)
    tl.store(at, tl.load(at, mask=inside, other=0) + found, mask=inside)


@triton.jit(do_not_specialize=["n", "chunks", "each", "symmetric"])
def _multiply(
    kernel, stride, depth, left, right, left_scales, right_scales, n, m, chunks, each, symmetric,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """The product of some chunks, `each` for every layer of the kernel."""
    down, across = tl.cdiv(n, ROWS), tl.cdiv(m, COLUMNS)
    program, wide, layer = tl.program_id(0), GROUP * across, tl.program_id(1)
    first = program // wide * GROUP
    height = tl.minimum(down - first, GROUP)
    top, start = (first + program % wide % height) * ROWS, program % wide // height * COLUMNS
    if (symmetric != 0) & (start > top + ROWS - 1):
        return
    i = ((top + tl.arange(0, ROWS)) % n).to(tl.int64) * chunks
    j = ((start + tl.arange(0, COLUMNS)) % m).to(tl.int64) * chunks
    for chunk in range(layer * each, tl.minimum(layer * each + each, chunks)):
        found = _chunk_product(
            left + (i + chunk) * (2 * CHUNK), right + (j + chunk) * (2 * CHUNK), CHUNK,
            ROWS, COLUMNS, STEP,
        ).to(tl.float64)  # fmt: skip
        found *= tl.load(left_scales + i + chunk)[:, None].to(tl.float64)
        found *= tl.load(right_scales + j + chunk)[None, :].to(tl.float64)
        _add(kernel + layer.to(tl.int64) * depth, stride, top, start, n, m, found, ROWS, COLUMNS)


@triton.jit
def _position_product(
    left, right, left_scales, right_scales, i, j, n, m, p, q, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """The product of position p of samples i with position q of samples j."""
    row, column = (p * n).to(tl.int64) + i, (q * m).to(tl.int64) + j
    found = _chunk_product(
        left + row * (2 * width), right + column * (2 * width), width, ROWS, COLUMNS, STEP
    )
    scale = tl.load(left_scales + row)[:, None] * tl.load(right_scales + column)[None, :]
    return found * scale


@triton.jit(do_not_specialize=["width", "n", "symmetric"])
def _contract(
    kernel, stride, a_left, a_right, a_left_scales, a_right_scales, g_left, g_right, g_left_scales,
    g_right_scales, left_scales, right_scales, pairs, ends, width, n, m, c_in, c_out, symmetric,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Σ_tt' (g_it·g_jt')(a_it·a_jt'), multiplied and summed in registers."""
    top, start = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if (symmetric != 0) & (start > top + ROWS - 1):
        return
    i, j = (top + tl.arange(0, ROWS)) % n, (start + tl.arange(0, COLUMNS)) % m
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for term in range(width * width):
        grads = _position_product(
            g_left, g_right, g_left_scales, g_right_scales, i, j, n, m, term // width,
            term % width, c_out, ROWS, COLUMNS, STEP,
        )  # fmt: skip
        inputs = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for tap in range(tl.load(ends + term), tl.load(ends + term + 1)):
            p, q = tl.load(pairs + 2 * tap), tl.load(pairs + 2 * tap + 1)
            inputs += _position_product(
                a_left, a_right, a_left_scales, a_right_scales, i, j, n, m, p, q, c_in,
                ROWS, COLUMNS, STEP,
            )  # fmt: skip
        total += grads * inputs
    scale = tl.load(left_scales + i)[:, None] * tl.load(right_scales + j)[None, :]
    _add(kernel, stride, top, start, n, m, total.to(tl.float64) * scale, ROWS, COLUMNS)


def split(rows: Tensor, chunk: int) -> Halves:
    """See `splits.split`."""
    if rows.stride(2) != 1:
        rows = rows.contiguous()
    n, t, entries = rows.shape
    chunks = -(-entries // chunk)
    parts = rows.new_empty(n * t, chunks, 2, chunk, dtype=torch.float16)
    scales, low_squares = rows.new_empty(2, n * t, chunks)
    _split[n * t, chunks](
        parts, scales, low_squares, rows, n, rows.stride(0), rows.stride(1), entries, chunks,
        CHUNK=chunk, WIDTH=triton.next_power_of_2(chunk),
    )  # fmt: skip
    return Halves(parts, scales, low_squares)


def multiply(
    kernel: Tensor,
    left: Halves,
    right: Halves,
    symmetric: bool,
    tile: Tile = PRODUCT_TILE,
    layers: int | None = None,
) -> None:
    """Add left·rightᵀ to a kernel; see `splits.multiply`.

    A kernel of fewer tiles than the device has processors is computed in layers, each the sum over
    some of the chunks, which are then added.
    """
    (n, m), (_, chunks, _, chunk) = kernel.shape, left.parts.shape
    tiles = triton.cdiv(n, tile.rows) * triton.cdiv(m, tile.columns)
    layers = layers or max(1, min(chunks, 2 * _processors(kernel.device) // tiles))
    into = kernel[None] if layers == 1 else kernel.new_zeros(layers, n, m)
    _multiply[tiles, layers](
        into, into.stride(1), into.stride(0), left.parts, right.parts, left.scales, right.scales,
        n, m, chunks, triton.cdiv(chunks, layers), int(symmetric), CHUNK=chunk, ROWS=tile.rows,
        COLUMNS=tile.columns, STEP=tile.step, GROUP=_GROUP, num_warps=tile.warps,
        num_stages=tile.stages,
    )  # fmt: skip
    if layers > 1:
        kernel += into.sum(dim=0)


def pair_bytes(terms: Terms) -> int:
    """See `splits.pair_bytes`: nothing is written for a pair but its entry of the kernel."""
    return 1


def contract(
    kernel: Tensor,
    terms: Terms,
    rows: HalvedFactors,
    columns: HalvedFactors,
    symmetric: bool,
    tile: Tile = CONTRACT_TILE,
) -> None:
    """Add Σ_tt' (g_it·g_jt')(a_it·a_jt') to a kernel; see `splits.contract`."""
    (a, g), (b, h), (n, m) = rows, columns, kernel.shape
    grid = triton.cdiv(m, tile.columns), triton.cdiv(n, tile.rows)
    _contract[grid](
        kernel, kernel.stride(0), a.halves.parts, b.halves.parts, a.halves.scales, b.halves.scales,
        g.halves.parts, h.halves.parts, g.halves.scales, h.halves.scales, a.scales * g.scales,
        b.scales * h.scales, terms.pairs, terms.ends, terms.t, n, m, a.halves.parts.shape[3],
        g.halves.parts.shape[3], int(symmetric), ROWS=tile.rows, COLUMNS=tile.columns,
        STEP=tile.step, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip


@cache
def _processors(device: torch.device) -> int:
    """Multiprocessors of a device; one of the interpreter."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count
