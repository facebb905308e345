"""The double sums that turn products between positions into the kernel of a block of samples.

For samples i of the rows and j of the columns, Σ_tt' G_tt' A_tt', where G_tt' = g_it·g_jt' is a
product of output gradients and A_tt' = a_it·a_jt' one of patches; of a window, the sum over its
taps of products of pixels.
"""

import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.kernels.entk.sites import Tap, Window

WORTH = 2**24
"""Number of products from which on compiled sums repay their compilation."""

Sum = Callable[[Tensor, Tensor, Tensor], None]
"""Adds to a kernel (i, j) the double sum of inputs (i, u, u', j) and gradients (i, t, t', j).

It may overwrite both.
"""


def double_sum(window: Window | None, products: float, device: str) -> Sum:
    """The fastest way to sum at a site.

    Args:
        window: Window whose taps are summed; None: inputs are products of patches.
        products: Number of products to be summed in all calls.
        device: "cpu" or "cuda".
    """
    if device == "cpu" and products >= WORTH and _machine_code() is not None:
        return _compiled_sum(window)
    return lambda kernel, inputs, grads: add(kernel, inputs, grads, window)


def add(
    kernel: Float64[Tensor, "i j"],
    inputs: Float[Tensor, "i u v j"],
    grads: Float[Tensor, "i t s j"],
    window: Window | None,
) -> None:
    """The sum in array operations of torch."""
    if window is not None:
        rows, columns = kernel.shape
        inputs = inputs.view(rows, *window.grid, *window.grid, columns)
        inputs = _sum_taps(inputs, 1, window.taps[1], window.out[1], window.stride[1])
        inputs = _sum_taps(inputs, 0, window.taps[0], window.out[0], window.stride[0])
        inputs = inputs.view(grads.shape)
    kernel += torch.mul(inputs, grads, out=grads).sum(dim=(1, 2))


def _sum_taps(products: Tensor, axis: int, taps: tuple[Tap, ...], out: int, stride: int) -> Tensor:
    """Sum over the taps of an axis of the products at the input positions that the tap meets.

    Args:
        products: (i, t, t, t, t, j), the grid of the first sample before that of the second.
        axis: Axis of the window, which is axis `axis + 1` and `axis + 3` of `products`.
        taps: The taps of this axis.
        out: Number of output positions along this axis.
        stride: Stride along this axis.
    """
    shape = list(products.shape)
    shape[axis + 1] = shape[axis + 3] = out
    summed = None
    # The tap with the most outputs comes first; if it has all, its copy replaces an array of zeros.
    for tap in _widest_first(taps):
        met = _narrow(products, axis, tap.inputs(stride))
        if summed is None and tap.high - tap.low == out:
            summed = met if len(taps) == 1 else met.clone(memory_format=torch.contiguous_format)
            continue
        summed = products.new_zeros(shape) if summed is None else summed
        _narrow(summed, axis, tap.outputs()).add_(met)
    return summed.contiguous()


def _widest_first(taps: tuple[Tap, ...]) -> list[Tap]:
    return sorted(taps, key=lambda tap: tap.low - tap.high)


def _narrow(tensor: Tensor, axis: int, span: slice) -> Tensor:
    index = [slice(None)] * 6
    index[axis + 1] = index[axis + 3] = span
    return tensor[tuple(index)]


def _compiled_sum(window: Window | None) -> Sum:
    """The sum in machine code."""
    code = _machine_code()
    if window is None:

        def add_products(kernel: Tensor, inputs: Tensor, grads: Tensor) -> None:
            rows, positions = grads.shape[:2]
            sides = (side.view(rows, positions, -1).numpy() for side in (inputs, grads))
            code.add_products(kernel.numpy(), *sides)

        return add_products
    tables = _across(window), _covering(window), _down(window)

    def add_shifted(kernel: Tensor, inputs: Tensor, grads: Tensor) -> None:
        sides = (
            side.view(len(kernel), *grid, grid[0], -1).numpy()
            for side, grid in ((inputs, window.grid), (grads, window.out))
        )
        code.add_shifted(kernel.numpy(), *sides, *tables)

    return add_shifted


def _across(window: Window) -> np.ndarray:
    """Runs of the horizontal taps: w and w' of the sum, w and w' of the input, and the length.

    With stride 1, a run is a whole row of positions w'.
    """
    stride, runs = window.stride[1], []
    for tap in _widest_first(window.taps[1]):
        outputs = range(tap.low, tap.high)
        starts, length = (outputs[:1], len(outputs)) if stride == 1 else (outputs, 1)
        runs += [
            (out, start, _met(tap, out, stride), _met(tap, start, stride), length)
            for out in outputs
            for start in starts
        ]
    return np.array(runs)


def _covering(window: Window) -> int:
    """Number of runs of the widest horizontal tap if it meets every output, else 0."""
    widest = _widest_first(window.taps[1])[0]
    out = window.out[1]
    if widest.high - widest.low < out:
        return 0
    return out if window.stride[1] == 1 else out**2


def _down(window: Window) -> np.ndarray:
    """Two rows h and h' of the input and two of the output that a vertical tap joins, in order."""
    stride = window.stride[0]
    return np.array(
        sorted(
            (_met(tap, one, stride), _met(tap, other, stride), one, other)
            for tap in window.taps[0]
            for one in range(tap.low, tap.high)
            for other in range(tap.low, tap.high)
        )
    )


def _met(tap: Tap, output: int, stride: int) -> int:
    """The input position that a tap meets at an output position."""
    return tap.start + (output - tap.low) * stride


@cache
def _machine_code() -> ModuleType | None:
    """The module of compiled sums; None without numba, and after a warning if it fails here."""
    try:
        from rmtgen.kernels.entk import compiled

        one = np.zeros((1, 1, 1), np.float32)
        compiled.add_products(np.zeros((1, 1)), one, one)
    except ModuleNotFoundError:
        return None
    except Exception as failure:  # noqa: BLE001 - any failure of a compiler has the same remedy
        warnings.warn(
            f"numba does not compile here ({type(failure).__name__}: {failure}), so that the eNTK"
            " takes the slower sums of torch. Repair numba, or remove it.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return compiled
