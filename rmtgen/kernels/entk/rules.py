"""The ways to the kernel of one weight, K_ij = ⟨G_i, G_j⟩ with G_i = Σ_t g_it a_itᵀ, and their
exact cost.

G_i is a sample's gradient of the weight, a_it the patch of its input under the window at position
t, g_it its output gradient there.

instantiate: form G_i, one tap of the window at a time, and multiply. 2 s FLOPs a pair, 2 t s a
sample. contract: Σ_tt' (g_it·g_jt')(a_it·a_jt'); G_i is never formed. 2 t² (c_out + k c_in) a pair.
With t = 1, two Gram matrices multiplied entry
    by entry.
shift: the same, but a_it·a_jt' is the sum over taps of products of *pixels*: one Gram matrix of
pixels is made, and its shifted views are
    added along one axis of the window and then along the other. 2 (t_in² c_in + t² c_out) a pair.
    Padding is never multiplied.

s, k, t, t_in and c are those of `sites`. A rule is a class with `applies`, `cost` and `add`; enter
a new one in `RULES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.kernels.entk.sites import Site, Tap

DEPTH = 2**13
"""Entries that a float32 product sums before the sum goes on in float64: a sum over ten million
parameters keeps float32's rounding."""
EDGE = 128
"""Rows of a product at the most where it meets the diagonal: more waste what lies above it, fewer
are slower."""
BALANCE = {"cpu": 2.0, "cuda": 20.0}
"""FLOPs that a float32 matrix product does in the time that an elementwise operation moves a byte.
"""
BLOCK = {"cpu": 2**20, "cuda": 2**27}
"""Entries of an elementwise work array: on a CPU it should stay in the cache."""

Factors = tuple[Float[Tensor, "n t_in c_in"], Float[Tensor, "n t c_out"]]


@dataclass(frozen=True)
class Cost:
    """FLOPs and bytes moved, for each sample once and for each pair of samples."""

    sample_flops: float
    sample_bytes: float
    pair_flops: float
    pair_bytes: float

    def flops(self, samples: float, pairs: float) -> float:
        """Floating point operations of a whole problem."""
        return samples * self.sample_flops + pairs * self.pair_flops

    def equivalent(self, samples: float, pairs: float, balance: float) -> float:
        """Operations of a problem with the bytes moved turned into operations: what is minimised."""
        return self.flops(samples, pairs) + balance * (
            samples * self.sample_bytes + pairs * self.pair_bytes
        )


class Rule(ABC):
    """One way to a weight's kernel."""

    name: str

    def applies(self, site: Site) -> bool:
        """Whether the rule can serve a site."""
        return site.groups == 1

    @abstractmethod
    def cost(self, site: Site) -> Cost:
        """What it costs there, in float32."""

    @abstractmethod
    def add(
        self,
        kernel: Float64[Tensor, "n m"],
        site: Site,
        rows: Factors,
        columns: Factors,
        work: int,
        symmetric: bool,
    ) -> None:
        """Add the weight's kernel between two sets of samples.

        Args:
            kernel: what to add to; where `symmetric`, only blocks on and below the diagonal need to
                be right.
            site: shapes.
            rows: factors of n samples.
            columns: factors of m samples; the same where `symmetric`.
            work: bytes that may be allocated meanwhile.
            symmetric: whether rows and columns are the same samples.
        """


class Instantiate(Rule):
    """Gradients formed for one tap and some output channels at a time, then multiplied."""

    name = "instantiate"

    def cost(self, site: Site) -> Cost:
        """2 s a pair, 2 t s a sample."""
        moved = 4 * (2 * site.t * site.depth + site.t * site.c_out + 2 * site.size)
        return Cost(2 * site.t * site.size, moved, 2 * site.size, 0)

    def add(
        self,
        kernel: Tensor,
        site: Site,
        rows: Factors,
        columns: Factors,
        work: int,
        symmetric: bool,
    ) -> None:
        """See `Rule.add`."""
        sides = [rows] if symmetric else [rows, columns]
        fits = work // (sum(len(side[0]) for side in sides) * site.c_in * rows[0].element_size())
        fits = min(max(1, fits), site.c_out)
        made = [
            side[0].new_empty(len(side[0]), fits * site.c_in) for side in sides
        ]  # once: fresh pages cost more than the product
        for vertical in site.window.taps[0]:
            for horizontal in site.window.taps[1]:
                for start in range(0, site.c_out, fits):
                    channels = slice(start, start + fits)
                    formed = [
                        _form(site, side, (vertical, horizontal), channels, out)
                        for side, out in zip(sides, made, strict=True)
                    ]
                    multiply(kernel, formed[0], formed[-1], symmetric=symmetric)


