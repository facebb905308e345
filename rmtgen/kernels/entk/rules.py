"""The exact ways to compute the kernel of one weight, and their cost.

The kernel is K_ij = ⟨G_i, G_j⟩, where G_i = Σ_t g_it a_itᵀ is the gradient of the weight for sample
i, a_it the patch of its input under the window at position t, and g_it its output gradient there.
Hence K_ij = Σ_tt' (g_it·g_jt')(a_it·a_jt'). FLOPs in the sizes of `sites` (s entries of G_i):

| rule | computation | per pair | per sample |
|---|---|---|---|
| instantiate | G_i, one tap of the window at a time, then ⟨G_i, G_j⟩ | 2 s | 2 t s |
| contract | the double sum over t and t', without G_i | 2 t² (c_out + k c_in) | |
| shift | contract, with a_it·a_jt' from products of pixels | 2 (t_in² c_in + t² c_out) | |

With t = 1, contract is the entrywise product of two Gram matrices. Shift computes one Gram matrix
of pixels and adds its shifted views, one per tap, along one axis of the window and then along the
other; padding is never multiplied.

A new rule is a subclass of `Rule` in this module and an instance in `RULES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.kernels.entk.sites import Site, Tap

INNER = 2**13
"""Number of entries that a float32 product sums before the sum continues in float64.

A sum over ten million parameters then has the rounding error of a short sum.
"""

DIAGONAL_EDGE = 128
"""Maximum number of rows of a product on the diagonal.

