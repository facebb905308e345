"""`rmtgen.rank`: the ranking of representations that are at hand as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import as_array
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.balanced import balanced_probe
from rmtgen.ranking.probe import Probe
from rmtgen.ranking.table import output_table, ranking
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.outputs import coding_of, split_targets
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.strata import require_pairs
from rmtgen.ridge.targets import Targets
from rmtgen.scalars import flag, whole_number
from rmtgen.tasks import label_array, order_of, require_balance, require_varying, task_of

RELATIVE_RIDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-16, 5))
"""Default of λ/(tr K/n): half decades from 1e-8 to 1e2."""


@public
def rank(
    representations: Mapping[str, np.ndarray | Tensor],
    labels: np.ndarray | Tensor | pd.DataFrame,
    *,
    classes: int | None = None,
    by: str | None = None,
    relative_ridges: ArrayLike = RELATIVE_RIDGES,
    coding: str = "centered",
    balanced: bool = False,
) -> pd.DataFrame:
    """Rank representations of the same labelled images by how well a ridge probe on them will do.

    No test set is needed, and no image is held out: leave-one-out is exact, its interval is for new
    images, and differences have intervals of their own, which the images that both representations
    share make narrower.

    Args:
        representations: Features (n, p) by name, float32 or float64, of the same n images in the
            same order. p may differ.
        labels: What the images are labelled with, by type. Classes: (n,) integers in [0, classes).
            Several labels: (n, c) booleans, or integers 0 and 1, whether an image has each. The
            targets of a regression: floats, (n,) or (n, c). Or a DataFrame of n rows of such.
        classes: Number of classes; default the largest label + 1.
        by: What the order is by: `accuracy`, the default for classes, or `risk`, the only one for
            labels and targets.
        relative_ridges: λ/(tr K/n) ≥ 0, the grid that leave-one-out chooses from for each.
        coding: Of classes `onehot`, `centered` or `intercept` (`encode_targets`). Labels and
            targets always have an intercept, and targets the variance 1.
        balanced: Let every class count the same, in the fit and in what is measured of it, however
            many images it has: risk and accuracy are means over classes. There are no forecasts
            then. Of classes, each with at least two images, and no intercept.

    Returns:
        One row per representation, the best first: `rmtgen.ranking.table.COLUMNS`. `loo` is the
        leave-one-out risk with its 95 % interval, `accuracy` in [0, 1]; of labels and targets `r2`
        takes its place, and labels have an `auc`. `behind` is the risk above that of the first,
        `accuracy_behind` and `auc_behind` what it is below the first in those; `tied` is where the
        paired interval of the one that the order is by holds 0; `place_low` and `place_high` are
        the places that paired intervals leave; columns `…with_more` are forecasts for ten times the
        images.

    Raises:
        UsageError: No representation, or shapes, labels, ridges or an order that make no sense; the
            message names the representation.
        NumericalError: Features that are not finite or all zero, or a failed decomposition.
    """
    found = coded(labels, classes, coding, balanced)
    order = order_of(found.task, by)
    return ranking(_probes(representations, found, relative_ridges), order)


@public
def rank_outputs(
    representations: Mapping[str, np.ndarray | Tensor],
    labels: np.ndarray | Tensor | pd.DataFrame,
    *,
    relative_ridges: ArrayLike = RELATIVE_RIDGES,
) -> pd.DataFrame:
    """What each representation explains of each target of a regression, or of each label.

    The ridge of a representation is that of all outputs together, as in `rank`; one for each is in
    `rmtgen.per_target_path`.

    Args:
        representations: As in `rank`.
        labels: Labels or targets as in `rank`; the columns of a DataFrame name the outputs, which
            are numbered otherwise.
        relative_ridges: As in `rank`.

    Returns:
        One row per output and representation, the outputs in their order, and of each the
        representations by `r2`: `rmtgen.ranking.table.BY_OUTPUT`. `loo` is the leave-one-out risk,
        of a target over its variance; `r2` has its 95 % interval; `auc` is the chance that an image
        with the label scores above one without, both left out, with its interval, and `share` that
        of the images with it. These are NaN for targets, and for a label that all images have, or
        none.

    Raises:
        UsageError: Classes; or as `rank`.
        NumericalError: As `rank`.
    """
    found = coded(labels, None, "intercept")
    if found.task == "classes":
        raise UsageError(
            "outputs are labels, (n, c) of 0 and 1, or targets of a regression, floats: got a"
            " vector of class indices. Rank it: rmtgen.rank."
        )
    return output_table(_probes(representations, found, relative_ridges), found.names)


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of any kind, encoded.

    Attributes:
        targets: The targets.
        task: What they are, of `rmtgen.tasks.TASKS`.
        names: Names of labels or targets; numbers where they have none; empty for classes.
        balanced: Whether every class counts the same.
    """

    targets: Targets
    task: str
    names: tuple[str, ...]
    balanced: bool = False


