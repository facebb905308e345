"""What two representations of the same images share, and what one adds to the other.

Centred kernel alignment of linear kernels is CKA = ‖XᵀZ‖²_F/(‖XᵀX‖_F ‖ZᵀZ‖_F) for features X and Z
less their means: 1 where they are the same up to a rotation and a scale, 0 where they have nothing
in common. It does not ask for the labels. What one adds to the other does: the risk of a ridge
probe on both side by side, each scaled to tr K = n, against that on one of them alone, with a
paired interval.

References: Kornblith, Norouzi, Lee & Hinton 2019, arXiv 1905.00414 (CKA).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import finite_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.paired import risk_difference
from rmtgen.ranking.probe import Probe
from rmtgen.ranking.ranked import RELATIVE_RIDGES, Labels, coded, probe_of

COLUMNS = (
    *("first", "second", "cka", "loo_first", "loo_second", "loo_both"),
    *("alignment_first", "alignment_second"),
    *("gain_over_first", "gain_over_first_low", "gain_over_first_high"),
    *("gain_over_second", "gain_over_second_low", "gain_over_second_high", "balanced"),
)
"""Columns of a comparison."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two representations of a comparison.

    Attributes:
        name: Its name.
        features: (n, p), float64, scaled to tr K = n (`unit`).
        probe: What the samples say of it alone.
    """

    name: str
    features: Float64[Tensor, "n p"]
    probe: Probe


@public
def compare_features(
    representations: Mapping[str, np.ndarray | Tensor],
    labels: np.ndarray | Tensor | pd.DataFrame,
    *,
    classes: int | None = None,
    relative_ridges: ArrayLike = RELATIVE_RIDGES,
    coding: str = "centered",
    balanced: bool = False,
) -> pd.DataFrame:
    """What each two representations share, and how much the risk falls with both.

    Args:
        representations: At least two features (n, p) by name, as `rank` takes them.
        labels: Classes, labels or targets of a regression, as `rank` takes them.
        classes: Number of classes; default the largest label + 1.
        relative_ridges: λ/(tr K/n) ≥ 0, the grid that leave-one-out chooses from for each.
        coding: As in `rank`.
        balanced: Let every class count the same, as in `rank`; `cka` is the same without.

    Returns:
        One row per pair, `COLUMNS`: `cka` of the two, their leave-one-out risks and that of both
        side by side, the alignment of each with the labels, and by how much the risk of both is
        less than that of each alone, with the paired interval of 95 %. A gain whose interval holds
        0 may be none. Where `balanced`, every class counts the same in risks and in alignment.

    Raises:
        UsageError: Fewer than two representations, or as `rank`.
        NumericalError: As `rank`; or features that are all alike, of which CKA is not defined.
    """
    if not isinstance(representations, Mapping) or len(representations) < 2:
        raise UsageError(
            "a comparison needs features by name, at least two: got"
            f" {representations!r:.60}. Rank a single one: rmtgen.rank."
        )
    found = coded(labels, classes, coding, balanced)
    sides = []
    for name, features in representations.items():
        scaled = unit(str(name), features)
        probe = probe_of(str(name), scaled, found, relative_ridges)
        sides.append(Side(str(name), scaled, probe))
    rows = [
        compared(first, second, found, relative_ridges)
        for here, first in enumerate(sides)
        for second in sides[here + 1 :]
    ]
    return pd.DataFrame(rows)[list(COLUMNS)]


def compared(
    first: Side, second: Side, labels: Labels, relative_ridges: ArrayLike
) -> dict[str, float | str | bool]:
    """What two representations share, and what each adds to the other: a row of `COLUMNS`.

    Raises:
        UsageError, NumericalError: As `compare_features`.
    """
    side_by_side = torch.cat([first.features, second.features], dim=1)
    both = probe_of(f"{first.name} + {second.name}", side_by_side, labels, relative_ridges)
    row: dict[str, float | str | bool] = {"first": first.name, "second": second.name}
    row |= {
        "balanced": labels.balanced,
        "cka": cka(first.features, second.features),
        "loo_both": both.best["loo"],
    }
    for place, side in (("first", first), ("second", second)):
        gain = risk_difference(side.probe, both)
        values = dict(zip(("", "_low", "_high"), (gain.value, *gain.interval), strict=True))
        row |= {f"gain_over_{place}{end}": value for end, value in values.items()}
        row |= {
            f"loo_{place}": side.probe.best["loo"],
            f"alignment_{place}": side.probe.figures["alignment"],
        }
    return row


def unit(name: str, features: np.ndarray | Tensor) -> Float64[Tensor, "n p"]:
    """The features over the root of the mean of K_ii, so that tr K = n.

    Raises:
        UsageError, NumericalError: They are none, or all zero; the message names them.
    """
    try:
        matrix = finite_matrix(features, "features").double()
    except (UsageError, NumericalError) as error:
        raise type(error)(f"representation {name!r}: {error}") from error
    return matrix / power_root(name, matrix.square().sum().item(), len(matrix))


def power_root(name: str, squares: float, n: int) -> float:
    """√(Σ‖x_i‖²/n): over it, features of n samples have tr K = n, as all that stand side by side.

    Raises:
        NumericalError: The sum of the squares is 0 or not finite; the message names the features.
    """
    if not 0 < squares < np.inf:
        raise NumericalError(
            f"representation {name!r}: features need squares of a positive, finite sum: got"
            f" {squares:.3g}. Check for all-zero features, or rescale them."
        )
    return math.sqrt(squares / n)


def cka(first: Float64[Tensor, "n p"], second: Float64[Tensor, "n q"]) -> float:
    """Centred kernel alignment of two linear kernels, in [0, 1].

    The products are n×n where that is smaller than p×q and the squares.

    Raises:
        NumericalError: Features that are all alike.
    """
    first, second = (features - features.mean(dim=0) for features in (first, second))
    if len(first) < min(first.shape[1], second.shape[1]):
        first, second = first @ first.mT, second @ second.mT
        crossed = (first * second).sum()
        own = [matrix.square().sum() for matrix in (first, second)]
    else:
        crossed = (first.mT @ second).square().sum()
        own = [(features.mT @ features).square().sum() for features in (first, second)]
    scale = (own[0] * own[1]).sqrt().item()
    if not scale > 0:
        raise NumericalError(
            "CKA needs features that differ between samples: got none. Choose another layer."
        )
    return crossed.item() / scale
