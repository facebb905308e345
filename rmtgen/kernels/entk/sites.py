"""Where a weight meets data: a convolution, or a linear layer on tokens, seen as products over a
grid of positions.

At a site each sample has its input a (t_in positions, c_in channels) and output gradient g (t
positions, c_out channels), and the weight's gradient is the sum over positions of g_t times the
patch of a under the window at t. A linear layer on t tokens is a window of one position.

Notation: n samples, k taps of the window that ever meet an input position, q groups. Taps that only
ever meet padding are left out.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """One offset of a window along one axis: the outputs [low, high) that meet an input there, and
    the input of the first.
    """

    offset: int
    low: int
    high: int
    start: int

    def outputs(self) -> slice:
        """The output positions."""
        return slice(self.low, self.high)

    def inputs(self, stride: int) -> slice:
        """The input positions they meet."""
        return slice(self.start, self.start + (self.high - self.low - 1) * stride + 1, stride)


@dataclass(frozen=True)
class Window:
    """A sliding window on a grid of positions, each pair (vertical, horizontal)."""

    grid: Pair
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @cached_property
    def out(self) -> Pair:
        """The grid of output positions."""
        vertical, horizontal = (
            (
                self.grid[axis]
                + 2 * self.padding[axis]
                - self.dilation[axis] * (self.kernel[axis] - 1)
                - 1
            )
            // self.stride[axis]
            + 1
            for axis in (0, 1)
        )
        return vertical, horizontal

    @cached_property
    def taps(self) -> tuple[tuple[Tap, ...], tuple[Tap, ...]]:
        """The taps of each axis that meet an input position somewhere."""
        return self._axis(0), self._axis(1)

    def _axis(self, axis: int) -> tuple[Tap, ...]:
        stride, found = self.stride[axis], []
        for offset in range(self.kernel[axis]):
            shift = offset * self.dilation[axis] - self.padding[axis]
            low = max(0, -(shift // stride))
            high = min(self.out[axis], (self.grid[axis] - 1 - shift) // stride + 1)
            if low < high:
                found.append(Tap(offset, low, high, low * stride + shift))
        return tuple(found)


@dataclass(frozen=True)
class Site:
    """The shapes of one place where a weight (c_out, c_in/q, *kernel) meets data."""

    window: Window
    c_in: int
    c_out: int
    groups: int
    weight_shape: tuple[int, ...]

    @property
    def t_in(self) -> int:
        """Input positions."""
        return prod(self.window.grid)

    @property
    def t(self) -> int:
        """Output positions."""
        return prod(self.window.out)

    @property
    def k(self) -> int:
        """Taps that meet data."""
        return prod(map(len, self.window.taps))

    @property
    def depth(self) -> int:
        """Entries of a patch, per group."""
        return self.k * self.c_in // self.groups

    @property
    def size(self) -> int:
        """Entries of the weight's gradient that can differ from zero."""
        return self.c_out * self.depth

    def patches(self, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n t kc"]:
        """The input under the window at every output position; entries ordered (tap, channel)."""
        n, window = len(a), self.window
        if window.kernel == (1, 1) and window.stride == (1, 1) and window.padding == (0, 0):
            return a
        if not self.k:
            return a.new_empty(n, self.t, 0)
        (top, left), taps = window.padding, window.taps
        image = torch.nn.functional.pad(
            a.reshape(n, *window.grid, self.c_in), (0, 0, left, left, top, top)
        )
        for axis in (0, 1):
            span = (window.kernel[axis] - 1) * window.dilation[axis] + 1
            image = image.unfold(1 + axis, span, window.stride[axis])
        for axis in (0, 1):
            offsets = [tap.offset * window.dilation[axis] for tap in taps[axis]]
            image = _pick(image, 4 + axis, offsets)
        return image.permute(0, 1, 2, 4, 5, 3).reshape(n, self.t, self.k * self.c_in)

    def instantiate(
        self,
        a: Float[Tensor, "n t_in c_in"],
        g: Float[Tensor, "n t c_out"],
        out: Float[Tensor, "n p"] | None = None,
    ) -> Float[Tensor, "n p"]:
        """Each sample's gradient of the weight, entries ordered (output, tap, input); written into
        `out` where it is given.
        """
        n, q = len(a), self.groups
        if q == self.c_in == self.c_out:
            formed = self._depthwise(a, g)
            return formed if out is None else out.copy_(formed)
        patches = self.patches(a)
        if q == 1:
            into = None if out is None else out.unflatten(1, (self.c_out, self.depth))
            return torch.bmm(g.mT, patches, out=into).reshape(n, self.size)
        patches = (
            patches.reshape(n, self.t, self.k, q, self.c_in // q)
            .permute(0, 3, 1, 2, 4)
            .reshape(n * q, self.t, -1)
        )
        outputs = (
            g.reshape(n, self.t, q, self.c_out // q).permute(0, 2, 3, 1).reshape(n * q, -1, self.t)
        )
        formed = torch.bmm(outputs, patches).reshape(n, self.size)
        return formed if out is None else out.copy_(formed)

    def _depthwise(
        self, a: Float[Tensor, "n t_in c"], g: Float[Tensor, "n t c"]
    ) -> Float[Tensor, "n p"]:
        """Gradients of a depthwise weight, a product and a sum a tap; patches would copy the input
        a tap and transpose it.
        """
        n, window = len(a), self.window
        image, grads = a.reshape(n, *window.grid, self.c_in), g.reshape(n, *window.out, self.c_out)
        formed = a.new_empty(n, self.c_out, self.k)
        for number, (top, left) in enumerate(product(*window.taps)):
            met = image[:, top.inputs(window.stride[0]), left.inputs(window.stride[1])]
            formed[:, :, number] = (met * grads[:, top.outputs(), left.outputs()]).sum(dim=(1, 2))
        return formed.flatten(1)

    def as_weight(self, gradient: Float[Tensor, "n p"]) -> Tensor:
        """Gradients from `instantiate` in the shape of the weight, (n, *weight_shape), zero at the
        taps that never meet data.
        """
        n, window = len(gradient), self.window
        rows, columns = ([tap.offset for tap in axis] for axis in window.taps)
        gradient = gradient.reshape(
            n, self.c_out, len(rows), len(columns), self.c_in // self.groups
        )
        if self.k == prod(window.kernel):
            return gradient.permute(0, 1, 4, 2, 3).reshape(n, *self.weight_shape)
        whole = gradient.new_zeros(n, self.c_out, self.c_in // self.groups, *window.kernel)
        whole_numbers = {"dtype": torch.long, "device": whole.device}
        index = torch.tensor(rows, **whole_numbers)[:, None], torch.tensor(columns, **whole_numbers)
        whole[..., index[0], index[1]] = gradient.permute(0, 1, 4, 2, 3)
        return whole.reshape(n, *self.weight_shape)


def _pick(image: Tensor, axis: int, offsets: list[int]) -> Tensor:
    """Some places along an axis: a view where they are evenly spaced, as all but those of tiny
    grids are.
    """
    steps = {after - before for before, after in pairwise(offsets)} or {1}
    if len(steps) > 1:
        return image.index_select(axis, torch.tensor(offsets, device=image.device))
    index = [slice(None)] * image.ndim
    index[axis] = slice(offsets[0], offsets[-1] + 1, steps.pop())
    return image[tuple(index)]
