"""The ridge path: GCV, LOO, train and test risk of kernel ridge regression over sizes × ridges, from one eigensolve a size.

Notation: n train samples, N samples in the pool, m test samples, p features, c outputs, r modes, l ridges. λ is the ridge of
the mean objective (1/n)‖Y − f(X)‖² + λ‖f‖², δ = nλ the sum ridge. K = XXᵀ, G = (K + δI)⁻¹; with an intercept K and Y are
centred and G is the pseudo-inverse P of `spectrum`.

Every column is a sum of positive terms over the modes (s_k, U_k) and the null space of K, with w_k = 1/(s_k + δ),
C = UᵀY and Y₀ = Y − UC, of which a size without a null space has none:

    G = U diag(w) Uᵀ + P₀/δ,        GY = U(wC) + Y₀/δ.

The formulas are ratios in G, so they are evaluated for the matrix G̃ = (s_min + δ)G, s_min the smallest eigenvalue (0 with
a null space). Then G̃ = δ·U diag(w) Uᵀ + P₀ has no 0/0 at δ = 0, and the ridgeless limit is the same line of code: never
1 − df/n by subtraction, never λ divided by λ.
"""

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.spectrum import Modes, feature_modes, gram_modes
from rmtgen.targets import ClassCode, finite_matrix, target_matrix

COLUMNS = (
    *("n", "ridge", "train_risk", "gcv", "loo", "df", "kappa", "kappa_prime", "norm2"),
    *("train_error", "loo_error", "test_risk", "test_risk_se", "test_error"),
)
ROWS_AT_ONCE = 4096


class RmtgenWarning(UserWarning):
    """A result that was computed but should not be trusted as it stands; the message carries the number that says so."""


def ridge_path(  # noqa: PLR0913 - one public function for one question; the two grids and the test set are alternatives
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    ridges: ArrayLike | None = None,
    sum_ridges: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    test_gram: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    loo: bool = True,
    intercept: bool = False,
    solver: str = "auto",
) -> pd.DataFrame:
    """Kernel ridge regression at every size and ridge: GCV(λ) = n‖GY‖²/(tr G)² beside the risks it should predict.

    Exact, the ridgeless limit λ = 0 included, where predictions are those of the minimum-norm interpolant. With several
    outputs a risk is the sum over outputs; the mean is risk / `attrs["outputs"]`.

    A float32 Gram matrix is solved in float64, but its eigenvalues below 10·eps32·s_max are rounding: they count as null. Peak memory
    for size n is about six float64 matrices n×n, and with a test set four m×n.

    Args:
        gram: K of the pool (N, N), float32 or float64, NumPy or torch; the work runs where it lies.
        targets: (N,) or (N, c).
        ridges: λ ≥ 0, the same at every size. Exactly one of `ridges` and `sum_ridges`.
        sum_ridges: δ = nλ ≥ 0, the same at every size: the natural grid for curves dense in n.
        sizes: Each size n uses the first n samples; default N alone. Kept in the order given, repeats too.
        test_gram: k(test, pool) (m, N).
        test_targets: (m,) or (m, c).
        loo: Compute the leave-one-out columns.
        intercept: Add an unpenalised intercept, by centring.
        solver: `auto` or `eigen`.

    Returns:
        One row a (size, ridge), sizes outer, with the columns:

        n, ridge: samples and λ (δ/n on a `sum_ridges` grid).
        train_risk: (1/n)‖Y − f(X)‖².
        gcv: generalised cross-validation (Craven & Wahba 1978; Golub, Heath & Wahba 1979), also KARE (Jacot et al. 2020).
        loo: mean exact leave-one-out squared error, (GY)_i/G_ii at fixed δ (Golub, Heath & Wahba 1979).
        df: effective degrees of freedom tr KG, plus 1 for an intercept.
        kappa, kappa_prime: effective ridge 1/tr G and its derivative in λ, n tr G²/(tr G)².
        norm2: squared norm ‖f‖² = YᵀGKGY, of the part without intercept, over the modes above the tolerance.
        test_risk, test_risk_se: mean squared loss on the test set, and its standard error sd/√m (NaN for m = 1).
        train_error, loo_error, test_error: 0-1 errors in [0, 1]. NaN unless the pool's targets encode classes
            (`targets.ClassCode`), and for the test set unless it uses the same code.

        Columns not asked for are NaN.

    Raises:
        UsageError: Grids, sizes, shapes or solver that make no sense.
        NumericalError: Non-finite input, an asymmetric or indefinite Gram matrix, a failed eigensolve.

    Warns:
        RmtgenWarning: A float32 Gram matrix asked for nλ below 10·eps32·s_max, or for df/n > 0.99.
    """
    kernel = _GramKernel.checked(gram, test_gram)
    problem = _Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return _path(problem, _Grid.checked(ridges, sum_ridges), sizes, solver)


