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
from dataclasses import dataclass
from itertools import product
from math import isqrt, prod

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.kernels.entk.cpu import (
    DEEP,
    HELD,
    Panels,
    add_products,
    by_onednn,
    cache_bytes,
    multiplied,
    side_by_side,
)
from rmtgen.kernels.entk.divisions import pieces, spans
from rmtgen.kernels.entk.sites import Site, Tap, Window
from rmtgen.kernels.entk.sums import Sum, double_sum

INNER = 2**13
"""Number of entries that a float32 product sums before the sum continues in float64.

A sum over ten million parameters then has the rounding error of a short sum.
"""

BALANCE = {"cpu": 2.0, "cuda": 20.0}
"""Machine balance: FLOPs of a float32 product in the time of one byte moved elementwise."""

BLOCK = 2**29
"""Bytes of the products of a block on a CUDA device; on a CPU they should fit into its cache."""

RUN = 8
"""Blocks of rows that share a preparation of the columns."""

LANES = 16
"""Columns of a block below which sums on a CPU are slow."""

FORMED = {"cpu": 2**20, "cuda": 2**27}
"""Entries of the factors of which gradients are formed at once."""

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
        width = fits * site.c_in
        deep = DEEP if by_onednn(rows[0]) else width
        held = [Panels(side[0], len(side[0]), width, deep) for side in sides]
        for tap in product(*site.window.taps):
            for channels in spans(slice(0, site.c_out), fits):
                formed = [
                    _materialise(site, side, tap, channels, room)
                    for side, room in zip(sides, held, strict=True)
                ]
                self._multiply(kernel, formed[0], formed[-1], symmetric=symmetric)

    def _multiply(
        self, kernel: Tensor, left: list[Tensor], right: list[Tensor], *, symmetric: bool
    ) -> None:
        """Add Σ left·rightᵀ over the panels of two matrices."""
        _multiply_panels(kernel, left, right, symmetric=symmetric)


