"""The grid of ridges of an estimator, and whether the minimum of GCV lies inside it."""

import numpy as np
import torch
from jaxtyping import Float64, Int64

from rmtgen.errors import warn
from rmtgen.linalg.modes import EPS64, rounding
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.path import resolve_ridges

RELATIVE = np.logspace(-8, 2, 41)
"""Ridges λ of the default grid, relative to tr K/n."""
FLAT = 1e-9
"""Relative fall of GCV towards the edge of the grid below which it counts as flat."""


def default_ridges(
    kernel: FeatureKernel | GramKernel, intercept: bool
) -> Float64[np.ndarray, " l"]:
    """The default grid over tr K/n, which follows the unit of the features.

    Where all features are 0, any grid will do.
    """
    trace, noise = (_gram_trace if isinstance(kernel, GramKernel) else _feature_trace)(
        kernel, intercept
    )
    ridges = (
        resolve_ridges(RELATIVE, max(trace, noise), len(kernel)) if trace or noise else RELATIVE
    )
    return ridges[len(kernel) * ridges > noise]


def _gram_trace(kernel: GramKernel, intercept: bool) -> tuple[float, float]:
    """The trace of K, of HKH with an intercept; and the part of it that counts as rounding.

    The second is the rank tolerance of `gram_modes`.
    """
    train, n = kernel.train, len(kernel)
    whole = train.diagonal().sum(dtype=torch.float64).item()
    return (
        whole - intercept * train.sum(dtype=torch.float64).item() / n,
        rounding(n, kernel.single) * whole,
    )


def _feature_trace(kernel: FeatureKernel, intercept: bool) -> tuple[float, float]:
    """`_gram_trace` of K = XXᵀ, with the rank tolerance of `feature_modes`."""
    rows, norm = kernel.train.double(), torch.linalg.vector_norm
    whole, noise = norm(rows).item() ** 2, max(rows.shape) * EPS64
    return norm(rows - rows.mean(dim=0)).item() ** 2 if intercept else whole, noise**2 * whole


def warn_at_edges(
    ridges: Float64[np.ndarray, " l"],
    gcv: Float64[np.ndarray, "l k"],
    place: Int64[np.ndarray, " k"],
    floor: Float64[np.ndarray, " k"],
) -> None:
    """Warn that minima may lie outside the grid.

    They may where GCV, above its rounding, falls up to an edge that could be moved.

    Args:
        ridges: λ, ascending.
        gcv: GCV of each choice that is made.
        place: The place of each minimum.
        floor: Rounding of each curve.
    """
    if len(ridges) == 1:
        return
    least, choices = gcv.min(axis=0), gcv.shape[1]
    edges = ((0, "smallest", "smaller", 1), (len(ridges) - 1, "largest", "larger", -2))
    for edge, name, further, neighbour in edges:
        falls = (place == edge) & (least > floor) & (least < (1 - FLAT) * gcv[neighbour])
        if not falls.any() or ridges[edge] == 0:
            continue
        cause = (
            "or add 0, the ridgeless limit"
            if edge == 0
            else "unless the kernel does not explain the targets"
        )
        whose = f" for {falls.sum()} of {choices} targets" if choices > 1 else ""
        warn(
            f"GCV should be smallest inside the grid of ridges: got its minimum at the {name} of"
            f" {len(ridges)}, λ = {ridges[edge]:.3g} (the other end is {ridges[-1 - edge]:.3g})"
            f"{whose}. Pass {further} ridges, {cause}."
        )
