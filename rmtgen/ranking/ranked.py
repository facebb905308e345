"""`rmtgen.rank`: the ranking of representations that are at hand as arrays."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.probe import Probe
from rmtgen.ranking.table import ranking
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import Targets, encode_targets, label_vector

RELATIVE_RIDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-16, 5))
"""Default of λ/(tr K/n): half decades from 1e-8 to 1e2."""


@public
def rank(
    representations: Mapping[str, np.ndarray | Tensor],
    labels: np.ndarray | Tensor,
    *,
    classes: int | None = None,
    relative_ridges: ArrayLike = RELATIVE_RIDGES,
    coding: str = "centered",
) -> pd.DataFrame:
    """Rank representations of the same labelled images by how well a ridge probe on them will do.

    No test set is needed, and no image is held out: leave-one-out is exact, its interval is for new
    images, and differences have intervals of their own, which the images that both representations
    share make narrower.

    Args:
        representations: Features (n, p) by name, float32 or float64, of the same n images in the
            same order. p may differ.
        labels: (n,) integers in [0, classes).
        classes: Number of classes; default the largest label + 1.
        relative_ridges: λ/(tr K/n) ≥ 0, the grid that leave-one-out chooses from for each.
        coding: `onehot`, `centered` or `intercept` (`encode_targets`).

    Returns:
        One row per representation, the best first: `rmtgen.ranking.table.COLUMNS`. `loo` is the
        leave-one-out risk with its 95 % interval, `accuracy` in [0, 1]; `behind` is the difference
        to the first, `tied` where its paired interval holds 0; `place_low` and `place_high` are the
        places that paired intervals leave; columns `…with_more` are forecasts for ten times the
        images.

    Raises:
        UsageError: No representation, or shapes, labels or ridges that make no sense; the message
            names the representation.
        NumericalError: Features that are not finite or all zero, or a failed decomposition.
    """
    if not isinstance(representations, Mapping) or not representations:
        raise UsageError(
            f"representations must be features by name, at least one: got {representations!r:.60}."
        )
    targets = coded(labels, classes, coding)
    return ranking(
        {
            str(name): probe_of(str(name), features, targets, relative_ridges)
            for name, features in representations.items()
        }
    )


def coded(labels: np.ndarray | Tensor, classes: int | None, coding: str) -> Targets:
    """Encoded labels, of as many classes as the largest says where no number is given.

    Raises:
        UsageError: No label, or as `encode_targets`.
    """
    labels = label_vector(labels)
    if not len(labels):
        raise UsageError("labels must be one per image: got none.")
    count = int(labels.max()) + 1 if classes is None else classes
    return encode_targets(labels, count, coding)


def probe_of(
    name: str, features: np.ndarray | Tensor, targets: Targets, relative_ridges: ArrayLike
) -> Probe:
    """The probe of a representation, which errors name.

    Raises:
        UsageError, NumericalError: As `rank`.
    """
    try:
        kernel = FeatureKernel.checked(features, None)
        ridges = resolve_ridges(relative_ridges, kernel.diagonal().sum().item(), len(kernel))
        values, intercept = targets.values, targets.intercept
        problem = Problem.checked(kernel, values, None, loo=True, intercept=intercept)
        return Probe.of(problem, ridges)
    except (UsageError, NumericalError) as error:
        raise type(error)(f"representation {name!r}: {error}") from error
