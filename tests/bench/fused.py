"""Contract and shift as one kernel in Triton: K_ij = Σ_tt' (g_it·g_jt')(a_it·a_jt').

A program holds a tile of samples i, j. For each pair of positions t, t' it multiplies both factors
with two `tl.dot`, and adds the entrywise product to the tile in registers: no array of t² numbers a
pair is written. The input product sums over the taps that both positions meet, read as pixels, and
so does not touch padding.
"""

from itertools import product

import torch
import triton
import triton.language as tl
from torch import Tensor

from rmtgen.kernels.entk.sites import Site
from tests.bench.splits import LOW


@triton.jit
def _rows(base, position, samples, count, channels, start, BLOCK: tl.constexpr):
    """Some channels of a tile of samples at one position of (positions, count, channels)."""
    along = start + tl.arange(0, BLOCK)
    at = position * count * channels + samples[:, None] * channels + along[None, :]
    return tl.load(
        base + at, mask=(samples[:, None] < count) & (along[None, :] < channels), other=0
    )


@triton.jit
def _single(  # noqa: PLR0917 - all that a kernel reads
    kernel, a_rows, a_columns, g_rows, g_columns, halfway, pairs, ends, n, m, terms, c_in, c_out,
    symmetric, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Float32 factors; `halfway` is not read."""
    low, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if symmetric and left > low + ROWS - 1:
        return
    i, j = low + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for term in range(terms):
        t, u = term // WIDTH, term % WIDTH
        grads = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for start in range(0, c_out, BLOCK):
            x = _rows(g_rows, t, i, n, c_out, start, BLOCK)
            y = _rows(g_columns, u, j, m, c_out, start, BLOCK)
            grads = tl.dot(x, tl.trans(y), grads, input_precision=PRECISION)
        inputs = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for tap in range(tl.load(ends + term), tl.load(ends + term + 1)):
            p, q = tl.load(pairs + 2 * tap), tl.load(pairs + 2 * tap + 1)
            for start in range(0, c_in, BLOCK):
                x = _rows(a_rows, p, i, n, c_in, start, BLOCK)
                y = _rows(a_columns, q, j, m, c_in, start, BLOCK)
                inputs = tl.dot(x, tl.trans(y), inputs, input_precision=PRECISION)
        total += grads * inputs
    at = i[:, None].to(tl.int64) * m + j[None, :]
    tl.store(kernel + at, total, mask=(i[:, None] < n) & (j[None, :] < m))


@triton.jit
def _split(  # noqa: PLR0917 - all that a kernel reads
    kernel, a_rows, a_columns, g_rows, g_columns, halfway, pairs, ends, n, m, terms, c_in, c_out,
    symmetric, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Factors in float16 halves: the low halves of all positions begin at `halfway`."""
    low, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if symmetric and left > low + ROWS - 1:
        return
    i, j = low + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
    a_half, g_half = tl.load(halfway).to(tl.int32), tl.load(halfway + 1).to(tl.int32)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for term in range(terms):
        t, u = term // WIDTH, term % WIDTH
        grads = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        cross = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for start in range(0, c_out, BLOCK):
            x = _rows(g_rows, t, i, n, c_out, start, BLOCK)
            y = _rows(g_columns, u, j, m, c_out, start, BLOCK)
            grads += tl.dot(x, tl.trans(y), max_num_imprecise_acc=BLOCK)  # see `promoted`
            cross = tl.dot(_rows(g_rows, t + g_half, i, n, c_out, start, BLOCK), tl.trans(y), cross)
            y = _rows(g_columns, u + g_half, j, m, c_out, start, BLOCK)
            cross = tl.dot(x, tl.trans(y), cross)
        grads += cross * (1 / 2048)
        inputs = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        cross = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for tap in range(tl.load(ends + term), tl.load(ends + term + 1)):
            p, q = tl.load(pairs + 2 * tap), tl.load(pairs + 2 * tap + 1)
            for start in range(0, c_in, BLOCK):
                x = _rows(a_rows, p, i, n, c_in, start, BLOCK)
                y = _rows(a_columns, q, j, m, c_in, start, BLOCK)
                inputs += tl.dot(x, tl.trans(y), max_num_imprecise_acc=BLOCK)
                cross = tl.dot(
                    _rows(a_rows, p + a_half, i, n, c_in, start, BLOCK), tl.trans(y), cross
                )
                y = _rows(a_columns, q + a_half, j, m, c_in, start, BLOCK)
                cross = tl.dot(x, tl.trans(y), cross)
        total += grads * (inputs + cross * (1 / 2048))
    at = i[:, None].to(tl.int64) * m + j[None, :]
    tl.store(kernel + at, total, mask=(i[:, None] < n) & (j[None, :] < m))


def taps(site: Site) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs of input positions of every pair of output positions, and where each pair's begin."""
    (height, width), (down, across) = site.window.out, site.window.stride
    met = [{} for _ in range(site.t)]
    for number, (top, left) in enumerate(product(*site.window.taps)):
        for y, x in product(range(top.low, top.high), range(left.low, left.high)):
            row = top.start + (y - top.low) * down
            column = left.start + (x - left.low) * across
            met[y * width + x][number] = row * site.window.grid[1] + column
    pairs, ends = [], [0]
    for t, u in product(range(height * width), repeat=2):
        pairs += [(met[t][number], met[u][number]) for number in met[t] if number in met[u]]
        ends.append(len(pairs))
    return pairs, ends


def flops(site: Site) -> int:
    """FLOPs per pair of samples."""
    return 2 * (site.t**2 * site.c_out + len(taps(site)[0]) * site.c_in)


def first(factor: Tensor) -> Tensor:
    """Factors with positions on the first axis."""
    return factor.transpose(0, 1).contiguous()


def split_first(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Halves with positions on the first axis, high before low, and a scale for each sample."""
    largest = factor.abs().amax(dim=(1, 2))
    scales = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)
    scaled = factor / scales[:, None, None]
    high = scaled.half()
    return first(torch.cat([high, ((scaled - high.float()) * LOW).half()], dim=1)), scales


def fused(
    site: Site, rows, columns, precision="ieee", symmetric=False, shape=(64, 64, 32), warps=4
) -> Tensor:
    """The kernel (n, m) of the weight of a site; if symmetric, only below the diagonal.

    Args:
        site: Site of the weight.
        rows: Factors (n, t_in, c_in), (n, t, c_out), float32.
        columns: Factors of m samples.
        precision: Of float32 in `tl.dot`, or "fp16x3".
        symmetric: Whether rows and columns are the same.
        shape: Samples of the tile, and channels of a step.
        warps: Warps of a program.
    """
    (n, m), where = (len(rows[0]), len(columns[0])), rows[0].device
    halved = precision == "fp16x3"
    if halved:
        (a, a_scale), (g, g_scale) = map(split_first, rows)
        (b, b_scale), (h, h_scale) = (
            ((a, a_scale), (g, g_scale)) if symmetric else map(split_first, columns)
        )
    else:
        a, g = map(first, rows)
        b, h = (a, g) if symmetric else map(first, columns)
    pairs, ends = (torch.tensor(table, dtype=torch.int32, device=where) for table in taps(site))
    halfway = torch.tensor([site.t_in, site.t], dtype=torch.int32, device=where)
    kernel = torch.zeros(n, m, device=where)
    grid = triton.cdiv(m, shape[1]), triton.cdiv(n, shape[0])
    (_split if halved else _single)[grid](
        kernel, a, b, g, h, halfway, pairs, ends, n, m, site.t**2, site.c_in, site.c_out,
        int(symmetric), WIDTH=site.t, ROWS=shape[0], COLUMNS=shape[1], BLOCK=shape[2],
        PRECISION="ieee" if halved else precision, num_warps=warps,
    )  # fmt: skip
    if halved:
        kernel *= (a_scale * g_scale)[:, None] * (b_scale * h_scale)
    return kernel
