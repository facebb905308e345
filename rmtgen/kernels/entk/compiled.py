"""The double sums of `sums` as machine code for a CPU, compiled by numba on first use.

One pass reads each product once, from the cache, where a sequence of array operations reads and
writes it once per tap. This module needs numba; `sums` does the same without it.

Arrays have samples i of the rows first and samples j of the columns last, so that a loop runs over
many columns. Sums in the precision of the products are short, and continue in float64.
"""

import numpy as np
from numba import njit

_compiled = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")


@_compiled
def _flush(sums: np.ndarray, total: np.ndarray) -> None:
    """Add the sums of each column, (positions · j), to its total, and set them to zero."""
    columns = len(total)
    for start in range(0, len(sums), columns):
        for column in range(columns):
            total[column] += sums[start + column]
            sums[start + column] = 0


@_compiled
def add_products(kernel: np.ndarray, inputs: np.ndarray, grads: np.ndarray) -> None:
    """Add Σ_tt' inputs · grads.

    Args:
        kernel: (i, j), float64.
        inputs: (i, t, t'·j).
        grads: (i, t, t'·j).
    """
    rows, columns = kernel.shape
    positions, width = inputs.shape[1:]
    sums = np.zeros(width, inputs.dtype)
    total = np.empty(columns)
    for row in range(rows):
        total[:] = 0
        for position in range(positions):
            left, right = inputs[row, position], grads[row, position]
            for at in range(width):
                sums[at] += left[at] * right[at]
            if position % 64 == 63 or position == positions - 1:
                _flush(sums, total)
        for column in range(columns):
            kernel[row, column] += total[column]


@_compiled
def _sum_across(
    summed: np.ndarray, one: np.ndarray, across: np.ndarray, covering: int, columns: int
) -> None:
    """Set (w, w'·j) to the sum over horizontal taps of the products (w, w'·j) of two input rows."""
    if covering == 0:
        summed[:] = 0
    for run in range(len(across)):
        to, start, source, first, length = across[run]
        target = summed[to, start * columns : (start + length) * columns]
        part = one[source, first * columns : (first + length) * columns]
        if run < covering:
            for at in range(len(target)):
                target[at] = part[at]
        else:
            for at in range(len(target)):
                target[at] += part[at]


@_compiled
def add_shifted(
    kernel: np.ndarray,
    inputs: np.ndarray,
    grads: np.ndarray,
    across: np.ndarray,
    covering: int,
    down: np.ndarray,
) -> None:
    """Add Σ_tt' grads · Σ_taps shifted inputs, of a window on a grid.

    For two rows of the input, the horizontal taps are summed; the result meets the output gradients
    of each vertical tap.

    Args:
        kernel: (i, j), float64.
        inputs: (i, h, w, h', w'·j), on the input grid.
        grads: (i, h, w, h', w'·j), on the output grid.
        across: Of every run of a horizontal tap: w and w' of its sum, w and w' of its input, and
            its length along w'.
        covering: Number of first runs that set every sum; 0: sums begin at zero.
        down: h and h' of an input, and h and h' of an output that it meets, in the order of the
            inputs.
    """
    rows, columns = kernel.shape
    wide, width = grads.shape[2], grads.shape[4]
    summed = np.zeros((wide, width), inputs.dtype)
    sums = np.zeros(width, inputs.dtype)
    total = np.empty(columns)
    for row in range(rows):
        total[:] = 0
        top = bottom = -1
        for met in range(len(down)):
            if down[met, 0] != top or down[met, 1] != bottom:
                if down[met, 0] != top:
                    _flush(sums, total)
                top, bottom = down[met, 0], down[met, 1]
                _sum_across(summed, inputs[row, top, :, bottom], across, covering, columns)
            for position in range(wide):
                left, right = summed[position], grads[row, down[met, 2], position, down[met, 3]]
                for at in range(width):
                    sums[at] += left[at] * right[at]
        _flush(sums, total)
        for column in range(columns):
            kernel[row, column] += total[column]