def ridge_path_features(  # noqa: PLR0913 - the twin of ridge_path
    features: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    ridges: ArrayLike | None = None,
    sum_ridges: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    test_features: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    loo: bool = True,
    intercept: bool = False,
    solver: str = "auto",
) -> pd.DataFrame:
    """`ridge_path` of the linear kernel K = XXᵀ, from X itself: singular values keep the accuracy that forming K loses.

    Peak memory for size n is about five float64 matrices n×p.

    Args:
        features: X of the pool (N, p), float32 or float64.
        targets: As in `ridge_path`, like the other arguments.
        ridges: λ ≥ 0.
        sum_ridges: δ = nλ ≥ 0.
        sizes: Sample sizes.
        test_features: (m, p).
        test_targets: (m,) or (m, c).
        loo: Compute the leave-one-out columns.
        intercept: Add an unpenalised intercept.
        solver: `auto` or `eigen`.

    Returns:
        As `ridge_path`.

    Raises:
        UsageError: Grids, sizes, shapes or solver that make no sense.
        NumericalError: Non-finite input or a failed factorisation.
    """
    kernel = _FeatureKernel.checked(features, test_features)
    problem = _Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return _path(problem, _Grid.checked(ridges, sum_ridges), sizes, solver)


def resolve_ridges(relative: ArrayLike, trace: float, n: int) -> Float64[np.ndarray, " l"]:
    """λ = r·tr(K)/N: ridges relative to the mean squared feature norm of the pool, resolved once and fixed over sizes.

    Args:
        relative: Ratios r ≥ 0, without unit.
        trace: tr K of the whole pool.
        n: N, samples in the pool.

    Returns:
        λ, in the order given.

    Raises:
        UsageError: A negative or non-finite ratio, an empty list, or a trace that is not positive and finite.
    """
    if not 0 < trace < np.inf:
        raise UsageError(
            f"a relative ridge needs a positive, finite trace: got tr K = {trace}. Check for all-zero features."
        )
    return _ridge_values(relative, "relative ridges") * (trace / n)


def _ridge_values(ridges: ArrayLike, name: str) -> Float64[np.ndarray, " l"]:
    try:
        values = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be numbers: got {ridges!r}.") from None
    if values.ndim != 1 or not len(values):
        raise UsageError(f"{name} must be a list of numbers: expected shape (l,), l >= 1, got {values.shape}.")
    wrong = values[~((values >= 0) & (values < np.inf))]
    if len(wrong):
        raise UsageError(f"{name} must be finite and >= 0: got {wrong[0]}. Use 0 for the ridgeless limit.")
    return values


@dataclass(frozen=True, eq=False)
class _Grid:
    values: Float64[np.ndarray, " l"]
    summed: bool

    @classmethod
    def checked(cls, ridges: ArrayLike | None, sum_ridges: ArrayLike | None) -> "_Grid":
        if (ridges is None) == (sum_ridges is None):
            got = "none" if ridges is None else "both"
            raise UsageError(f"exactly one grid is needed, ridges (λ) or sum_ridges (nλ): got {got}.")
        if ridges is not None:
            return cls(_ridge_values(ridges, "ridges"), summed=False)
        return cls(_ridge_values(sum_ridges, "sum_ridges"), summed=True)

    def at(self, n: int) -> list[tuple[float, float]]:
        """Pairs (λ, δ = nλ), the one of them that was given untouched by rounding."""
        return [(value / n, value) if self.summed else (value, value * n) for value in self.values.tolist()]