def _form(
    site: Site, factors: Factors, tap: tuple[Tap, Tap], channels: slice, out: Tensor
) -> Float[Tensor, "n p"]:
    """Each sample's gradient of one tap and some output channels, written into `out`."""
    a, g = factors
    window, n = site.window, len(a)
    (top, left), (down, across) = tap, window.stride
    image, grads = a.reshape(n, *window.grid, site.c_in), g.reshape(n, *window.out, site.c_out)
    image = image[:, top.inputs(down), left.inputs(across)]
    grads = grads[:, top.outputs(), left.outputs(), channels]
    made = out.flatten()[: n * grads.shape[-1] * site.c_in].view(n, grads.shape[-1], site.c_in)
    at_once = max(1, BLOCK[a.device.type] // (image[0].numel() + grads[0].numel()))
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        torch.bmm(grads[part].flatten(1, 2).mT, image[part].flatten(1, 2), out=made[part])
    return made.flatten(1)


class Pairwise(Rule):
    """Rules that never form a gradient: products between the positions of two samples, in blocks
    that stay in the cache.
    """

    def add(
        self,
        kernel: Tensor,
        site: Site,
        rows: Factors,
        columns: Factors,
        work: int,
        symmetric: bool,
    ) -> None:
        """See `Rule.add`."""
        entries = min(BLOCK[kernel.device.type], work // (5 * rows[0].element_size()))
        edge = max(1, isqrt(entries) // max(site.t, site.t_in))
        if symmetric:
            edge = min(edge, max(32, -(-len(kernel) // 8)))
        for i, columns_of_i in blocks(len(kernel), kernel.shape[1], edge, symmetric):
            left = self._prepare(site, rows, i)
            for j in columns_of_i:
                kernel[i, j] += self._block(site, left, self._prepare(site, columns, j))

    def _prepare(self, site: Site, factors: Factors, samples: slice) -> Factors:
        """Both factors of some samples, position before sample, so that sums over positions run
        along whole rows of samples.
        """
        a, g = factors
        return (
            self._input(site, a[samples]).transpose(0, 1).contiguous(),
            g[samples].transpose(0, 1).contiguous(),
        )

    def _block(self, site: Site, left: Factors, right: Factors) -> Float[Tensor, "i j"]:
        inputs = self._input_products(site, _products(left[0], right[0]))
        grads = _products(left[1], right[1])
        return torch.mul(inputs.view_as(grads), grads, out=grads).sum(dim=(0, 2))

    def _input(self, site: Site, a: Tensor) -> Tensor:
        raise NotImplementedError

    def _input_products(
        self, site: Site, products: Float[Tensor, "t_in i t_in j"]
    ) -> Float[Tensor, "t i t j"]:
        raise NotImplementedError


def _products(
    left: Float[Tensor, "s i c"], right: Float[Tensor, "u j c"]
) -> Float[Tensor, "s i u j"]:
    return (left.flatten(0, 1) @ right.flatten(0, 1).T).view(*left.shape[:2], *right.shape[:2])


class Contract(Pairwise):
    """Products of patches."""

    name = "contract"

    def cost(self, site: Site) -> Cost:
        """2 t² (c_out + k c_in) a pair."""
        pair = site.t**2
        return Cost(0, 0, 2 * pair * (site.c_out + site.depth), 4 * 6 * pair)

    def _input(self, site: Site, a: Tensor) -> Tensor:
        return site.patches(a)

    def _input_products(self, site: Site, products: Tensor) -> Tensor:
        return products


class Shift(Pairwise):
    """Products of pixels, summed over the taps along one axis and then along the other."""

    name = "shift"

    def applies(self, site: Site) -> bool:
        """Where a window has more than one tap; else it is `Contract`."""
        return super().applies(site) and site.k > 1

    def cost(self, site: Site) -> Cost:
        """2 (t_in² c_in + t² c_out) a pair, and an addition a tap of either axis."""
        (vertical, horizontal), (height, _), (_, width) = (
            site.window.taps,
            site.window.grid,
            site.window.out,
        )
        across = 12 * (len(horizontal) + 1) * (height * width) ** 2
        down = 12 * (len(vertical) + 1) * site.t**2
        flops = 2 * (site.t_in**2 * site.c_in + site.t**2 * site.c_out)
        return Cost(0, 0, flops, across + down + 4 * (site.t_in**2 + 6 * site.t**2))

    def _input(self, site: Site, a: Tensor) -> Tensor:
        return a

    def _input_products(self, site: Site, products: Tensor) -> Tensor:
        window, (_, i, _, j) = site.window, products.shape
        products = products.view(*window.grid, i, *window.grid, j)
        products = _sum_taps(products, 1, window.taps[1], window.out[1], window.stride[1])
        return _sum_taps(products, 0, window.taps[0], window.out[0], window.stride[0])


def _sum_taps(products: Tensor, axis: int, taps: tuple[Tap, ...], out: int, stride: int) -> Tensor:
    """Σ over taps of the products between the input positions that a tap of either sample meets,
    along axes `axis` and `axis + 3`.
    """
    shape = list(products.shape)
    shape[axis] = shape[axis + 3] = out
    summed = None
    for tap in sorted(
        taps, key=lambda tap: tap.low - tap.high
    ):  # the tap that meets most comes first, and is copied
        met = _narrow(products, axis, tap.inputs(stride))
        if summed is None and tap.high - tap.low == out:
            summed = met if len(taps) == 1 else met.clone(memory_format=torch.contiguous_format)
            continue
        summed = products.new_zeros(shape) if summed is None else summed
        _narrow(summed, axis, tap.outputs()).add_(met)
    return summed.contiguous()


def _narrow(tensor: Tensor, axis: int, span: slice) -> Tensor:
    index = [slice(None)] * 6
    index[axis] = index[axis + 3] = span
    return tensor[tuple(index)]


RULES: tuple[Rule, ...] = (Instantiate(), Contract(), Shift())


def choose(site: Site, samples: int, device: str) -> Rule:
    """The cheapest rule for the kernel of `samples` samples with themselves."""
    pairs, balance = samples * (samples + 1) / 2, BALANCE[device]
    fitting = [rule for rule in RULES if rule.applies(site) or isinstance(rule, Instantiate)]
    return min(fitting, key=lambda rule: rule.cost(site).equivalent(samples, pairs, balance))


def blocks(
    rows: int, columns: int, edge: int, symmetric: bool
) -> Iterator[tuple[slice, list[slice]]]:
    """Row blocks with their column blocks, in the symmetric case those on and below the diagonal."""
    starts = range(0, columns, edge)
    for start in range(0, rows, edge):
        stop = min(start + edge, rows)
        yield (
            slice(start, stop),
            [slice(at, min(at + edge, columns)) for at in starts if not symmetric or at <= start],
        )


def multiply(
    kernel: Float64[Tensor, "n m"],
    left: Float[Tensor, "n p"],
    right: Float[Tensor, "m p"],
    *,
    symmetric: bool,
) -> None:
    """Add left·rightᵀ to a kernel, in the symmetric case on and a little above the diagonal only.

    The float32 products run over at most `DEPTH` entries; their sums are taken in float64.
    """
    whole = slice(0, len(left)), slice(0, len(right))
    pieces = list(triangle(0, len(left))) if symmetric else [whole]
    for start in range(0, left.shape[1], DEPTH):
        part = slice(start, start + DEPTH)
        for i, j in pieces:
            kernel[i, j] += left[i, part] @ right[j, part].T


def triangle(low: int, high: int) -> Iterator[tuple[slice, slice]]:
    """A triangle in squares as large as may be, which multiply fastest: the one below the diagonal,
    then both halves; `EDGE` on it.
    """
    middle = (low + high) // 2
    if high - low <= EDGE:
        yield slice(low, high), slice(low, high)
        return
    yield slice(middle, high), slice(low, middle)
    yield from triangle(low, middle)
    yield from triangle(middle, high)