def _materialise(
    site: Site, factors: Factors, tap: tuple[Tap, Tap], channels: slice, held: Panels
) -> list[Float[Tensor, "n _"]]:
    """Per-sample gradients of one tap and some output channels, in panels."""
    a, g = factors
    window, n = site.window, len(a)
    (top, left), (down, across) = tap, window.stride
    image, grads = a.reshape(n, *window.grid, site.c_in), g.reshape(n, *window.out, site.c_out)
    image = image[:, top.inputs(down), left.inputs(across)]
    grads = grads[:, top.outputs(), left.outputs(), channels]
    shape = grads.shape[-1], site.c_in
    panels = held.of(prod(shape))
    at_once = max(1, FORMED[a.device.type] // (image[0].numel() + grads[0].numel()))
    for part in spans(slice(0, n), at_once):
        sides = grads[part].flatten(1, 2).mT, image[part].flatten(1, 2)
        if len(panels) == 1:
            torch.bmm(*sides, out=panels[0][part].unflatten(1, shape))
            continue
        formed = torch.bmm(*sides).flatten(1)
        for panel, columns in zip(panels, formed.split(held.deep, dim=1), strict=True):
            panel[part] = columns
    return panels


@dataclass(frozen=True)
class Blocks:
    """How the pairs of samples of a kernel are divided.

    Attributes:
        tall: Rows of a block.
        wide: Columns of a block.
        at_once: Maximum number of blocks at once.
        band: Rows whose patches are held.
    """

    tall: int
    wide: int
    at_once: int
    band: int

    @classmethod
    def of(cls, site: Site, kernel: Tensor, item: int, workspace: int, symmetric: bool) -> "Blocks":
        """Blocks whose products fit into the cache and the workspace.

        They are not taller than an eighth of a symmetric kernel, since those on its diagonal waste
        half of their work.
        """
        device, products = kernel.device.type, max(site.t, site.t_in) ** 2
        room = (cache_bytes() if device == "cpu" else BLOCK) // item
        pairs = max(1, min(room, workspace // (5 * item)) // products)
        most = max(32, -(-len(kernel) // 8)) if symmetric else pairs
        wide = min(max(isqrt(pairs), min(LANES, pairs)), most)
        tall = min(max(1, pairs // wide), most) if device == "cpu" else wide
        at_once = workspace // (5 * item * tall * wide * products) if device == "cpu" else 1
        held = workspace // (4 * item * site.t * max(1, site.depth))
        return cls(tall, wide, at_once, max(RUN * tall, held))


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
        shape = Blocks.of(site, kernel, rows[0].element_size(), workspace, symmetric)
        add = double_sum(self._window(site), kernel.numel() * site.t**2, kernel.device.type)
        for start in range(0, len(kernel), shape.band):
            band = slice(start, start + shape.band)
            left = self._input(site, rows[0][band]), rows[1][band]
            below = start if symmetric else None
            self._band(kernel[band], site, left, columns, shape, add, below)

    def _band(
        self,
        kernel: Float64[Tensor, "b m"],
        site: Site,
        left: tuple[Float[Tensor, "b u v"], Float[Tensor, "b t c_out"]],
        columns: ColumnFactors,
        shape: Blocks,
        add: Sum,
        below: int | None,
    ) -> None:
        """Add the kernel of a band of rows, the first of which has its diagonal at `below`."""

        def strip(task: tuple[slice, slice]) -> None:
            some, j = task
            a, g = (factor[j] for factor in columns)
            # Positions first, so that sums over positions add whole rows of samples.
            right = [side.transpose(0, 1).contiguous() for side in (self._input(site, a), g)]
            for i in spans(some, shape.tall):
                if below is None or j.start < below + i.stop:
                    inputs, grads = (
                        _products(*sides)
                        for sides in zip((left[0][i], left[1][i]), right, strict=True)
                    )
                    add(kernel[i, j], inputs, grads)

        tasks = (
            (some, j)
            for j in spans(slice(0, kernel.shape[1]), shape.wide)
            for some in spans(slice(0, len(kernel)), RUN * shape.tall)
            if below is None or j.start < below + some.stop
        )
        side_by_side(strip, tasks, shape.at_once)

    def _window(self, site: Site) -> Window | None:
        """The window whose taps are summed after the products."""
        raise NotImplementedError

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        """What is multiplied between samples: patches or pixels."""
        raise NotImplementedError


def _products(
    left: Float[Tensor, "i s c"], right: Float[Tensor, "u j c"]
) -> Float[Tensor, "i s u j"]:
    return multiplied(left.flatten(0, 1), right.flatten(0, 1)).view(
        *left.shape[:2], *right.shape[:2]
    )


class Contract(Pairwise):
    """Products of patches."""

    name = "contract"

    def cost(self, site: Site) -> Cost:
        """2 t² (c_out + k c_in) FLOPs per pair."""
        pair = site.t**2
        return Cost(0, 0, 2 * pair * (site.c_out + site.depth), 4 * 6 * pair)

    def _window(self, site: Site) -> None:
        return None

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        return site.patches(a)


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

    def _window(self, site: Site) -> Window:
        return site.window

    def _input(self, site: Site, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n u v"]:
        return a


RULES: tuple[Rule, ...] = (Instantiate(), Contract(), Shift())
"""All rules."""


def choose(site: Site, samples: int, device: str, rules: tuple[Rule, ...] = RULES) -> Rule:
    """The cheapest of some rules for the symmetric kernel of `samples` samples."""
    pairs, balance = samples * (samples + 1) // 2, BALANCE[device]
    fitting = [rule for rule in rules if rule.applies(site) or isinstance(rule, Instantiate)]
    return min(fitting, key=lambda rule: rule.cost(site).equivalent(samples, pairs, balance))


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
    sides = [left] if symmetric else [left, right]
    if by_onednn(left):
        width = min(HELD * DEEP, left.shape[1])
        held = [Panels(side, len(side), width, DEEP) for side in sides]
        for part in spans(slice(0, left.shape[1]), max(1, width)):
            panels = [room.fill(side[:, part]) for room, side in zip(held, sides, strict=True)]
            add_products(kernel, panels[0], panels[-1], pieces(kernel, symmetric))
        return
    for part in spans(slice(0, left.shape[1]), INNER):
        for i, j in pieces(kernel, symmetric):
            kernel[i, j] += left[i, part] @ right[j, part].T


def _multiply_panels(
    kernel: Float64[Tensor, "n m"],
    left: list[Float[Tensor, "n _"]],
    right: list[Float[Tensor, "m _"]],
    *,
    symmetric: bool,
) -> None:
    """Add Σ left·rightᵀ over the panels of two matrices; see `multiply`."""
    if by_onednn(left[0]):
        add_products(kernel, left, right, pieces(kernel, symmetric))
        return
    for one, other in zip(left, right, strict=True):
        multiply(kernel, one, other, symmetric=symmetric)
