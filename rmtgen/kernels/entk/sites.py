"""The shapes of a site, where a weight meets data: a convolution, or a linear layer on tokens.

Each sample has an input a (t_in positions, c_in channels) and an output gradient g (t positions,
c_out channels) at the site. The gradient of the weight is Σ_t g_t p_tᵀ, where p_t is the patch of a
under the window at position t. A linear layer on t tokens has a window of one position.

Notation: n samples, q groups, k taps. A tap is an offset within the window; one that meets padding
only is left out.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

Pair = tuple[int, int]
"""Vertical and horizontal value."""


@dataclass(frozen=True)
class Tap:
    """One offset of a window along one axis.

    Attributes:
        offset: Index within the window.
        low: First output position at which the tap meets an input position.
        high: Output position after the last.
        start: Input position at the first output position.
    """

    offset: int
    low: int
    high: int
    start: int

    def outputs(self) -> slice:
        """The output positions."""
        return slice(self.low, self.high)

    def inputs(self, stride: int) -> slice:
        """The input positions at these output positions."""
        return slice(self.start, self.start + (self.high - self.low - 1) * stride + 1, stride)


@dataclass(frozen=True)
class Window:
    """A sliding window on a grid of input positions."""

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
        """The taps of each axis that meet an input position."""
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
    """The shapes of one place where a weight (c_out, c_in/q, *kernel) meets data.

    Attributes:
        window: Window on the grid of input positions.
        c_in: Input channels.
        c_out: Output channels.
        groups: Number q of groups.
        weight_shape: Shape of the weight.
    """

    window: Window
    c_in: int
    c_out: int
    groups: int
    weight_shape: tuple[int, ...]

    @property
    def t_in(self) -> int:
        """Number of input positions."""
        return prod(self.window.grid)

    @property
    def t(self) -> int:
        """Number of output positions."""
        return prod(self.window.out)

    @property
    def k(self) -> int:
        """Number of taps that meet data."""
        return prod(map(len, self.window.taps))

    @property
    def depth(self) -> int:
        """Entries of a patch per group."""
        return self.k * self.c_in // self.groups

    @property
    def size(self) -> int:
        """Entries of the gradient of the weight that can differ from zero."""
        return self.c_out * self.depth

    def patches(self, a: Float[Tensor, "n t_in c_in"]) -> Float[Tensor, "n t kc"]:
        """The input under the window at each output position; entries ordered (tap, channel)."""
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

    def as_weight(self, gradient: Float[Tensor, "n p"]) -> Tensor:
        """Gradients of `form` as (n, *weight_shape), zero at taps that meet padding only."""
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
    """Some positions along an axis: a view if they are evenly spaced, else a copy."""
    steps = {after - before for before, after in pairwise(offsets)} or {1}
    if len(steps) > 1:
        return image.index_select(axis, torch.tensor(offsets, device=image.device))
    index = [slice(None)] * image.ndim
    index[axis] = slice(offsets[0], offsets[-1] + 1, steps.pop())
    return image[tuple(index)]
