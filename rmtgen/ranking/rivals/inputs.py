"""What every rival takes: a matrix with a row for each image, and a label for each row.

Notation: n images, p features, s source classes, c classes among the labels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import finite_matrix
from rmtgen.errors import UsageError
from rmtgen.ridge.targets import ClassCode, Coded, label_vector

SUM = 1e-4
"""Departure of the sum of a row of probabilities from 1 that float32 explains."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows with their classes.

    Attributes:
        rows: Features or probabilities, in the type and on the device in which they came.
        labels: Place of the class of each row in `classes`, on the device of the rows.
        classes: The labels that occur, ascending.
        counts: Number of rows of each class.
    """

    rows: Float[Tensor, "n columns"]
    labels: Int64[Tensor, " n"]
    classes: Int64[Tensor, " c"]
    counts: Int64[Tensor, " c"]

    @property
    def onehot(self) -> Coded:
        """One output for each class, 1 at the rows of the class and 0 elsewhere."""
        return Coded(self.labels, len(self.classes), ClassCode(0.0, 1.0))


def labelled_features(features: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> Labelled:
    """Features (n, p) with labels (n,), checked.

    Raises:
        UsageError: Not a float32 or float64 matrix and a vector of integers of one length; fewer
            than two images or two classes; features that are equal for all images.
        NumericalError: NaN, infinite entries, or a scale whose squares are no float64.
    """
    return _labelled(features, labels, "features")


def labelled_probabilities(
    probabilities: ArrayLike | Tensor, labels: ArrayLike | Tensor
) -> Labelled:
    """Probabilities (n, s) of source classes with labels (n,), checked.

    Raises:
        UsageError: As `labelled_features`; a negative entry, or a row that does not sum to 1.
        NumericalError: NaN or infinite entries.
    """
    found = _labelled(probabilities, labels, "probabilities")
    smallest = found.rows.min().item()
    if smallest < 0:
        raise UsageError(
            f"probabilities must be >= 0: got {smallest:.3g}. Pass the softmax of the logits of the"
            " source head."
        )
    sums = found.rows.sum(dim=1, dtype=torch.float64)
    row = int((sums - 1).abs().argmax())
    total = sums[row].item()
    if abs(total - 1) > SUM:
        raise UsageError(
            f"each row of probabilities must sum to 1: got {total:.6g} in row {row}. Pass the"
            " softmax of the logits of the source head."
        )
    return found


def _labelled(rows: ArrayLike | Tensor, labels: ArrayLike | Tensor, name: str) -> Labelled:
    matrix, vector = finite_matrix(rows, name), label_vector(labels)
    if len(vector) != len(matrix):
        raise UsageError(
            f"labels must match {name}: expected {len(matrix)} labels, got {len(vector)}. Pass one"
            " for each row."
        )
    if len(matrix) < 2:
        raise UsageError(
            f"{name} must have two rows or more: got {len(matrix)}. One image ranks nothing."
        )
    classes, places, counts = vector.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise UsageError(
            f"labels must have two classes or more: got class {int(classes[0])} alone, in all"
            f" {len(vector)} rows. Add images of another class."
        )
    if bool((matrix == matrix[:1]).all()):
        raise UsageError(
            f"{name} must differ between images: got {len(matrix)} equal rows of"
            f" {matrix.shape[1]} entries. Check the images and the weights they come from."
        )
    device = matrix.device
    return Labelled(matrix, places.to(device), classes.to(device), counts.to(device))
