"""Kernel ridge regression as a scikit-learn estimator that chooses its ridge by GCV.

Notation: n train samples, m test samples, p features, c outputs, l ridges; K, λ, δ = nλ and G as in
`rmtgen.ridge`, which computes generalised cross-validation (GCV) at every ridge. This module adds
the fit at the ridge that GCV chooses,

    f(x) = k(x)ᵀα + b,    α = GY;    of the linear kernel also f(x) = xᵀw + b,    w = Xᵀα.

At a well-conditioned δ it comes from one Cholesky factor of the smaller of K + δI and XᵀX + δI;
near interpolation, and at δ = 0, from the modes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import ridge_values, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import MissingInputError, UsageError, warn
from rmtgen.linalg.centring import reduced, reduced_matrix_, restored
from rmtgen.linalg.modes import EPS64, Modes, rounding
from rmtgen.linalg.triangular import cholesky_
from rmtgen.ridge.definite import well_conditioned
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.path import resolve_ridges, ridge_path, ridge_path_features

if TYPE_CHECKING:
    from sklearn.utils import Tags

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingInputError(
        f"KernelRidgeGCV needs scikit-learn >= 1.6, which is not installed ({error}). Run: pip"
        " install 'rmtgen[sklearn]'"
    ) from error

RELATIVE = np.logspace(-8, 2, 41)
"""Ridges λ of the default grid, relative to tr K/n."""
FLAT = 1e-9
"""Relative fall of GCV towards the edge of the grid below which it counts as flat."""


class KernelRidgeGCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Kernel ridge regression at the ridge with the smallest GCV.

    The fit minimises (1/n)‖Y − f(X)‖² + λ‖f‖² over f, and λ minimises GCV(λ) = n‖GY‖²/(tr G)².
    No data are held out and nothing is refitted: GCV at every ridge comes from `rmtgen.ridge_path`
    on all training samples.

    λ is the ridge of the *mean* objective. scikit-learn's `alpha` (`Ridge`, `KernelRidge`) is that
    of the sum of squares, α = nλ: both are attributes after `fit`, and
    `KernelRidge(alpha=model.alpha_)` is the same fit, without an intercept. λ keeps its meaning as
    n changes, α does not, so `ridges` are λ.

    All outputs share one ridge, that of the smallest GCV of their sum. Everything is computed and
    returned in float64, on the CPU. There are no sample weights: GCV, as computed here, takes every
    sample to count alike. Nor does it account for what earlier steps of a pipeline learnt from
    `y`, such as a selection of features; there it is optimistic.

    Args:
        ridges: λ ≥ 0, an array-like (l,) in the unit of the kernel; 0 is the minimum-norm
            interpolant. None: 41 from 1e-8 to 1e2 of tr K/n, K centred where there is an intercept,
            less those where nλ is no more than rounding of K, float32 above all.
        kernel: "linear", k(x, x') = xᵀx', or "precomputed": `X` is then the Gram matrix (n, n),
            positive semidefinite, and in `predict` the rows k(test, train) (m, n).
        fit_intercept: Fit an unpenalised intercept, which is the same as centring K and Y.
        solver: Solver of the ridge path, as in `rmtgen.ridge_path`. All agree; "auto" takes the
            cheapest that fits in memory.

    Attributes:
        ridge_: λ chosen, the largest in a tie.
        alpha_: nλ, scikit-learn's `alpha`.
        ridges_: Every λ tried, (l,), ascending, each once.
        gcv_: GCV at each of `ridges_`, (l,), in squared units of `y`, summed over outputs: an
            estimate of the risk on new samples.
        degrees_of_freedom_: tr KG at `ridge_`, plus 1 for an intercept.
        dual_coef_: α, (n,) or (n, c) as `y`; at λ = 0 the shortest one.
        coef_: w, (p,) or (c, p); of the linear kernel alone.
        intercept_: b, a number or (c,); 0 without an intercept.
        n_features_in_: p, or n of a Gram matrix.
        feature_names_in_: Names of the columns of `X`, where it has them.

    References:
        Golub, Heath & Wahba, Generalized cross-validation as a method for choosing a good ridge
        parameter, 1979. Wei, Hu & Steinhardt, More than a toy: random matrix models predict how
        real-world neural representations generalize, ICML 2022.

    Example:
        >>> import numpy as np
        >>> from rmtgen import KernelRidgeGCV
        >>> X = np.random.default_rng(0).standard_normal((60, 5))
        >>> y = X[:, 0] + 2 * np.sin(40 * X[:, 1])
        >>> model = KernelRidgeGCV(ridges=[1e-3, 1e-1, 10.0]).fit(X, y)
        >>> model.ridge_, model.alpha_
        (0.1, 6.0)
    """

    def __init__(
        self,
        ridges: ArrayLike | None = None,
        *,
        kernel: str = "linear",
        fit_intercept: bool = True,
        solver: str = "auto",
    ):
        self.ridges = ridges
        self.kernel = kernel
        self.fit_intercept = fit_intercept
        self.solver = solver

    def __sklearn_tags__(self) -> "Tags":
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    @public
    def fit(self, X: ArrayLike, y: ArrayLike) -> "KernelRidgeGCV":
        """Compute GCV at every ridge, choose the ridge, and fit.

        Args:
            X: Features (n, p), or a Gram matrix (n, n); float32 or float64, else made float64.
            y: Targets (n,) or (n, c).

        Returns:
            The estimator itself.

        Raises:
            UsageError: Ridges, kernel, solver or shapes that are not valid; a ValueError.
            ValueError: What scikit-learn refuses: NaN, sparse, complex or empty input, and lengths
                that differ.
            NumericalError: An asymmetric or indefinite Gram matrix, or a failed factorisation.
            CapacityError: The solver needs more memory than is available.

        Warns:
            RmtgenWarning: GCV still falls at an edge of the grid other than 0; or a float32 Gram
                matrix does not resolve a ridge.
        """
        kernel, y = self._validated(X, y)
        targets, intercept = target_matrix(y), bool(self.fit_intercept)
        ridges = (
            _default_ridges(kernel, intercept)
            if self.ridges is None
            else np.unique(ridge_values(self.ridges, "ridges"))
        )
        path_of = ridge_path if self.kernel == "precomputed" else ridge_path_features
        path = path_of(
            kernel.train, targets, ridges=ridges, loo=False, intercept=intercept, solver=self.solver
        )
        self.ridges_, self.gcv_ = ridges, path["gcv"].to_numpy()
        best = len(ridges) - 1 - int(self.gcv_[::-1].argmin())
        _warn_at_edge(ridges, self.gcv_, best, len(y) * (EPS64 * np.abs(y).max()) ** 2)
        self.ridge_, self.degrees_of_freedom_ = float(ridges[best]), float(path["df"].iloc[best])
        self.alpha_ = len(y) * self.ridge_
        self._keep(_solution(kernel, targets, self.alpha_, intercept), outputs=y.shape[1:])
        return self

    @public
    def predict(self, X: ArrayLike) -> np.ndarray:
        """f(X).

        Args:
            X: Features (m, p), or rows k(test, train) (m, n) of a precomputed kernel.

        Returns:
            Predictions, float64, (m,) or (m, c) as the targets were.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: Another number of columns than in `fit`, or what `fit` refuses.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return (
            X @ (self.dual_coef_ if self.kernel == "precomputed" else self.coef_.T)
            + self.intercept_
        )

    def _validated(
        self, X: ArrayLike, y: ArrayLike
    ) -> tuple[FeatureKernel | GramKernel, np.ndarray]:
        if self.kernel not in ("linear", "precomputed"):
            raise UsageError(
                "kernel must be a known one: expected 'linear' or 'precomputed', got"
                f" {self.kernel!r}. Compute any other with"
                " sklearn.metrics.pairwise.pairwise_kernels and pass it as kernel='precomputed'."
            )
        # an intercept alone fits one sample, and leaves nothing to choose a ridge by
        least = 2 if self.fit_intercept else 1
        options = {"multi_output": True, "y_numeric": True, "ensure_min_samples": least}
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), **options)
        y = y.astype(np.float64)
        if self.kernel == "linear":
            return FeatureKernel.checked(X, None), y
        if X.shape != (len(X), len(X)):
            raise UsageError(
                "kernel='precomputed' needs the Gram matrix of the training samples: expected X of"
                f" shape {(len(X), len(X))}, got {X.shape}. Rows of test samples go to predict."
            )
        return GramKernel.checked(X, None), y

    def _keep(self, solution: "_Solution", outputs: tuple[int, ...]) -> None:
        """The fit as NumPy arrays, without the axis of outputs where `y` had none."""
        self.dual_coef_ = solution.dual.numpy().reshape(-1, *outputs)
        self.intercept_ = (
            solution.offset.numpy().reshape(outputs) if outputs else solution.offset.item()
        )
        self.__dict__.pop("coef_", None)  # of an earlier fit with another kernel
        if solution.weights is not None:
            self.coef_ = solution.weights.mT.numpy().reshape(*outputs, -1)


@dataclass(frozen=True, eq=False)
class _Solution:
    """f(x) = k(x)ᵀ`dual` + `offset`; of features also xᵀ`weights` + `offset`."""

    dual: Float64[Tensor, "n c"]
    offset: Float64[Tensor, " c"]
    weights: Float64[Tensor, "p c"] | None = None


def _default_ridges(
    kernel: FeatureKernel | GramKernel, intercept: bool
) -> Float64[np.ndarray, " l"]:
    """The default grid over tr K/n, which follows the unit of the features.

    Where all features are 0, any grid will do.
    """
    trace, noise = (_gram_trace if isinstance(kernel, GramKernel) else _feature_trace)(
        kernel, intercept
    )
    ridges = (
        resolve_ridges(RELATIVE, max(trace, noise), len(kernel)) if trace or noise else RELATIVE
    )
    return ridges[len(kernel) * ridges > noise]


def _gram_trace(kernel: GramKernel, intercept: bool) -> tuple[float, float]:
    """The trace of K, of HKH with an intercept; and the part of it that counts as rounding.

    The second is the rank tolerance of `gram_modes`.
    """
    train, n = kernel.train, len(kernel)
    whole = train.diagonal().sum(dtype=torch.float64).item()
    return (
        whole - intercept * train.sum(dtype=torch.float64).item() / n,
        rounding(n, kernel.single) * whole,
    )


def _feature_trace(kernel: FeatureKernel, intercept: bool) -> tuple[float, float]:
    """`_gram_trace` of K = XXᵀ, with the rank tolerance of `feature_modes`."""
    rows, norm = kernel.train.double(), torch.linalg.vector_norm
    whole, noise = norm(rows).item() ** 2, max(rows.shape) * EPS64
    return norm(rows - rows.mean(dim=0)).item() ** 2 if intercept else whole, noise**2 * whole


def _warn_at_edge(
    ridges: Float64[np.ndarray, " l"], gcv: Float64[np.ndarray, " l"], best: int, floor: float
) -> None:
    """Warn that the minimum may lie outside the grid.

    It may where GCV, above the `floor` of its rounding, falls up to an edge that could be moved.
    """
    edges = {0: ("smallest", "smaller", 1), len(ridges) - 1: ("largest", "larger", -2)}
    if best not in edges or len(ridges) == 1 or ridges[best] == 0:
        return
    edge, further, neighbour = edges[best]
    if gcv[best] > floor and gcv[best] < (1 - FLAT) * gcv[neighbour]:
        cause = (
            "or add 0, the ridgeless limit"
            if best == 0
            else "unless the kernel does not explain the targets"
        )
        warn(
            f"GCV should be smallest inside the grid of ridges: got its minimum at the {edge} of"
            f" {len(ridges)}, λ = {ridges[best]:.3g} (the other end is {ridges[-1 - best]:.3g})."
            f" Pass {further} ridges, {cause}."
        )


def _solution(
    kernel: FeatureKernel | GramKernel,
    targets: Float64[Tensor, "n c"],
    sum_ridge: float,
    intercept: bool,
) -> _Solution:
    solve = _solve_gram if isinstance(kernel, GramKernel) else _solve_features
    return solve(kernel, targets, sum_ridge, intercept)


def _solve_gram(
    kernel: GramKernel, targets: Float64[Tensor, "n c"], sum_ridge: float, intercept: bool
) -> _Solution:
    """α of K, with an intercept in the n − 1 directions that it leaves.

    There α sums to 0, and the mean of the fit is that of Y.
    """
    matrix = kernel.symmetric(len(kernel))
    norm, means = matrix.trace().item(), matrix.mean(dim=0)
    matrix, wanted = (reduced_matrix_(matrix), reduced(targets)) if intercept else (matrix, targets)
    dual = _definite(kernel, matrix, wanted, sum_ridge, norm)
    if dual is None:
        modes = kernel.modes(len(kernel), intercept).at(sum_ridge)
        dual = modes.vectors @ _slopes(modes, targets, sum_ridge)
    elif intercept:
        dual = restored(dual)
    return _Solution(dual, intercept * (targets.mean(dim=0) - means @ dual))


def _solve_features(
    kernel: FeatureKernel, targets: Float64[Tensor, "n c"], sum_ridge: float, intercept: bool
) -> _Solution:
    """α and w of features, from the smaller of K and XᵀX."""
    means = intercept * kernel.train.mean(dim=0, dtype=torch.float64)
    rows, wanted = kernel.train.double() - means, targets - intercept * targets.mean(dim=0)
    tall = rows.shape[0] > rows.shape[1]
    matrix, columns = (rows.mT @ rows, rows.mT @ wanted) if tall else (rows @ rows.mT, wanted)
    found = _definite(kernel, matrix, columns, sum_ridge, matrix.trace().item())
    if found is None:
        modes = kernel.modes(len(kernel), intercept)
        slopes = _slopes(modes, targets, sum_ridge)
        dual, weights = (
            modes.vectors @ slopes,
            modes.feature_vectors @ (modes.values.sqrt()[:, None] * slopes),
        )
    else:
        dual, weights = (
            ((wanted - rows @ found) / sum_ridge, found) if tall else (found, rows.mT @ found)
        )
    return _Solution(dual, intercept * targets.mean(dim=0) - means @ weights, weights)


def _definite(
    kernel: FeatureKernel | GramKernel,
    matrix: Float64[Tensor, "k k"],
    columns: Float64[Tensor, "k c"],
    sum_ridge: float,
    norm: float,
) -> Float64[Tensor, "k c"] | None:
    """(M + δI)⁻¹ times `columns`, or None where M + δI is not well conditioned.

    Args:
        kernel: The kernel whose K or XᵀX is M.
        matrix: M, positive semidefinite, which is overwritten.
        columns: Right-hand sides.
        sum_ridge: δ.
        norm: Bound on the largest eigenvalue of M.
    """
    if not (sum_ridge > 0 and well_conditioned(kernel, norm, sum_ridge, 1 / sum_ridge)):
        return None
    matrix.diagonal().add_(sum_ridge)
    if not cholesky_(matrix):
        return None
    half = torch.linalg.solve_triangular(matrix, columns, upper=False)
    return torch.linalg.solve_triangular(matrix.mT, half, upper=True)


def _slopes(
    modes: Modes, targets: Float64[Tensor, "n c"], sum_ridge: float
) -> Float64[Tensor, "r c"]:
    """Coefficients of α in the modes, UᵀY/(s + δ).

    The part in the null space, Y₀/δ, is left out: no prediction depends on it, and near δ = 0 its
    rounding would dominate them.
    """
    return modes.split(targets)[0] / (modes.values[:, None] + sum_ridge)
