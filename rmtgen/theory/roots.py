"""The largest root of convex functions, many at once."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

STEPS = 2_200
"""Largest number of steps: a double root is halved in each, and 2,200 halvings cross the range of
float64."""


def largest_roots(
    tangent_root: Callable[[Float64[np.ndarray, " k"], np.ndarray], Float64[np.ndarray, " k"]],
    start: Float64[np.ndarray, " l"],
) -> Float64[np.ndarray, " l"]:
    """Newton's method from the right: on a convex function it descends to the largest root.

    Args:
        tangent_root: (x, which) ↦ where the tangents at x of the functions numbered `which` cross
            0, one x per function. It returns the place and not the step, which would lose the
            digits of a root many decades below.
        start: Points at or to the right of the roots, ≥ 0.

    Returns:
        The roots to rounding: a point that does not descend any more ends the search.
    """
    x, moving = start.copy(), np.arange(len(start))
    for _ in range(STEPS):
        if not moving.size:
            break
        lower = tangent_root(x[moving], moving)
        descends = lower < x[moving] * (1 - np.finfo(float).eps)  # a NaN does not
        moving = moving[descends]
        x[moving] = lower[descends]
    return x
