"""The rules of a weight in the split arithmetic of `splits`: on tensor cores, on a CPU emulated.

| rule | computation | per pair | per sample |
|---|---|---|---|
| instantiate | as in `rules`, with split products | 2 s | 2 t s |
| fused | the double sum over t and t', each factor once a tap | 2 (t² c_out + Σ_tt' taps c_in) | |

The fused rule is contract and shift at once: it multiplies both products of a pair of positions in
registers, and adds them there. No array of t² numbers a pair is written.
"""

from functools import cache
from math import isqrt, prod
from types import ModuleType

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.kernels.entk import splits
from rmtgen.kernels.entk.rules import (
    ColumnFactors,
    Contract,
    Cost,
    Factors,
    Instantiate,
    Rule,
    multiply,
    spans,
)
from rmtgen.kernels.entk.sites import Site, Window
from rmtgen.kernels.entk.splits import CHUNK, STEP, HalvedFactor, Terms

_LEAST_ENTRIES = 2**23
"""Entries of a side that are split at a time, at least; fewer would be launches of kernels."""

_MOST_TERMS = 2**12
"""Pairs of output positions that the fused rule takes; instantiate is cheaper far below."""

_MOST_ERROR = 1e-5
"""Relative error of a product in halves that shows that something is wrong with it."""

_TILE_SHARE = 1 / 64 + 1 / 128
"""Times that an entry of a factor is loaded for each pair, from tiles of 128 × 64 pairs."""


def split_multiply(
    kernel: Float64[Tensor, "n m"],
    left: Float[Tensor, "n p"],
    right: Float[Tensor, "m p"],
    *,
    symmetric: bool,
) -> None:
    """`rules.multiply` by split products.

    The halves take no more memory than a float32 copy of the kernel, or than 32 MiB.
    """
    unit, (n, m), entries = _unit(kernel.device), kernel.shape, left.shape[1]
    rows = n if symmetric else n + m
    chunk = min(CHUNK, max(STEP, 1 << (entries - 1).bit_length()))
    panel = max(CHUNK, max(n * m, _LEAST_ENTRIES) // rows // CHUNK * CHUNK)
    for start in range(0, entries, panel):
        part = slice(start, start + panel)
        halves = unit.split(left[:, None, part], chunk)
        other = halves if symmetric else unit.split(right[:, None, part], chunk)
        unit.multiply(kernel, halves, other, symmetric)
        if symmetric:
            kernel.diagonal().add_(halves.dropped())


class SplitInstantiate(Instantiate):
    """Gradients as in `Instantiate`, and split products of them."""

    def _multiply(
        self, kernel: Tensor, left: list[Tensor], right: list[Tensor], *, symmetric: bool
    ) -> None:
        for one, other in zip(left, right, strict=True):
            split_multiply(kernel, one, other, symmetric=symmetric)


class Fused(Rule):
    """Contract and shift, multiplied and summed without an array of positions."""

    name = "fused"

    def applies(self, site: Site) -> bool:
        """Whether the weight is in one group, and the positions are few."""
        return super().applies(site) and site.t**2 <= _MOST_TERMS

    def cost(self, site: Site) -> Cost:
        """The FLOPs of both products; the bytes are those that tiles load from the cache."""
        taps = prod(sum((tap.high - tap.low) ** 2 for tap in axis) for axis in site.window.taps)
        entries = site.t**2 * site.c_out + taps * site.c_in
        return Cost(0, 0, 2 * entries, int(4 * _TILE_SHARE * entries))

    def add(
        self,
        kernel: Tensor,
        site: Site,
        rows: Factors,
        columns: ColumnFactors,
        workspace: int,
        symmetric: bool,
    ) -> None:
        """See `Rule.add`."""
        unit, terms = _unit(kernel.device), _terms(site.window, kernel.device)
        stored = 4 * (site.t_in * _whole(site.c_in) + site.t * _whole(site.c_out))
        edge = min(workspace // (2 * stored), isqrt(workspace // unit.pair_bytes(terms)))
        across = slice(0, kernel.shape[1])
        for i in spans(slice(0, len(kernel)), max(1, edge)):
            left = _halved(unit, rows, i)
            for j in spans(slice(0, i.stop) if symmetric else across, max(1, edge)):
                square = symmetric and i == j
                right = left if square else _halved(unit, columns, j)
                unit.contract(kernel[i, j], terms, left, right, square)


def _halved(unit: ModuleType, factors: Factors, samples: slice) -> tuple[HalvedFactor, ...]:
    """The factors of some samples in halves, channels filled up to whole steps."""
    found = []
    for factor in factors:
        part = factor[samples]
        halves = unit.split(part, _whole(part.shape[2]))
        found.append(HalvedFactor.of(halves, len(part)))
    return tuple(found)


def _whole(channels: int) -> int:
    """Channels in whole steps."""
    return -(-channels // STEP) * STEP


@cache
def _terms(window: Window, device: torch.device) -> Terms:
    return Terms.of(window, device)


def _unit(device: torch.device) -> ModuleType:
    """The module that computes: tensor cores of a CUDA device, or their emulation."""
    if device.type == "cpu":
        return splits
    from rmtgen.kernels.entk import tensor_cores  # needs Triton

    return tensor_cores


@cache
def refusal(device: torch.device) -> str:
    """Why a CUDA device cannot multiply halves on tensor cores; empty if it can.

    The first call compiles the kernels, and compares small products with float64.
    """
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} has no tensor cores that Triton uses."
    try:
        _unit(device)
    except ImportError:
        return "Triton is missing, which comes with torch on Linux."
    try:
        error = _worst_error(device)
    except Exception as failure:  # noqa: BLE001 - whatever a compiler raises, products go on
        return f"Triton fails with {type(failure).__name__}: {str(failure).strip()[:120]}."
    return "" if error < _MOST_ERROR else f"Triton's products have a relative error of {error:.0e}."


def _worst_error(device: torch.device) -> float:
    """The larger relative error of a product, and of a weight by the fused rule."""
    random = torch.Generator().manual_seed(0)
    c = CHUNK // 4  # so that the variants of the kernels are those that networks need
    site = Site(Window((2, 2), (3, 3), (1, 1), (1, 1)), c, c, 1, (c, c, 3, 3))
    sides = [tuple(torch.randn(150, 4, c, generator=random).to(device) for _ in range(2))]
    sides.append(tuple(factor.double() for factor in sides[0]))
    product, contraction = (
        torch.zeros(2, 150, 150, dtype=torch.float64, device=device) for _ in range(2)
    )
    for found, multiplied, rule, side in zip(
        range(2), (split_multiply, multiply), (Fused(), Contract()), sides, strict=True
    ):
        rows = side[0].flatten(1)
        multiplied(product[found], rows, rows, symmetric=True)
        rule.add(contraction[found], site, side, side, 2**24, True)
    return max(
        float((found - exact).tril().norm() / exact.tril().norm())
        for found, exact in (product, contraction)
    )


SPLIT_RULES: tuple[Rule, ...] = (SplitInstantiate(), Fused())
"""All rules of split arithmetic."""
