"""A checked ridge problem with its grid, and the columns that all solvers compute alike.

The notation is that of `rmtgen.ridge`.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import as_array, ridge_values, target_matrix
from rmtgen.errors import UsageError
from rmtgen.linalg.rows import Matrix, Rows
from rmtgen.ridge.interval import interval_columns
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.stored import Kernel
from rmtgen.ridge.targets import ClassCode
from rmtgen.scalars import flag


@dataclass(frozen=True, eq=False)
class Grid:
    """The ridges of a path.

    Attributes:
        values: λ or δ.
        summed: Whether they are sum ridges δ = nλ.
    """

    values: Float64[np.ndarray, " l"]
    summed: bool

    @classmethod
    def checked(cls, ridges: ArrayLike | None, sum_ridges: ArrayLike | None) -> "Grid":
        """The grid that is given, of the two.

        Raises:
            UsageError: None or both are given, or it holds anything but finite numbers ≥ 0.
        """
        if (ridges is None) == (sum_ridges is None):
            got = "none" if ridges is None else "both"
            raise UsageError(
                f"exactly one grid is needed, ridges (λ) or sum_ridges (nλ): got {got}."
            )
        if ridges is not None:
            return cls(ridge_values(ridges, "ridges"), summed=False)
        return cls(ridge_values(sum_ridges, "sum_ridges"), summed=True)

    def over(self, unit: float) -> "Grid":
        """The ridges of K/u, for u a power of two.

        Raises:
            UsageError: A ridge is so far from the scale of K that it is no float64 beside it.
        """
        if unit == 1:
            return self
        with np.errstate(over="ignore", under="ignore"):
            values = self.values / unit
        lost = self.values[~np.isfinite(values) | ((values == 0) & (self.values > 0))]
        if len(lost):
            raise UsageError(
                f"ridges must lie within 300 decades of the kernel: got {lost[0]:.3g} where the"
                f" kernel has entries up to {unit:.1e}. Choose ridges of its scale."
            )
        return Grid(values, self.summed)

    def at(self, n: int) -> list[tuple[float, float]]:
        """Pairs (λ, δ = nλ); the one that is given is free of rounding."""
        return [
            (value / n, value) if self.summed else (value, value * n)
            for value in self.values.tolist()
        ]


@dataclass(frozen=True)
class Cost:
    """The cost of a path.

    Attributes:
        flops: Time, as the number of operations of large float64 products that take as long.
        bytes: Peak memory beside the problem.
    """

    flops: float
    bytes: int


@dataclass(frozen=True, eq=False)
class Problem:
    """A kernel with targets that fit it.

    Attributes:
        kernel: Train and test block of the kernel.
        targets: (N, c) float64, on the kernel's device; class labels may be coded as they are read.
        test_targets: (m, c), likewise; None without a test set.
        loo: Whether the leave-one-out columns are requested.
        intercept: Whether an unpenalised intercept is fitted.
        code: The class code of the targets; None where they encode no classes and no 0-1 error is
            defined.
        test_code: The same for the test targets; None also where these use another code.
    """

    kernel: Kernel
    targets: Matrix
    test_targets: Matrix | None
    loo: bool
    intercept: bool
    code: ClassCode | None
    test_code: ClassCode | None

    @classmethod
    def checked(
        cls,
        kernel: Kernel,
        targets: np.ndarray | Matrix,
        test_targets: np.ndarray | Matrix | None,
        *,
        loo: bool,
        intercept: bool,
    ) -> "Problem":
        """Targets in float64 on the device of their kernel, checked against its shapes.

        Raises:
            UsageError: Shapes that do not fit, or one half of a test set.
            NumericalError: Targets that are not finite.
        """
        loo, intercept = flag(loo, "loo"), flag(intercept, "intercept")
        targets = _targets(targets, "targets", kernel)
        if len(targets) != len(kernel):
            raise UsageError(
                f"targets need one row per training sample: expected {len(kernel)}, got"
                f" {len(targets)}. Take both from one split."
            )
        code, test_code = ClassCode.of(targets), None
        if (kernel.tests is None) != (test_targets is None):
            given, missing = (
                ("targets", "samples") if kernel.tests is None else ("samples", "targets")
            )
            raise UsageError(
                f"a test set is samples and targets: got test {given} without test {missing}. Pass"
                " both."
            )
        if test_targets is not None:
            test_targets = _targets(test_targets, "test_targets", kernel)
            expected = (kernel.tests, targets.shape[1])
            if test_targets.shape != expected:
                raise UsageError(
                    "test_targets need one row per test sample and the targets' outputs: expected"
                    f" {expected}, got {tuple(test_targets.shape)}. Encode both with one coding."
                )
            test_code = code if code and code.matches(test_targets) else None
        return cls(kernel, targets, test_targets, loo, intercept, code, test_code)

    def over(self, unit: float) -> "Problem":
        """The problem of K/u, for u a power of two: no digit changes."""
        return self if unit == 1 else replace(self, kernel=self.kernel.over(unit))

    @property
    def tests(self) -> int:
        """m, the number of test samples; 0 without a test set."""
        return 0 if self.test_targets is None else len(self.test_targets)

    @property
    def width(self) -> int | None:
        """p, the number of features; None for a kernel given as a Gram matrix."""
        return self.kernel.train.shape[1] if isinstance(self.kernel, FeatureKernel) else None

    def sizes(self, sizes: ArrayLike | None) -> list[int]:
        """`sizes` as whole numbers in [1, N], or in [2, N] with an intercept."""
        least, most = 1 + self.intercept, len(self.targets)
        given = np.atleast_1d(as_array(most if sizes is None else sizes, "sizes"))
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise UsageError(f"sizes must be whole numbers: got {sizes!r:.60}.")
        checked = given.tolist()
        wrong = [size for size in checked if not least <= size <= most]
        if wrong or not checked:
            raise UsageError(
                f"sizes must be one or more, each in [{least},"
                f" {most}]{' (intercept)' if self.intercept else ''}: got {wrong or 'none'}. Take"
                " smaller sizes, or a larger pool."
            )
        return checked

    def train_errors(self, residual: Float64[Tensor, "n c"]) -> dict[str, float]:
        """Training 0-1 error of a fit to the first n samples, from its residuals Y − f(X)."""
        targets = self.targets[: len(residual)]
        return {"train_error": _error(self.code, targets - residual, targets)}

    def train_columns(self, residual: Float64[Tensor, "n c"]) -> dict[str, float]:
        """Training risk and 0-1 error of a fit to the first n samples, from residuals Y − f(X)."""
        return {
            "train_risk": residual.square().sum().item() / len(residual),
            **self.train_errors(residual),
        }

    def loo_columns(
        self, residual: Float64[Tensor, "n c"], covariance: float, sampled: float = 0.0
    ) -> dict[str, float]:
        """Leave-one-out risk with its interval, and 0-1 error of a fit.

        Args:
            residual: Leave-one-out residuals.
            covariance: `interval.pair_covariance_` of the fit.
            sampled: As `interval.interval_columns` takes it.
        """
        targets, losses = self.targets[: len(residual)], residual.square().sum(dim=1)
        return {
            "loo": losses.mean().item(),
            **interval_columns(losses, covariance, sampled),
            "loo_error": _error(self.code, targets - residual, targets),
        }

    def test_columns(self, predictions: Float64[Tensor, "m c"]) -> dict[str, float]:
        """Test risk with its standard error, and 0-1 error."""
        targets = self.test_targets[:]
        losses = (predictions - targets).square().sum(dim=1)
        return self.loss_columns(losses, _error(self.test_code, predictions, targets))

    def loss_columns(self, losses: Float64[Tensor, " m"], error: float) -> dict[str, float]:
        """The columns of the test set from the squared loss of each sample, and the 0-1 error."""
        spread = losses.std().item() if len(losses) > 1 else np.nan
        return {
            "test_risk": losses.mean().item(),
            "test_risk_se": spread / len(losses) ** 0.5,
            "test_error": error,
        }


def _targets(values: np.ndarray | Matrix, name: str, kernel: Kernel) -> Matrix:
    return values if isinstance(values, Rows) else target_matrix(values, name).to(kernel.device)


def _error(code: ClassCode | None, predictions: Tensor, targets: Tensor) -> float:
    return code.error(predictions, targets) if code else np.nan