def coded(
    labels: np.ndarray | Tensor | pd.DataFrame,
    classes: int | None,
    coding: str,
    balanced: bool = False,
) -> Labels:
    """Encoded labels, of as many classes as the largest says where no number is given.

    Raises:
        UsageError: No label; a target, or all labels, that do not vary; types that do not go
            together; a number of classes of what is none; or as `rmtgen.tasks.label_array`,
            `encode_targets`, and with `balanced` `require_balance` and `require_pairs`.
    """
    found = label_array(_columns(labels), "labels")
    if not len(found):
        raise UsageError("labels must be one per image: got none.")
    task = task_of(found)
    coding, count, names = coding_of(task, coding), classes, tuple[str, ...]()
    if task == "classes":
        count = int(found.max()) + 1 if classes is None else classes
    elif classes is not None:
        raise UsageError(f"classes counts classes: got {classes!r:.60} with {task}. Leave it out.")
    else:
        count = found.shape[1]
        own = labels.columns if isinstance(labels, pd.DataFrame) else range(count)
        names = tuple(map(str, own))
        require_varying(found, names, "labels")
    count = whole_number(count, "classes", least=1)
    if flag(balanced, "balanced"):
        require_balance(task, coding == "intercept")
    targets, _ = split_targets(found, found[:0], count, coding)
    if balanced:
        require_pairs(found)
    return Labels(targets, task, names, balanced)


def _columns(labels: np.ndarray | Tensor | pd.DataFrame) -> np.ndarray:
    """Labels as an array; of a DataFrame all columns of one kind.

    Raises:
        UsageError: Some are of floats, and others are not.
    """
    if isinstance(labels, pd.DataFrame):
        kinds = [(str(name), labels[name].dtype) for name in labels]
        floats = [kind.kind == "f" for _, kind in kinds]
        if any(floats) and not all(floats):
            shown = ", ".join(f"{name} {kind}" for name, kind in kinds[:6])
            raise UsageError(
                "labels must have columns of one kind, floats for the targets of a regression or 0"
                f" and 1 for labels: got {shown}. Change them: labels.astype(float)."
            )
    return as_array(labels, "labels")


def _probes(
    representations: Mapping[str, np.ndarray | Tensor], labels: Labels, relative_ridges: ArrayLike
) -> dict[str, Probe]:
    """The probe of each representation.

    Raises:
        UsageError: There is none; or as `probe_of`.
        NumericalError: As `probe_of`.
    """
    if not isinstance(representations, Mapping) or not representations:
        raise UsageError(
            f"representations must be features by name, at least one: got {representations!r:.60}."
        )
    return {
        str(name): probe_of(str(name), features, labels, relative_ridges)
        for name, features in representations.items()
    }


def probe_of(
    name: str, features: np.ndarray | Tensor, labels: Labels, relative_ridges: ArrayLike
) -> Probe:
    """The probe of a representation, which errors name.

    Raises:
        UsageError, NumericalError: As `rank`.
    """
    try:
        kernel = FeatureKernel.checked(features, None)
        ridges = resolve_ridges(relative_ridges, kernel.diagonal().sum().item(), len(kernel))
        values, intercept = labels.targets.values[:], labels.targets.intercept
        problem = Problem.checked(kernel, values, None, loo=True, intercept=intercept)
        if labels.balanced:
            return balanced_probe(problem, ridges)
        return Probe.of(problem, ridges, task=labels.task)
    except (UsageError, NumericalError) as error:
        raise type(error)(f"representation {name!r}: {error}") from error
