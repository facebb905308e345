"""The ridge of smallest leave-one-out risk, with no more work than it takes to be sure of it.

GCV of every ridge follows from the spectrum. Ridges are tried in its order, and those whose bound
(`loo_bounds`) is above the smallest risk so far need not be: the ridge that is found is that of the
whole path.

Many samples of few features are decomposed by `tall_modes`, whose products are in float32.

Notation: n samples, p features, λ a ridge, δ = nλ.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.linalg.tall import Room, tall_modes
from rmtgen.ranking.loo_bounds import Bounds
from rmtgen.ridge.eigen import Fit, Fits
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.store.spill import nameless

TALL = 4
"""Smallest number of samples, relative to the features, at which products are in float32."""
MANY = 4_096
"""Smallest number of samples likewise: of fewer, nothing takes time."""
RESOLVED = 100
"""Smallest δ that float32 resolves, relative to the eigenvalues that count as null."""
LEAST_LEFT = 1e-2
"""Smallest δG_ii that it resolves: a fit that leaves less of a sample has learnt it by heart."""
SLACK = 1e-5
"""What rounding may add to a bound, relative to it."""


@dataclass(frozen=True, eq=False)
class Best:
    """The ridge of smallest leave-one-out risk.

    Attributes:
        fits: The fits of all ridges.
        place: Place of the best among the ridges; that of the largest in a tie.
        left_out: Leave-one-out residuals there.
        diagonal: That of `Fit.diagonals` there.
        path: One row per ridge: `ridge gcv loo df`; leave-one-out is NaN where it is not finite,
            and where it is larger than at the best ridge and was not computed.
        least: Smallest δ of the ridges that the fits resolve; 0 for fits in float64.
    """

    fits: Fits
    place: int
    left_out: Float64[Tensor, "n c"]
    diagonal: Float64[Tensor, "n 1"]
    path: pd.DataFrame
    least: float


def best_ridge(problem: Problem, ridges: Sequence[tuple[float, float]]) -> Best:
    """The best of some ridges for all samples of a problem.

    Ridges that float32 does not resolve are tried, and all others again, in float64, where the
    smallest that it does resolve is the best of those.

    Args:
        problem: The problem.
        ridges: Pairs of λ and δ.

    Raises:
        NumericalError: A failed decomposition; or leave-one-out is finite at no ridge.
    """
    kernel = problem.kernel
    if isinstance(kernel, FeatureKernel) and tall(*kernel.train.shape):
        modes = tall_modes(kernel.train, problem.intercept, _room(kernel.spill))
        best = _best(Fits(problem, modes), ridges)
        if best and (best.least < ridges[best.place][1] or best.least == min(ridges)[1]):
            return best
    best = _best(Fits(problem, kernel.modes(len(kernel), problem.intercept)), ridges)
    if best is None:
        raise NumericalError(
            f"leave-one-out must be finite at a ridge: got none among {len(ridges)}, up to"
            f" {max(ridges)[0]:.3g}. Add larger ridges."
        )
    return best


def tall(n: int, p: int) -> bool:
    """Whether n samples of p features are so many that float32 is worth its digits."""
    return n >= max(MANY, TALL * p)


def _best(fits: Fits, ridges: Sequence[tuple[float, float]]) -> Best | None:
    """The best of the ridges that are resolved; None where leave-one-out is finite at none."""
    deltas = [delta for _, delta in ridges]
    rows = [spectral_columns(fits.at(delta).spectrum, delta) for delta in deltas]
    path = pd.DataFrame(rows)[["gcv", "df"]].assign(ridge=[pair[0] for pair in ridges], loo=np.nan)
    diagonals = _diagonals(fits, deltas)
    single = fits.modes.vectors.dtype == torch.float32
    resolved = [not single or _resolves(fits, *one) for one in zip(deltas, diagonals, strict=True)]
    smallest, bounds = np.inf, dict[Fit, Bounds]()
    for place in path[resolved].sort_values(["gcv", "ridge"], ascending=[True, False]).index:
        delta, diagonal = deltas[place], diagonals[place]
        fit = fits.at(delta)
        own = bounds.setdefault(fit, Bounds(fit))
        if own.below(delta, diagonal) * (1 - SLACK) > smallest:
            continue
        risk = own.losses(delta, diagonal).mean().item()
        if np.isfinite(risk):
            path.loc[place, "loo"] = risk
            smallest = min(smallest, risk)
    if not np.isfinite(smallest):
        return None
    place = int(path["ridge"].where(path["loo"] == smallest).idxmax())
    least = min(itertools.compress(deltas, resolved)) if single else 0.0
    delta, diagonal = deltas[place], diagonals[place]
    left_out = bounds[fits.at(delta)].left_out(delta, diagonal)
    return Best(fits, place, left_out, diagonal, path, least)


def _resolves(fits: Fits, delta: float, diagonal: Float64[Tensor, "n 1"]) -> bool:
    """Whether modes in float32, of more samples than features, resolve a sum ridge."""
    if delta < RESOLVED * fits.modes.tolerance:
        return False
    left = torch.add(fits.modes.null_leverage()[:, None], diagonal, alpha=delta)
    return left.min().item() > LEAST_LEFT


def _diagonals(fits: Fits, deltas: Sequence[float]) -> list[Float64[Tensor, "n 1"]]:
    """`Fit.diagonals` at each sum ridge: one product for those that share their modes."""
    found: dict[float, Float64[Tensor, "n 1"]] = {}
    for fit in {id(fits.at(delta)): fits.at(delta) for delta in deltas}.values():
        own = [delta for delta in deltas if fits.at(delta) is fit]
        found |= dict(zip(own, fit.diagonals(np.array(own)).split(1, dim=1), strict=True))
    return [found[delta] for delta in deltas]


def _room(place: Path | None) -> Room | None:
    """Room in a folder for modes that need not fit into memory."""
    if place is None:
        return None

    def mapped(rows: int, columns: int) -> Float32[Tensor, "n r"]:
        with nameless(place) as file:
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(rows, columns)))

    return mapped