More rows waste work above the diagonal, and fewer rows are slower.
"""

BALANCE = {"cpu": 2.0, "cuda": 20.0}
"""Machine balance: FLOPs of a float32 product in the time of one byte moved elementwise."""

BLOCK = {"cpu": 2**20, "cuda": 2**27}
"""Entries of an elementwise work array, which should fit into the cache of a CPU."""

Factors = tuple[Float[Tensor, "n t_in c_in"], Float[Tensor, "n t c_out"]]
"""Inputs a and output gradients g of n samples at a site."""

ColumnFactors = tuple[Float[Tensor, "m t_in c_in"], Float[Tensor, "m t c_out"]]
"""The same of m samples, the columns of a kernel."""


@dataclass(frozen=True)
class Cost:
    """FLOPs and bytes moved, per sample and per pair of samples."""

    sample_flops: int
    sample_bytes: int
    pair_flops: int
    pair_bytes: int

    def flops(self, samples: int, pairs: int) -> int:
        """Floating point operations for a number of samples and pairs."""
        return samples * self.sample_flops + pairs * self.pair_flops

    def equivalent(self, samples: int, pairs: int, balance: float) -> float:
        """The objective of `choose`: FLOPs, plus bytes moved times the machine balance."""
        return self.flops(samples, pairs) + balance * (
            samples * self.sample_bytes + pairs * self.pair_bytes
        )


class Rule(ABC):
    """One way to compute the kernel of a weight.

    Attributes:
        name: Name of the rule in a plan.
    """

    name: str

    def applies(self, site: Site) -> bool:
        """Whether the rule can be used at a site."""
        return site.groups == 1

    @abstractmethod
    def cost(self, site: Site) -> Cost:
        """The cost at a site, in float32."""

    @abstractmethod
    def add(
        self,
        kernel: Float64[Tensor, "n m"],
        site: Site,
        rows: Factors,
        columns: ColumnFactors,
        workspace: int,
        symmetric: bool,
    ) -> None:
        """Add the kernel of the weight between two sets of samples.

        Args:
            kernel: Matrix to add to; if `symmetric`, only the part on and below the diagonal needs
                to be correct.
            site: Site of the weight.
            rows: Factors of n samples.
            columns: Factors of m samples; the same if `symmetric`.
            workspace: Bytes that may be allocated.
            symmetric: Whether rows and columns are the same samples.
        """


class Instantiate(Rule):
    """Gradients of one tap and some output channels at a time, then their products."""

    name = "instantiate"

    def cost(self, site: Site) -> Cost:
        """2 s FLOPs per pair, 2 t s per sample."""
        moved = 4 * (2 * site.t * site.depth + site.t * site.c_out + 2 * site.size)
        return Cost(2 * site.t * site.size, moved, 2 * site.size, 0)

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
        sides = [rows] if symmetric else [rows, columns]
        fits = workspace // (
            sum(len(side[0]) for side in sides) * site.c_in * rows[0].element_size()
        )
        fits = min(max(1, fits), site.c_out)
        # Allocated once: page faults cost more than the products.
        buffers = [side[0].new_empty(len(side[0]), fits * site.c_in) for side in sides]
        for vertical in site.window.taps[0]:
            for horizontal in site.window.taps[1]:
                for start in range(0, site.c_out, fits):
                    channels = slice(start, start + fits)
                    materialised = [
                        _materialise(site, side, (vertical, horizontal), channels, out)
                        for side, out in zip(sides, buffers, strict=True)
                    ]
                    multiply(kernel, materialised[0], materialised[-1], symmetric=symmetric)


def _materialise(
    site: Site, factors: Factors, tap: tuple[Tap, Tap], channels: slice, out: Tensor
) -> Float[Tensor, "n p"]:
    """Per-sample gradients of one tap and some output channels, written to `out`."""
    a, g = factors
    window, n = site.window, len(a)
    (top, left), (down, across) = tap, window.stride
    image, grads = a.reshape(n, *window.grid, site.c_in), g.reshape(n, *window.out, site.c_out)
    image = image[:, top.inputs(down), left.inputs(across)]
    grads = grads[:, top.outputs(), left.outputs(), channels]
    found = out.flatten()[: n * grads.shape[-1] * site.c_in].view(n, grads.shape[-1], site.c_in)
    at_once = max(1, BLOCK[a.device.type] // (image[0].numel() + grads[0].numel()))
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        torch.bmm(grads[part].flatten(1, 2).mT, image[part].flatten(1, 2), out=found[part])
    return found.flatten(1)


class Pairwise(Rule):
    """A rule of products between the positions of two samples, in blocks that fit the cache."""

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
        entries = min(BLOCK[kernel.device.type], workspace // (5 * rows[0].element_size()))
        edge = max(1, isqrt(entries) // max(site.t, site.t_in))
        if symmetric:
            edge = min(edge, max(32, -(-len(kernel) // 8)))
        for i, columns_of_i in blocks(len(kernel), kernel.shape[1], edge, symmetric):
            left = self._prepare(site, rows, i)
            for j in columns_of_i:
                kernel[i, j] += self._block(site, left, self._prepare(site, columns, j))

    def _prepare(
        self, site: Site, factors: Factors, samples: slice
    ) -> tuple[Float[Tensor, "u i v"], Float[Tensor, "t i c_out"]]:
        """Both factors of some samples, with positions on the first axis.

        Sums over positions then add whole rows of samples.
        """
        a, g = factors
        return (
            self._input(site, a[samples]).transpose(0, 1).contiguous(),
            g[samples].transpose(0, 1).contiguous(),
        )

    def _block(
        self,
        site: Site,
        left: tuple[Float[Tensor, "u i v"], Float[Tensor, "t i c_out"]],
        right: tuple[Float[Tensor, "u j v"], Float[Tensor, "t j c_out"]],
    ) -> Float[Tensor, "i j"]:
        """Σ_tt' (a_it·a_jt')(g_it·g_jt')."""
        inputs = self._input_products(site, _products(left[0], right[0]))
        grads = _products(left[1], right[1])
        return torch.mul(inputs, grads, out=grads).sum(dim=(0, 2))

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        """What is multiplied between samples: patches or pixels."""
        raise NotImplementedError

    def _input_products(
        self, site: Site, products: Float[Tensor, "u i u j"]
    ) -> Float[Tensor, "t i t j"]:
        """a_it·a_jt' from the products of `_input`."""
        raise NotImplementedError


def _products(
    left: Float[Tensor, "s i c"], right: Float[Tensor, "u j c"]
) -> Float[Tensor, "s i u j"]:
    return (left.flatten(0, 1) @ right.flatten(0, 1).T).view(*left.shape[:2], *right.shape[:2])


class Contract(Pairwise):
    """Products of patches."""

    name = "contract"

    def cost(self, site: Site) -> Cost:
        """2 t² (c_out + k c_in) FLOPs per pair."""
        pair = site.t**2
        return Cost(0, 0, 2 * pair * (site.c_out + site.depth), 4 * 6 * pair)

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        return site.patches(a)

    def _input_products(
        self, site: Site, products: Float[Tensor, "u i u j"]
    ) -> Float[Tensor, "t i t j"]:
        return products


class Shift(Pairwise):
    """Products of pixels, summed over the taps of one axis and then of the other."""

    name = "shift"

    def applies(self, site: Site) -> bool:
        """Whether the window has more than one tap; otherwise the rule equals `Contract`."""
        return super().applies(site) and site.k > 1

    def cost(self, site: Site) -> Cost:
        """2 (t_in² c_in + t² c_out) FLOPs per pair, and one addition per tap of each axis."""
        (vertical, horizontal), (height, _), (_, width) = (
            site.window.taps,
            site.window.grid,
            site.window.out,
        )
        across = 12 * (len(horizontal) + 1) * (height * width) ** 2
        down = 12 * (len(vertical) + 1) * site.t**2
        flops = 2 * (site.t_in**2 * site.c_in + site.t**2 * site.c_out)
        return Cost(0, 0, flops, across + down + 4 * (site.t_in**2 + 6 * site.t**2))

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        return a

    def _input_products(
        self, site: Site, products: Float[Tensor, "u i u j"]
    ) -> Float[Tensor, "t i t j"]:
        window, (_, i, _, j) = site.window, products.shape
        products = products.view(*window.grid, i, *window.grid, j)
        products = _sum_taps(products, 1, window.taps[1], window.out[1], window.stride[1])
        summed = _sum_taps(products, 0, window.taps[0], window.out[0], window.stride[0])
        return summed.view(site.t, i, site.t, j)


def _sum_taps(products: Tensor, axis: int, taps: tuple[Tap, ...], out: int, stride: int) -> Tensor:
    """Sum over the taps of an axis of the products at the input positions that the tap meets.

    Args:
        products: (t, t, i, t, t, j), the grid of the first sample before that of the second.
        axis: Axis of the window, which is axis `axis` and `axis + 3` of `products`.
        taps: The taps of this axis.
        out: Number of output positions along this axis.
        stride: Stride along this axis.
    """
    shape = list(products.shape)
    shape[axis] = shape[axis + 3] = out
    summed = None
    # The tap with the most outputs comes first; if it has all, its copy replaces an array of zeros.
    for tap in sorted(taps, key=lambda tap: tap.low - tap.high):
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
"""All rules."""


def choose(site: Site, samples: int, device: str) -> Rule:
    """The cheapest rule for the symmetric kernel of `samples` samples."""
    pairs, balance = samples * (samples + 1) // 2, BALANCE[device]
    fitting = [rule for rule in RULES if rule.applies(site) or isinstance(rule, Instantiate)]
    return min(fitting, key=lambda rule: rule.cost(site).equivalent(samples, pairs, balance))


def blocks(
    rows: int, columns: int, edge: int, symmetric: bool
) -> Iterator[tuple[slice, list[slice]]]:
    """Row blocks with their column blocks; if symmetric, those on and below the diagonal only."""
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
    """Add left·rightᵀ to a kernel; if symmetric, below and close to the diagonal only.

    The float32 products run over at most `INNER` entries, and are summed in float64.
    """
    whole = slice(0, len(left)), slice(0, len(right))
    pieces = list(triangle(0, len(left))) if symmetric else [whole]
    for start in range(0, left.shape[1], INNER):
        part = slice(start, start + INNER)
        for i, j in pieces:
            kernel[i, j] += left[i, part] @ right[j, part].T


def triangle(low: int, high: int) -> Iterator[tuple[slice, slice]]:
    """The lower triangle as a few large squares, whose products are fastest.

    It is the square below the diagonal, and recursively the triangles of both halves, down to
    squares of at most `DIAGONAL_EDGE` rows on the diagonal.
    """
    middle = (low + high) // 2
    if high - low <= DIAGONAL_EDGE:
        yield slice(low, high), slice(low, high)
        return
    yield slice(middle, high), slice(low, middle)
    yield from triangle(low, middle)
    yield from triangle(middle, high)
