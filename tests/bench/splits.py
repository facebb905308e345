"""Ways to multiply float32 matrices: IEEE, float64, TF32, halves, and that of rmtgen.

A way takes two sides and whether they are the same, and gives their product in float64. Without a
CUDA device products of halves are summed as tensor cores do, by the emulation of rmtgen, and TF32
rounds its operands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rmtgen.device import fp32_precision
from rmtgen.kernels.entk.split_rules import split_multiply
from rmtgen.kernels.entk.splits import LOW, split, summed


@dataclass(frozen=True)
class Way:
    """A way to multiply.

    Attributes:
        name: Its name.
        multiply: Adds left·rightᵀ to a float64 matrix.
    """

    name: str
    multiply: Callable

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Left·rightᵀ in float64; one triangle, mirrored, if both are one tensor."""
        total = left.new_zeros(len(left), len(right), dtype=torch.float64)
        self.multiply(total, left, right)
        return total.tril() + total.tril(-1).T if left is right else total


def chunked(chunk: int, multiply: Callable) -> Callable:
    """A product of chunks, each to (n, m), whose sum is float64."""

    def add(total, left, right):
        for pair in zip(left.split(chunk, dim=1), right.split(chunk, dim=1), strict=True):
            total += multiply(*pair)

    return add


def wide(left: Tensor, right: Tensor) -> Tensor:
    """Left·rightᵀ of halves, summed in float32."""
    if left.is_cuda:
        return torch.mm(left, right.T, out_dtype=torch.float32)
    sides = left.double()[None], right.double()[None]
    return summed(torch.zeros(1, len(left), len(right)), *sides, cut=True)[0]


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


def brain_parts(side: Tensor, count: int) -> list[Tensor]:
    """A sum of bfloat16 parts."""
    parts = []
    for _ in range(count):
        parts.append(side.bfloat16())
        side = side - parts[-1].float()
    return parts


def brain_products(order: int) -> Callable:
    """The products of parts whose numbers add up to less than `order`, small ones first."""

    def multiply(left, right):
        left, right = brain_parts(left, order), brain_parts(right, order)
        pairs = [(a, b) for i, a in enumerate(left) for j, b in enumerate(right) if i + j < order]
        return sum(wide(*pair) for pair in reversed(pairs))

    return multiply


def half_products(left: Tensor, right: Tensor) -> Tensor:
    """High·high + 2⁻¹¹ (high·low + low·high), each summed by tensor cores as a whole."""
    sides = [split(side[:, None], side.shape[1]) for side in (left, right)]
    (high, low), (other, other_low) = (side.parts[:, 0].unbind(dim=1) for side in sides)
    total = wide(torch.cat([high, low], dim=1), torch.cat([other_low, other], dim=1)).div_(LOW)
    total += wide(high, other)
    return total.mul_(sides[0].scales).mul_(sides[1].scales.T)


def of_rmtgen(total: Tensor, left: Tensor, right: Tensor) -> None:
    split_multiply(total, left, right, symmetric=left is right)


WAYS = (
    Way("ieee", chunked(2**13, ieee)),
    Way("float64", chunked(2**13, lambda left, right: left.double() @ right.double().T)),
    Way("tf32", chunked(2**13, tf32)),
    Way("bf16x3", chunked(2**12, brain_products(2))),
    Way("bf16x6", chunked(2**12, brain_products(3))),
    *(
        Way(f"fp16x3, chunks of {chunk}", chunked(chunk, half_products))
        for chunk in (2**12, 2**10, 2**8)
    ),
    Way("split", of_rmtgen),
)
