"""The ridge of smallest leave-one-out risk, with no more work than it takes to be sure of it.

GCV of every ridge follows from the spectrum. It times (mean of G_ii/largest G_ii)² bounds
leave-one-out from below, so ridges are tried in the order of GCV, and those whose bound is above
the smallest risk so far need not be: the ridge that is found is that of the whole path.

Many samples of few features are decomposed by `tall_modes`, whose products are in float32.

Notation: n samples, p features, λ a ridge, δ = nλ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.tall import CUT, Room, tall_modes
from rmtgen.ridge.eigen import Fits
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.store.spill import nameless

TALL = 4
"""Smallest number of samples, relative to the features, at which products are in float32."""
MANY = 4_096
"""Smallest number of samples likewise: of fewer, nothing takes time."""
RESOLVED = 100
"""Smallest δ likewise, relative to the eigenvalues that count as null."""
LEAST_LEFT = 1e-3
"""Smallest share of a sample outside the span of all others, at which float32 resolves it."""
SLACK = 1e-5
"""What rounding may add to a bound, relative to it."""


def modes_of(problem: Problem, sum_ridges: Sequence[float]) -> Modes:
    """Modes of all samples of a problem for some sum ridges, in the precision that these need.

    Raises:
        NumericalError: A failed decomposition.
    """
    kernel = problem.kernel
    if isinstance(kernel, FeatureKernel) and _resolved(kernel, min(sum_ridges)):
        modes = tall_modes(kernel.train, problem.intercept, _room(kernel.spill))
        if modes.null_leverage().min() > LEAST_LEFT:
            return modes
    return kernel.modes(len(kernel), problem.intercept)


def _room(place: Path | None) -> Room | None:
    """Room in a folder for modes that need not fit into memory."""
    if place is None:
        return None

    def mapped(rows: int, columns: int) -> Float32[Tensor, "n r"]:
        with nameless(place) as file:
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(rows, columns)))

    return mapped


def tall(n: int, p: int) -> bool:
    """Whether n samples of p features are so many that float32 is worth its digits."""
    return n >= max(MANY, TALL * p)


def _resolved(kernel: FeatureKernel, sum_ridge: float) -> bool:
    """Whether samples are that many, and the sum ridge above what float32 does not resolve."""
    least = RESOLVED * CUT * kernel.diagonal().sum().item()
    return tall(*kernel.train.shape) and sum_ridge >= least


@dataclass(frozen=True, eq=False)
class Best:
    """The ridge of smallest leave-one-out risk.

    Attributes:
        place: Its place among the ridges; that of the largest in a tie.
        left_out: Leave-one-out residuals there.
        path: One row per ridge: `ridge gcv loo df`; leave-one-out is NaN where it is not finite,
            and where it is larger than at the best ridge and was not computed.
    """

    place: int
    left_out: Float64[Tensor, "n c"]
    path: pd.DataFrame


def best_ridge(fits: Fits, ridges: Sequence[tuple[float, float]]) -> Best:
    """The best of some ridges for all samples.

    Args:
        fits: Fits of the samples.
        ridges: Pairs of λ and δ.

    Raises:
        NumericalError: Leave-one-out is finite at no ridge.
    """
    rows = [spectral_columns(fits.at(delta).spectrum, delta) for _, delta in ridges]
    path = pd.DataFrame(rows)[["gcv", "df"]].assign(ridge=[pair[0] for pair in ridges], loo=np.nan)
    diagonals = _diagonals(fits, [delta for _, delta in ridges])
    smallest = np.inf
    for place in path.sort_values(["gcv", "ridge"], ascending=[True, False]).index:
        delta, diagonal = ridges[place][1], diagonals[place]
        fit = fits.at(delta)
        if fit.least_loo(delta, diagonal) * (1 - SLACK) > smallest:
            continue
        risk = fit.losses(delta, diagonal).mean().item()
        if np.isfinite(risk):
            path.loc[place, "loo"] = risk
            smallest = min(smallest, risk)
    if not np.isfinite(smallest):
        raise NumericalError(
            f"leave-one-out must be finite at a ridge: got none among {len(path)}, up to"
            f" {path['ridge'].max():.3g}. Add larger ridges."
        )
    place = int(path["ridge"].where(path["loo"] == smallest).idxmax())
    delta = ridges[place][1]
    return Best(place, fits.at(delta).left_out(delta), path)


def _diagonals(fits: Fits, deltas: Sequence[float]) -> list[Float64[Tensor, "n 1"]]:
    """`Fit.diagonals` at each sum ridge: one product for those that share their modes."""
    found: dict[float, Float64[Tensor, "n 1"]] = {}
    for fit in {id(fits.at(delta)): fits.at(delta) for delta in deltas}.values():
        own = [delta for delta in deltas if fits.at(delta) is fit]
        found |= dict(zip(own, fit.diagonals(np.array(own)).split(1, dim=1), strict=True))
    return [found[delta] for delta in deltas]
