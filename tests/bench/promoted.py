"""A float16 split product in Triton whose sum leaves the tensor cores after every step.

Tensor cores cut the low bits of a sum at each step, so that sums of positive numbers, such as the
diagonal of a Gram matrix, come out too small. Here they sum `step` entries; the steps are added by
the ordinary units, which round to nearest.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tests.bench.splits import Way, halves

GROUP = 8
"""Rows of tiles that share their columns in the cache."""


@triton.jit
def _multiply(  # noqa: PLR0917 - all that a kernel reads
    out, left, right, n, m, entries, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """High·high + 2⁻¹¹ (high·low + low·high) of halves [high | low]."""
    down, across = tl.cdiv(n, ROWS), tl.cdiv(m, COLUMNS)
    program, wide = tl.program_id(0), GROUP * across
    first = program // wide * GROUP
    height = tl.minimum(down - first, GROUP)
    i = (first + program % wide % height) * ROWS + tl.arange(0, ROWS)
    j = (program % wide // height) * COLUMNS + tl.arange(0, COLUMNS)
    along = tl.arange(0, STEP)
    x_at = left + (i % n)[:, None].to(tl.int64) * (2 * entries) + along[None, :]
    y_at = right + (j % m)[:, None].to(tl.int64) * (2 * entries) + along[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    cross = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, entries, STEP):
        inside = along[None, :] < entries - start
        x, y = tl.load(x_at, mask=inside, other=0), tl.load(y_at, mask=inside, other=0)
        x_low = tl.load(x_at + entries, mask=inside, other=0)
        y_low = tl.load(y_at + entries, mask=inside, other=0)
        cross = tl.dot(x, tl.trans(y_low), cross)
        cross = tl.dot(x_low, tl.trans(y), cross)
        # A limit on the imprecise sum keeps the compiler from making `total` the accumulator.
        total += tl.dot(x, tl.trans(y), max_num_imprecise_acc=STEP)
        x_at += STEP
        y_at += STEP
    at = out + i[:, None].to(tl.int64) * m + j[None, :]
    tl.store(at, total + cross * (1 / 2048), mask=(i[:, None] < n) & (j[None, :] < m))


def promoted(left: tuple, right: tuple, shape=(128, 128, 64), warps=8, stages=3) -> Tensor:
    """Left·rightᵀ of `halves`."""
    (n, entries), m = left[1].shape, len(right[1])
    out = torch.empty(n, m, device=left[1].device)
    grid = (triton.cdiv(n, shape[0]) * triton.cdiv(m, shape[1]),)
    _multiply[grid](
        out, left[1], right[1], n, m, entries // 2, *shape, GROUP, num_warps=warps,
        num_stages=stages,
    )  # fmt: skip
    return out.mul_(left[0]).mul_(right[0].T)


WAYS = tuple(
    Way(
        f"fp16x3 in Triton {shape}, {warps} warps",
        2**13,
        halves,
        lambda left, right, s=shape, w=warps, d=stages: promoted(left, right, s, w, d),
    )
    for shape, warps, stages in (
        ((128, 128, 64), 8, 3),
        ((128, 128, 32), 8, 4),
        ((128, 64, 64), 4, 3),
        ((64, 128, 128), 4, 2),
    )
)
