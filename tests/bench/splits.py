"""Ways to multiply float32 matrices: IEEE, float64, TF32, and splits into half precision.

A way prepares each side once, and then multiplies prepared sides. Without a CUDA device products of
halves are summed as tensor cores do, in steps that are each cut to float32 toward zero, and TF32
rounds its operands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rmtgen.device import fp32_precision

LOW = 2.0**11
"""Factor of the low half of a split: float16 holds 11 bits."""

STEP = 8
"""Entries that emulated tensor cores add exactly before they cut the sum to float32.

The bias of the diagonal on an NVIDIA H100 is that of 8 for bfloat16, and of 4 for float16.
"""


@dataclass(frozen=True)
class Way:
    """A way to multiply.

    Attributes:
        name: Its name.
        chunk: Entries that one product sums before the sum continues in float64.
        prepare: A side (n, k) as the products take it.
        multiply: Both prepared sides to (n, m).
    """

    name: str
    chunk: int
    prepare: Callable
    multiply: Callable

    def prepared(self, side: Tensor) -> list:
        """A side in chunks."""
        return [self.prepare(part) for part in side.split(self.chunk, dim=1)]

    def product(self, left: list, right: list) -> Tensor:
        """Left·rightᵀ in float64, from prepared sides."""
        total = None
        for pair in zip(left, right, strict=True):
            found = self.multiply(*pair)
            total = found.double() if total is None else total.add_(found)
        return total


def wide(left: Tensor, right: Tensor) -> Tensor:
    """Left·rightᵀ of halves, summed in float32."""
    if left.is_cuda:
        return torch.mm(left, right.T, out_dtype=torch.float32)
    total = torch.zeros(len(left), len(right))
    for start in range(0, left.shape[1], STEP):
        part = slice(start, start + STEP)
        total = cut(total.double() + left[:, part].double() @ right[:, part].double().T)
    return total


def cut(exact: Tensor) -> Tensor:
    """Float64 rounded to float32 toward zero."""
    nearest = exact.float()
    beyond = nearest.double().abs() > exact.abs()
    return torch.where(beyond, torch.nextafter(nearest, torch.zeros_like(nearest)), nearest)


def ieee(left: Tensor, right: Tensor) -> Tensor:
    with fp32_precision("ieee"):
        return left @ right.T


def tf32(left: Tensor, right: Tensor) -> Tensor:
    if not left.is_cuda:
        return rounded(left, 13) @ rounded(right, 13).T
    with fp32_precision("tf32"):
        return left @ right.T


def rounded(side: Tensor, bits: int) -> Tensor:
    """Float32 with its last bits dropped, to nearest."""
    whole = side.view(torch.int32) + (1 << (bits - 1))
    return (whole & -(1 << bits)).view(torch.float32)


def brain_parts(count: int) -> Callable:
    """Split into a sum of bfloat16 parts."""

    def split(side):
        parts = []
        for _ in range(count):
            parts.append(side.bfloat16())
            side = side - parts[-1].float()
        return parts

    return split


def brain_products(order: int) -> Callable:
    """The products of parts whose numbers add up to less than `order`, small ones first."""

    def multiply(left, right):
        pairs = [(a, b) for i, a in enumerate(left) for j, b in enumerate(right) if i + j < order]
        total = wide(*pairs[-1])
        for pair in reversed(pairs[:-1]):
            total += wide(*pair)
        return total

    return multiply


def row_scales(side: Tensor) -> Tensor:
    """Powers of two (n, 1) that bring the largest entry of each row below one."""
    largest = side.abs().amax(dim=1, keepdim=True)
    return torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)


def halves(side: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row scales, and [high | low] and [low | high] in float16, of a scaled side.

    Side = scale · (high + 2⁻¹¹ low). The two orders let one product sum both cross terms.
    """
    scales = row_scales(side)
    scaled = side / scales
    high = scaled.half()
    low = ((scaled - high.float()) * LOW).half()
    return scales, torch.cat([high, low], dim=1), torch.cat([low, high], dim=1)


def half_products(left: tuple, right: tuple) -> Tensor:
    """High·high + 2⁻¹¹ (high·low + low·high), scaled back."""
    entries = left[1].shape[1] // 2
    total = wide(left[1], right[2]).div_(LOW)
    total += wide(left[1][:, :entries], right[1][:, :entries])
    return total.mul_(left[0]).mul_(right[0].T)


def itself(side: Tensor) -> Tensor:
    return side


WAYS = (
    Way("ieee", 2**13, itself, ieee),
    Way("float64", 2**13, torch.Tensor.double, lambda left, right: left @ right.T),
    Way("tf32", 2**13, itself, tf32),
    Way("bf16x3", 2**12, brain_parts(2), brain_products(2)),
    Way("bf16x6", 2**12, brain_parts(3), brain_products(3)),
    *(
        Way(f"fp16x3, chunks of {chunk}", chunk, halves, half_products)
        for chunk in (2**12, 2**10, 2**8)
    ),
)
