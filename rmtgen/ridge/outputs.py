"""Labels of any kind as targets of a ridge regression, those of training and of test images alike.

Classes are coded as `rmtgen.encode_targets` has them. Several labels of an image are 0 or 1 each:
the risk is the sum over labels of the Brier score, and a rare label counts as little as it varies.
Values are taken less their mean and over their standard deviation among the training images, so
that no unit counts: the risk is the sum over targets of the share of the variance, and the same
transform is that of test images. Both have an unpenalised intercept, which leaves them out one by
one where a mean that is taken off would hold the image that is left out.
"""

import numpy as np
import torch

from rmtgen.errors import UsageError
from rmtgen.ridge.targets import Targets, coded_targets
from rmtgen.scalars import choice
from rmtgen.tasks import require_varying, task_of

CODINGS = {"centered": "intercept", "intercept": "intercept"}
"""Codings that labels and values take, and what they become."""


def coding_of(task: str, coding: str) -> str:
    """The coding of a task: an intercept, but for classes.

    Raises:
        UsageError: Labels or values are asked for without an intercept.
    """
    if task == "classes":
        return coding
    choice(coding, "coding", (*CODINGS, "onehot"))
    if coding not in CODINGS:
        raise UsageError(
            f"{coding} is a coding of classes: got targets={coding} for {task}, whose regression"
            " has an intercept. Leave it out."
        )
    return CODINGS[coding]


def split_targets(
    train: np.ndarray,
    test: np.ndarray,
    classes: int,
    coding: str,
    device: torch.device | str = "cpu",
) -> tuple[Targets, Targets]:
    """The targets of training and of test images.

    Args:
        train: Labels of N images, as `rmtgen.tasks.label_array` has them.
        test: Those of M images, of the same kind; M may be 0.
        classes: Number of classes, or of columns.
        coding: Of classes, as in `encode_targets`; else `centered` or `intercept`.
        device: Where the targets are made.

    Raises:
        UsageError: As `encode_targets` and `coding_of`; or what `require_varying` refuses.
    """
    if task_of(train) == "classes":
        labels = (torch.from_numpy(some).to(device) for some in (train, test))
        coded = [coded_targets(some, classes, coding) for some in labels]
        return coded[0], coded[1]
    coding_of(task_of(train), coding)
    require_varying(train, list(map(str, range(classes))), "labels")
    if task_of(train) == "labels":
        return _uncoded(train, device), _uncoded(test, device)
    mean, spread = train.mean(axis=0), train.std(axis=0)
    return _uncoded((train - mean) / spread, device), _uncoded((test - mean) / spread, device)


def _uncoded(values: np.ndarray, device: torch.device | str) -> Targets:
    matrix = np.ascontiguousarray(values, dtype=np.float64)
    return Targets(torch.from_numpy(matrix).to(device), intercept=True)
