"""Encoding of labels as targets, and the class code that decodes predictions.

Notation: n samples, c outputs. Risks are squared losses on the encoded targets; `error` is the 0-1
error of the decoded class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import as_tensor
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.rows import Rows
from rmtgen.scalars import choice, whole_number

CODINGS = ("onehot", "centered", "intercept")
"""Codings of labels."""
TIE = 1e-9
"""Difference of two outputs, relative to `high − low`, below which they tie: classes absent from a
small sample are all predicted 0 up to rounding, which must not choose between them."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded labels.

    Attributes:
        values: Targets of the regression, a tensor or `Coded`.
        intercept: Whether the regression has an unpenalised intercept.
    """

    values: "Float64[Tensor, 'n c'] | Coded"
    intercept: bool


@public
def encode_targets(labels: np.ndarray | Tensor, classes: int, coding: str) -> Targets:
    """Encode integer labels as c = `classes` regression outputs.

    Args:
        labels: (n,) integers in [0, classes).
        classes: Number C ≥ 2 of classes of the data set, present in `labels` or not.
        coding: `onehot` (1 for the class, 0 elsewhere), `centered` (one-hot minus 1/C: the outputs
            of a sample sum to 0), or `intercept` (one-hot, with an unpenalised intercept in the
            regression).

    Returns:
        The targets, float64, on the device of `labels`.

    Raises:
        UsageError: An unknown coding, fewer than two classes, or labels that are not integers in
            [0, classes).
    """
    coded = coded_targets(labels, classes, coding)
    return Targets(coded.values[:], coded.intercept)


def coded_targets(labels: np.ndarray | Tensor, classes: int, coding: str) -> Targets:
    """`encode_targets` with rows that are made as they are read, on the device of `labels`."""
    choice(coding, "coding", CODINGS)
    classes = whole_number(classes, "classes", least=2, most=2**31, cure="Choose another data set.")
    shift = 1 / classes if coding == "centered" else 0.0
    code = ClassCode(0.0 - shift, 1.0 - shift)
    values = Coded(_checked_labels(labels, classes), classes, code)
    return Targets(values, intercept=coding == "intercept")


def label_vector(labels: ArrayLike | Tensor) -> Int64[Tensor, " n"]:
    """Labels (n,) of any integer type as int64.

    Raises:
        UsageError: Not a vector, or not of integers.
    """
    labels = as_tensor(labels, "labels")
    if (
        labels.ndim != 1
        or labels.is_floating_point()
        or labels.is_complex()
        or labels.dtype == torch.bool
    ):
        raise UsageError(
            "labels must be a vector of class indices: expected (n,) integers, got"
            f" {tuple(labels.shape)} {labels.dtype}. Pass regression targets to ridge_path"
            " directly."
        )
    return labels.long()


def _checked_labels(labels: np.ndarray | Tensor, classes: int) -> Int64[Tensor, " n"]:
    labels = label_vector(labels)
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        first = int(outside[0])
        raise UsageError(
            f"labels must lie in [0, {classes}): got {int(labels[first])} (label {first},"
            f" {len(outside)} such). Give the number of classes of the whole data set."
        )
    return labels


@dataclass(frozen=True)
class ClassCode:
    """Two values, `low` and `high`, that encode classes; decodes predictions into class indices.

    With c ≥ 2 outputs each row holds `high` once, at its class, and a prediction decodes to its
    largest output, the first in a tie. With one output the two values are the two classes, and a
    prediction decodes to the nearest, in a tie to `low`.
    """

    low: float
    high: float

    @classmethod
    def of(cls, targets: "Float64[Tensor, 'n c'] | Coded") -> "ClassCode | None":
        """The code of `targets`; None where they encode no classes."""
        if isinstance(targets, Coded):
            return targets.code
        if not targets.numel():
            return None
        code = cls(*(end.item() for end in targets.aminmax()))
        return code if code.low < code.high and code.matches(targets) else None

    def matches(self, targets: "Float64[Tensor, 'n c'] | Coded") -> bool:
        """Whether every row of `targets` is a word of this code."""
        if isinstance(targets, Coded):
            return targets.code == self
        high = targets == self.high
        words = (high | (targets == self.low)).all()
        return bool(words) and (targets.shape[1] == 1 or bool((high.sum(dim=1) == 1).all()))

    def decode(
        self, values: Float64[Tensor, "*rows c"]
    ) -> Int64[Tensor, "*rows"] | Bool[Tensor, "*rows"]:
        """Class of each row of outputs."""
        tie = TIE * (self.high - self.low)
        if values.shape[-1] == 1:
            return values[..., 0] > (self.low + self.high) / 2 + tie
        return (values >= values.amax(dim=-1, keepdim=True) - tie).byte().argmax(dim=-1)

    def error(self, predictions: Float64[Tensor, "n c"], targets: Float64[Tensor, "n c"]) -> float:
        """Share of rows, in [0, 1], whose prediction decodes to another class than the target."""
        return (self.decode(predictions) != self.decode(targets)).double().mean().item()


class Coded(Rows):
    """Labels as targets: the words of a class code with at least two outputs.

    Attributes:
        labels: The class of each row.
        code: The code.
    """

    dtype = torch.float64

    def __init__(self, labels: Int64[Tensor, " n"], classes: int, code: ClassCode):
        self.labels, self.code = labels, code
        self.shape, self.device = (len(labels), classes), labels.device

    def __getitem__(self, part: slice | Int64[Tensor, " k"]) -> Float64[Tensor, "k c"]:
        labels = self.labels[part]
        size = len(labels), self.shape[1]
        words = torch.full(size, self.code.low, dtype=self.dtype, device=self.device)
        return words.scatter_(1, labels[:, None], self.code.high)

    def chosen(self, positions: slice | Int64[Tensor, " k"]) -> "Coded":
        """The targets of some of the labels."""
        return Coded(self.labels[positions], self.shape[1], self.code)
