"""Kernel gradient descent stopped early, at every time from one eigensystem, with exact LOO.

Gradient descent from f = 0 on ½‖Y − f(X)‖² with the step η leaves the residual (I − ηK)ᵗY after t
steps. On an eigenvalue s of K the fit has the filter 1 − (1 − ηs)ᵗ, where ridge regression has
s/(s + δ). With an intercept, which is fitted exactly at every step, K and Y are centred.

Only for ridge regression and projections is the leave-one-out residual r_i/(1 − h_ii). A filter of
another form changes its shape when a sample leaves: its eigenvalues are others. GCV rests on the
same identity, and fails with it. But (I − ηK)ᵗ is an integral of resolvents, with the sample as
without it, and at every complex ridge δ the leave-one-out residual of ridge regression is
e_i(δ) = (GY)_i/G_ii, G = (K + δI)⁻¹. With z = 1 + ηδ, in which the spectrum lies in [0, 1] for
η ≤ 1/s_max, the leave-one-out residual after t steps is

    ρ_i(t) = (1/2πi) ∮ zᵗ e_i(δ)/(z − 1) dz,

around [0, 1]: exact, for all samples, from the eigensystem of K alone. The eigenvalues without a
sample lie between those with it, so that they are enclosed, too. In h = 1/z − 1 the path is a
hyperbola around [0, ∞),

    ρ_i(t) = (1/2πi) ∫ (1 + h)⁻ᵗ e_i / (h(1 + h)) dh,    h(θ) = −μ + μ sin(π/4 − iθ),

on which the trapezoidal rule converges geometrically (Weideman & Trefethen 2007); values at −θ are
conjugate to those at θ. With a = ηs the resolvent is a multiple of 1/(a − (1 − a)h), in which
nothing cancels for small h, and a null space has a = 0. The poles lie on a ray at every scale, so
that one path, of the size that the largest t needs, serves all times.

The first steps would need a long path, but e_i is a ratio of power series in 1/z with the
coefficients ((I − ηK)ʲY)_i and b_j = ((I − ηK)ʲ)_ii, and the integral a sum of coefficients,

    ρ_i(t) = Σ_{j ≤ t} φ_{t−j} ((I − ηK)ʲY)_i,    Σ_m φ_m x^m = 1/((1 − x) Σ_j b_j x^j).

Nothing is amplified: the b_j are moments of a measure on [0, 1], so that the coefficients of
1/Σ b_j x^j after the first are negative (Kaluza 1928), and φ falls from 1/b_0 and stays positive.

References: Yao, Rosasco & Caponnetto 2007; Patil, Wu & Tibshirani 2024 (2402.16793: GCV fails for
early-stopped gradient descent, leave-one-out does not).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Complex128, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import as_array, real_number
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import Modes
from rmtgen.ridge.columns import DESCENT_COLUMNS
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.problem import Problem

VERTEX = 6.0
"""μt for large t: (1 + h)⁻ᵗ is then at most e² on the path, and e⁶ where its strip ends."""
WIDEST = 0.5
"""Largest μ: the path, and its strip, stay away from h = −1."""
STEP = 0.11
"""Distance of two points in θ. The strip of width π/4 leaves an error of exp(6 − π²/2/`STEP`)."""
DECAY = 40.0
"""Logarithm of what the integrand falls by before the path ends."""
FIRST = 32
"""Number of first steps whose residuals are sums of power series: cheaper than a path."""
LEAST_SHARE = 1e-150
"""Smallest 1 − df/n whose square is a float64."""
COLUMNS_AT_ONCE = 2**11
"""Number of complex columns of a product with the eigenvectors."""


@public
def descent_path(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    times: ArrayLike,
    rate: float | None = None,
    intercept: bool = False,
    test_gram: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
) -> pd.DataFrame:
    """Kernel gradient descent stopped at t: exact leave-one-out, GCV, and the risks it predicts.

    f ← f + η Σ_i (y_i − f(x_i)) k(x_i, ·), from 0. One eigendecomposition serves all times; all of
    them together then cost some hundreds of products n×n×c, hardly more for many than for few.
    Leave-one-out keeps η, as it keeps nλ in `ridge_path`. GCV is given to be compared: it assumes a
    residual r_i/(1 − h_ii), which holds for ridge regression only, and errs in either direction.

    Args:
        gram: K (n, n), float32 or float64; the work runs on its device.
        targets: (n,) or (n, c).
        times: Numbers of steps t ≥ 1.
        rate: η, at most 1/s_max of K (centred with an intercept), beyond which modes overshoot;
            None: 1/s_max.
        intercept: Add an unpenalised intercept, fitted exactly at every step.
        test_gram: k(test, pool) (m, n).
        test_targets: (m,) or (m, c).

    Returns:
        One row per time, with the columns `n time rate`; `train_risk`; `gcv`,
        train_risk/(1 − df/n)²; `loo`, the mean exact leave-one-out loss; `df`, the trace of the
        smoother; and 0-1 errors and test columns as in `ridge_path`. Risks sum over outputs.

    Raises:
        UsageError: Shapes or times that do not fit, a rate that is not positive or too large.
        NumericalError: Non-finite input, an asymmetric or indefinite Gram matrix, or one without
            modes.

    References:
        Yao, Rosasco & Caponnetto 2007; Patil, Wu & Tibshirani 2024.
    """
    kernel = GramKernel.checked(gram, test_gram)
    problem = Problem.checked(kernel, targets, test_targets, loo=True, intercept=intercept)
    steps = _times(times)
    modes = kernel.modes(*problem.sizes(None), problem.intercept)
    return descended(problem, modes, steps, rate)


def descended(
    problem: Problem, modes: Modes, times: Sequence[int], rate: float | None = None
) -> pd.DataFrame:
    """`descent_path` of a problem whose modes are known.

    Raises:
        UsageError: A rate that is not positive or too large.
        NumericalError: There are no modes.
    """
    descent = _Descent.of(problem, modes, _rate(rate, modes))
    left_out = descent.left_out(times)
    rows = [descent.row(time, left_out[time]) for time in times]
    frame = pd.DataFrame(rows, columns=DESCENT_COLUMNS)
    frame.attrs["outputs"] = problem.targets.shape[1]
    return frame


def _times(times: ArrayLike) -> list[int]:
    values = np.atleast_1d(as_array(times, "times"))
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu" or values.min() < 1:
        raise UsageError(
            f"times must be whole numbers of steps >= 1: got {times!r:.60}. After 0 steps nothing"
            " is fitted."
        )
    return values.tolist()


def _rate(rate: float | None, modes: Modes) -> float:
    if not len(modes.values):
        raise NumericalError(
            f"descent needs modes: got no eigenvalue above {modes.tolerance:.3g}. Check for"
            " all-zero features."
        )
    most = 1 / modes.values[0].item()
    rate = most if rate is None else real_number(rate, "rate")
    if not 0 < rate <= most * (1 + 1e-12):
        raise UsageError(
            f"rate must be in (0, 1/s_max]: expected at most {most:.6g}, got {rate:.6g}. Beyond it"
            " the largest mode overshoots; beyond twice as much it diverges."
        )
    return min(rate, most)


@dataclass(frozen=True, eq=False)
class _Descent:
    """Descent on one kernel, decomposed.

    Attributes:
        problem: The problem.
        modes: Modes of K.
        rate: η.
        steps: a = ηs, per mode.
        coefficients: UᵀY.
        null_part: Y − UUᵀY.
        scores: k(test)U and k(test)Y₀; None without a test set.
    """

    problem: Problem
    modes: Modes
    rate: float
    steps: Float64[Tensor, " r"]
    coefficients: Float64[Tensor, "r c"]
    null_part: Float64[Tensor, "n c"]
    scores: tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]] | None

    @classmethod
    def of(cls, problem: Problem, modes: Modes, rate: float) -> "_Descent":
        coefficients, null_part = modes.split(problem.targets)
        scores = None
        if problem.test_targets is not None:
            scores = problem.kernel.test_scores(modes, null_part)
        steps = (rate * modes.values).clamp(max=1.0)
        return cls(problem, modes, rate, steps, coefficients, null_part, scores)

    def row(self, time: int, left_out: Float64[Tensor, "n c"]) -> dict[str, float]:
        """Every column after t steps."""
        problem, n = self.problem, self.modes.n
        logarithms = time * torch.log1p(-self.steps)
        kept, filters = logarithms.exp(), -torch.expm1(logarithms)
        residual = self.modes.vectors @ (kept[:, None] * self.coefficients) + self.null_part
        share = (self.modes.null_dim + kept.sum().item()) / n  # 1 − df/n
        train = problem.train_columns(residual)
        row = dict.fromkeys(DESCENT_COLUMNS, np.nan) | train
        row |= {
            "n": n,
            "time": time,
            "rate": self.rate,
            "gcv": train["train_risk"] / share**2 if share > LEAST_SHARE else np.nan,
            "loo": left_out.square().sum().item() / n,
            "df": filters.sum().item() + self.modes.intercept,
            "loo_error": problem.train_errors(left_out)["train_error"],
        }
        if self.scores is not None:
            row |= problem.test_columns(self._predictions(time, filters))
        return row

    def left_out(self, times: Sequence[int]) -> dict[int, Float64[Tensor, "n c"]]:
        """ρ(t), leave-one-out residuals, by t."""
        first = sorted({time for time in times if time <= FIRST})
        later = sorted({time for time in times if time > FIRST})
        return self._sums(first) | self._integrals(later)

    def _sums(self, times: Sequence[int]) -> dict[int, Float64[Tensor, "n c"]]:
        """ρ(t) after few steps, from the power series."""
        totals = {time: torch.zeros_like(self.null_part) for time in times}
        if not times:
            return totals
        powers = (1 - self.steps) ** torch.arange(times[-1] + 1).to(self.steps)[:, None]
        weights = _weights(self.leverages @ powers.mT + self.null_leverage[:, None])
        for place, power in enumerate(powers):
            residual = self.modes.vectors @ (power[:, None] * self.coefficients) + self.null_part
            for time in times:
                if time >= place:
                    totals[time] += weights[:, time - place, None] * residual
        return totals

    def _integrals(self, times: Sequence[int]) -> dict[int, Float64[Tensor, "n c"]]:
        """ρ(t) from the integral, all on one path."""
        if not times:
            return {}
        total = self.null_part.new_zeros(*self.null_part.shape, len(times))
        at_once = max(1, COLUMNS_AT_ONCE // total.shape[1])
        for some, weights in zip(
            *(torch.from_numpy(part).to(total.device).split(at_once) for part in _path(times)),
            strict=True,
        ):
            total += (self._ratios(some) @ weights).imag
        return dict(zip(times, total.unbind(dim=2), strict=True))

    def _ratios(self, points: Complex128[Tensor, " b"]) -> Complex128[Tensor, "n c b"]:
        """e_i at points h of the path."""
        resolvents = 1 / (self.steps[:, None] - (1 - self.steps[:, None]) * points)
        dual = self._times(self.modes.vectors, self.coefficients[:, :, None] * resolvents[:, None])
        diagonal = self._times(self.leverages, resolvents[:, None])
        null = -1 / points
        return (dual + self.null_part[:, :, None] * null) / (
            diagonal + self.null_leverage[:, None, None] * null
        )

    @staticmethod
    def _times(
        matrix: Float64[Tensor, "n r"], columns: Complex128[Tensor, "r c b"]
    ) -> Complex128[Tensor, "n c b"]:
        parts = torch.view_as_real(columns)
        product = matrix @ parts.flatten(1)
        return torch.view_as_complex(product.reshape(len(matrix), *parts.shape[1:]))

    @cached_property
    def leverages(self) -> Float64[Tensor, "n r"]:
        """U_ik²."""
        return self.modes.vectors.square()

    @cached_property
    def null_leverage(self) -> Float64[Tensor, " n"]:
        """Diagonal of the projector on the null space."""
        return self.modes.null_leverage()

    def _predictions(self, time: int, filters: Float64[Tensor, " r"]) -> Float64[Tensor, "m c"]:
        """Those on the test set; a filter over its eigenvalue tends to ηt in the null space."""
        scores, null_scores = self.scores
        predictions = scores @ ((filters / self.modes.values)[:, None] * self.coefficients)
        predictions += self.rate * time * null_scores
        if self.modes.intercept:
            predictions += self.problem.targets.mean(dim=0)
        return predictions


def _weights(moments: Float64[Tensor, "n t"]) -> Float64[Tensor, "n t"]:
    """φ_m from the b_j: coefficients of 1/((1 − x) Σ_j b_j x^j)."""
    inverse = torch.zeros_like(moments)
    inverse[:, 0] = 1 / moments[:, 0]
    for place in range(1, moments.shape[1]):
        known = (moments[:, 1 : place + 1] * inverse[:, :place].flip(1)).sum(dim=1)
        inverse[:, place] = -known / moments[:, 0]
    return inverse.cumsum(dim=1)


def _path(
    times: Sequence[int],
) -> tuple[Complex128[np.ndarray, " b"], Complex128[np.ndarray, "b t"]]:
    """Points h(θ) of the path for θ ≥ 0, and the weights w of ρ = Im Σ w e for ascending times."""
    size = min(WIDEST, VERTEX / times[-1])
    last = np.log(2 * (1 + np.expm1(DECAY / times[0]) / size)) + 1
    angles = np.pi / 4 - 1j * np.arange(0, last, STEP)
    points = size * (np.sin(angles) - 1)
    slopes = -1j * size * np.cos(angles)
    # NumPy's log1p of a complex number first adds 1
    sizes = np.log1p(2 * points.real + np.square(np.abs(points))) / 2
    powers = np.exp(-(sizes + 1j * np.angle(1 + points))[:, None] * np.array(times))
    weights = (STEP / np.pi * slopes / (points * (1 + points)))[:, None] * powers
    weights[0] /= 2
    return points, weights
