"""One ridge fit as the detectors see it, and what it has for them to look at."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.ridge.targets import ClassCode
from rmtgen.theory import detectors
from rmtgen.theory.measurement import Measurement
from rmtgen.theory.resolvent import Resolvent
from rmtgen.theory.suspects import Neighbours

ENOUGH = 20
"""Number of training or test samples from which on a comparison is possible."""
SILENT = 1e-20
"""Share of the targets' energy below which the leave-one-out residuals are rounding."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One ridge fit as the detectors see it.

    Attributes:
        matrix: K, symmetric.
        targets: Y.
        tests: k(test, train), None without test samples.
        test_targets: Targets of the test samples, None where they are unknown.
        resolvent: P of the regression.
        centred: P with an intercept, whether the regression has one or not.
        single: Whether K was given in float32.
    """

    matrix: Float64[Tensor, "n n"]
    targets: Float64[Tensor, "n c"]
    tests: Float[Tensor, "m n"] | None
    test_targets: Float64[Tensor, "m c"] | None
    resolvent: Resolvent
    centred: Resolvent
    single: bool

    @cached_property
    def dual(self) -> Float64[Tensor, "n c"]:
        """α = PY."""
        return self.resolvent.times(self.targets)

    @cached_property
    def code(self) -> ClassCode | None:
        """The classes behind the targets, None where they encode none."""
        return ClassCode.of(self.targets)

    @cached_property
    def gap(self) -> Measurement:
        """GCV against leave-one-out."""
        return detectors.leave_one_out_gap(self.resolvent, self.dual)

    @cached_property
    def losses(self) -> Float64[Tensor, " n"]:
        """Leave-one-out losses ‖α_i/P_ii‖²."""
        return (self.dual / self.resolvent.diagonal[:, None]).square().sum(dim=1)

    @cached_property
    def test_losses(self) -> Float64[Tensor, " m"]:
        """Losses of the test samples, whose targets are known."""
        return (self.fitted - self.test_targets).square().sum(dim=1)

    @cached_property
    def neighbours(self) -> Neighbours:
        """Nearest neighbours of the training samples."""
        return Neighbours.of(self.matrix)

    @property
    def fitted(self) -> Float64[Tensor, "m c"]:
        """Predictions of the test samples; with an intercept it leaves training residuals δα."""
        rows = (part.double() @ self.dual for part in self.tests.split(detectors.ROWS))
        if not self.resolvent.removed.any():
            return torch.cat(list(rows))
        left = self.targets - self.matrix @ self.dual - self.resolvent.sum_ridge * self.dual
        return torch.cat(list(rows)) + left.mean(dim=0)

    @property
    def enough(self) -> bool:
        """Whether there are training samples enough to compare."""
        return len(self.matrix) >= ENOUGH

    @property
    def misses(self) -> bool:
        """Whether the left-out samples are predicted with an error beyond rounding."""
        return self.enough and bool(self.losses.sum() > SILENT * self.targets.square().sum())

    @property
    def classified(self) -> bool:
        """Whether the targets encode classes."""
        return self.enough and self.code is not None

    @property
    def tested(self) -> bool:
        """Whether there are test samples enough to compare."""
        return self.enough and self.tests is not None and len(self.tests) >= ENOUGH

    @property
    def labelled(self) -> bool:
        """Whether the targets of so many test samples are known."""
        return self.tested and self.test_targets is not None

    @property
    def coded(self) -> bool:
        """Whether the test samples are labelled by the classes of the training samples."""
        return self.labelled and self.classified and self.code.matches(self.test_targets)