def _test_block(train: Tensor, test: np.ndarray | Tensor | None, name: str, rule: str, cure: str) -> Tensor | None:
    if test is None:
        return None
    test = finite_matrix(test, name).to(train.device)
    if test.shape[1] != train.shape[1]:
        raise UsageError(f"{name} {rule}: expected (m, {train.shape[1]}), got {tuple(test.shape)}. {cure}")
    return test


@dataclass(frozen=True, eq=False)
class _GramKernel:
    train: Float[Tensor, "N N"]
    test: Float[Tensor, "m N"] | None

    @classmethod
    def checked(cls, gram: np.ndarray | Tensor, test: np.ndarray | Tensor | None) -> "_GramKernel":
        train = finite_matrix(gram, "gram")
        n = len(train)
        if train.shape != (n, n):
            raise UsageError(
                f"gram must be square: expected ({n}, {n}), got {tuple(train.shape)}. Pass the test rows as test_gram."
            )
        rule, cure = "needs one column per training sample", "Build both blocks from one split: `make gram`."
        return cls(train, _test_block(train, test, "test_gram", rule, cure))

    def modes(self, n: int, intercept: bool) -> Modes:
        return gram_modes(self.train[:n, :n], intercept=intercept)

    def onto(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U and k(test)Y₀, the test samples' part of both terms of GY.

        K and k(test) are blocks of one positive semidefinite matrix, so the latter vanishes in exact arithmetic. What
        modes below the tolerance leave of it is kept, but rounding is set to 0, or a small δ would blow it up.
        """
        n = modes.n
        rows = self.test[:, :n].double()
        noise = 10 * torch.finfo(self.test.dtype).eps * rows.norm(dim=1)[:, None] * null_part.norm(dim=0)
        if modes.intercept:
            rows = rows - self.train[:n, :n].mean(dim=0, dtype=torch.float64)
            rows = rows.sub_(rows.mean(dim=1, keepdim=True))
        null_scores = rows @ null_part
        return rows @ modes.vectors, null_scores.where(null_scores.abs() > noise, 0.0)


@dataclass(frozen=True, eq=False)
class _FeatureKernel:
    train: Float[Tensor, "N p"]
    test: Float[Tensor, "m p"] | None

    @classmethod
    def checked(cls, features: np.ndarray | Tensor, test: np.ndarray | Tensor | None) -> "_FeatureKernel":
        train = finite_matrix(features, "features")
        rule, cure = "need the train features' width", "Extract both with one backbone."
        return cls(train, _test_block(train, test, "test_features", rule, cure))

    def modes(self, n: int, intercept: bool) -> Modes:
        return feature_modes(self.train[:n], intercept=intercept)

    def onto(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U = X_test V diag(σ), and 0: features have no component in the null space."""
        rows = self.test.double()
        if modes.intercept:
            rows = rows - self.train[: modes.n].mean(dim=0, dtype=torch.float64)
        return (rows @ modes.feature_vectors) * modes.values.sqrt(), null_part.new_zeros(len(rows), null_part.shape[1])


@dataclass(frozen=True, eq=False)
class _Problem:
    """The checked question; `code` and `test_code` are None where no 0-1 error is defined."""

    kernel: _GramKernel | _FeatureKernel
    targets: Float64[Tensor, "N c"]
    test_targets: Float64[Tensor, "m c"] | None
    loo: bool
    intercept: bool
    code: ClassCode | None
    test_code: ClassCode | None

    @classmethod
    def checked(
        cls,
        kernel: _GramKernel | _FeatureKernel,
        targets: np.ndarray | Tensor,
        test_targets: np.ndarray | Tensor | None,
        *,
        loo: bool,
        intercept: bool,
    ) -> "_Problem":
        targets = target_matrix(targets).to(kernel.train.device)
        if len(targets) != len(kernel.train):
            raise UsageError(
                f"targets need one row per training sample: expected {len(kernel.train)}, got {len(targets)}."
                " Take both from one split."
            )
        code, test_code = ClassCode.of(targets), None
        if (kernel.test is None) != (test_targets is None):
            given, missing = ("targets", "samples") if kernel.test is None else ("samples", "targets")
            raise UsageError(f"a test set is samples and targets: got test {given} without test {missing}. Pass both.")
        if test_targets is not None:
            test_targets = target_matrix(test_targets, "test_targets").to(targets.device)
            expected = (len(kernel.test), targets.shape[1])
            if test_targets.shape != expected:
                raise UsageError(
                    f"test_targets need one row per test sample and the targets' outputs: expected {expected},"
                    f" got {tuple(test_targets.shape)}. Encode both with one coding."
                )
            test_code = code if code and code.matches(test_targets) else None
        return cls(kernel, targets, test_targets, loo, intercept, code, test_code)

    def sizes(self, sizes: ArrayLike | None) -> list[int]:
        """Whole numbers in [1, N], or [2, N] with an intercept, which alone fits one sample."""
        least, most = 1 + self.intercept, len(self.targets)
        try:
            checked = [operator.index(size) for size in np.atleast_1d(most if sizes is None else sizes).tolist()]
        except (TypeError, ValueError):
            raise UsageError(f"sizes must be whole numbers: got {sizes!r}.") from None
        wrong = [size for size in checked if not least <= size <= most]
        if wrong or not checked:
            raise UsageError(
                f"sizes must be one or more, each in [{least}, {most}]{' (intercept)' if self.intercept else ''}:"
                f" got {wrong or 'none'}. Take smaller sizes, or a larger pool."
            )
        return checked


def _path(problem: _Problem, grid: _Grid, sizes: ArrayLike | None, solver: str) -> pd.DataFrame:
    if solver not in SOLVERS:
        raise UsageError(f"solver must be a known one: got {solver!r}. {did_you_mean(solver, SOLVERS)}")
    rows = []
    for n in problem.sizes(sizes):
        rows += SOLVERS[solver](problem, n, grid.at(n))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs["outputs"] = problem.targets.shape[1]
    return frame


def _solve_eigen(problem: _Problem, n: int, ridges: list[tuple[float, float]]) -> list[dict]:
    """One eigensolve, then one product n×r×c a ridge."""
    modes = problem.kernel.modes(n, problem.intercept)
    targets = problem.targets[:n]
    coefficients, null_part = modes.split(targets)
    scores = None if problem.test_targets is None else problem.kernel.onto(modes, null_part)
    fit = _Fit(problem, modes, targets, coefficients, null_part, modes.null_leverage(), scores)
    rows = [fit.row(ridge, sum_ridge) for ridge, sum_ridge in ridges]
    if problem.kernel.train.dtype == torch.float32 and isinstance(problem.kernel, _GramKernel):
        _warn_single(n, modes.tolerance, rows)
    return rows


SOLVERS: dict[str, Callable[[_Problem, int, list[tuple[float, float]]], list[dict]]] = {
    "auto": _solve_eigen,
    "eigen": _solve_eigen,
}


@dataclass(frozen=True, eq=False)
class _Fit:
    """One size, decomposed: what every ridge shares."""

    problem: _Problem
    modes: Modes
    targets: Float64[Tensor, "n c"]
    coefficients: Float64[Tensor, "r c"]
    null_part: Float64[Tensor, "n c"]
    null_leverage: Float64[Tensor, " n"]
    scores: tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]] | None

    def row(self, ridge: float, sum_ridge: float) -> dict:
        """Every column at one ridge."""
        weights = 1 / (self.modes.values + sum_ridge)
        weighted = weights[:, None] * self.coefficients
        spanned = self.modes.vectors @ weighted
        row = dict.fromkeys(COLUMNS, np.nan) | {"n": self.modes.n, "ridge": ridge}
        row |= self._training(sum_ridge, weights, weighted, spanned)
        if self.problem.loo:
            row |= self._leave_one_out(sum_ridge, weights, spanned)
        if self.scores is not None:
            row |= self._testing(sum_ridge, weighted)
        return row

    def _unit(self, sum_ridge: float) -> float:
        """s_min + δ, the factor of G̃ = (s_min + δ)G."""
        return sum_ridge if self.modes.null_dim else self.modes.values[-1].item() + sum_ridge

    def _training(self, sum_ridge: float, weights: Tensor, weighted: Tensor, spanned: Tensor) -> dict[str, float]:
        n, values, null_dim, unit = self.modes.n, self.modes.values, self.modes.null_dim, self._unit(sum_ridge)
        dual = unit * spanned + self.null_part  # G̃Y
        trace = (unit * weights).sum().item() + null_dim
        trace_square = (unit * weights).square().sum().item() + null_dim
        residual = dual if null_dim else dual * (sum_ridge / unit)  # δGY
        return {
            "train_risk": residual.square().sum().item() / n,
            "gcv": n * dual.square().sum().item() / trace**2,
            "df": (values * weights).sum().item() + self.modes.intercept,
            "kappa": unit / trace,
            "kappa_prime": n * trace_square / trace**2,
            "norm2": (values[:, None] * weighted.square()).sum().item(),
            "train_error": _error(self.problem.code, self.targets - residual, self.targets),
        }

    def _leave_one_out(self, sum_ridge: float, weights: Tensor, spanned: Tensor) -> dict[str, float]:
        """(GY)_i/G_ii; a sample without null leverage has the limit (K⁺Y)_i/(K⁺)_ii at δ = 0, where G̃ leaves it 0/0."""
        unit = self._unit(sum_ridge)
        diagonal = torch.cat([part.square() @ weights for part in self.modes.vectors.split(ROWS_AT_ONCE)])[:, None]
        null = self.null_leverage[:, None]
        residual = torch.where(
            null > 0, (unit * spanned + self.null_part) / (unit * diagonal + null), spanned / diagonal
        )
        return {
            "loo": residual.square().sum(dim=1).mean().item(),
            "loo_error": _error(self.problem.code, self.targets - residual, self.targets),
        }

    def _testing(self, sum_ridge: float, weighted: Tensor) -> dict[str, float]:
        scores, null_scores = self.scores
        predictions = scores @ weighted
        if sum_ridge > 0:
            predictions += null_scores / sum_ridge
        if self.modes.intercept:
            predictions += self.targets.mean(dim=0)
        losses = (predictions - self.problem.test_targets).square().sum(dim=1)
        spread = losses.std().item() if len(losses) > 1 else np.nan
        return {
            "test_risk": losses.mean().item(),
            "test_risk_se": spread / len(losses) ** 0.5,
            "test_error": _error(self.problem.test_code, predictions, self.problem.test_targets),
        }


def _error(code: ClassCode | None, predictions: Tensor, targets: Tensor) -> float:
    return code.error(predictions, targets) if code else np.nan


def _warn_single(n: int, limit: float, rows: list[dict]) -> None:
    """A float32 Gram matrix resolves neither δ near its rounding nor the last 1 % of the degrees of freedom."""
    rounded = [row for row in rows if n * row["ridge"] <= limit]
    full = [row for row in rows if n * row["ridge"] > limit and row["df"] > 0.99 * n]
    for found, value, rule in (
        (rounded, lambda row: n * row["ridge"], f"resolves nλ > 10·eps32·s_max = {limit:.3g}: got nλ ="),
        (full, lambda row: row["df"] / n, "is sure for df/n <= 0.99: got df/n ="),
    ):
        if found:
            row = max(found, key=operator.itemgetter("ridge"))
            warnings.warn(
                f"a float32 Gram matrix {rule} {value(row):.4g} (λ = {row['ridge']:.3g}, n = {n}; {len(found)} of"
                f" {len(rows)} ridges). Trust a float64 Gram matrix or ridge_path_features there.",
                RmtgenWarning,
                stacklevel=5,
            )
