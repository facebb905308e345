"""The ridge path: GCV, LOO, train and test risk of kernel ridge regression over sizes × ridges.

Notation: n train samples, N samples in the pool, m test samples, p features, c outputs, r modes, l ridges. λ is the ridge of
the mean objective (1/n)‖Y − f(X)‖² + λ‖f‖², δ = nλ the sum ridge. K = XXᵀ, G = (K + δI)⁻¹; with an intercept K and Y are
centred and G is the pseudo-inverse P of `spectrum`.

A solver is a function of the checked problem, the sizes and the grid that returns one row of `COLUMNS` a (size, ridge), sizes
outer. It has the whole grid at once, so that it can share work between sizes as well as between ridges; `SOLVERS` names it.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.ridge_banded import solve_banded
from rmtgen.ridge_eigen import solve_eigen
from rmtgen.ridge_kernel import FeatureKernel, GramKernel
from rmtgen.ridge_nested import solve_nested
from rmtgen.ridge_problem import COLUMNS, Grid, Problem, ridge_values

__all__ = ["COLUMNS", "SOLVERS", "resolve_ridges", "ridge_path", "ridge_path_features"]

SOLVERS: dict[str, Callable[[Problem, list[int], Grid], list[dict]]] = {
    "auto": solve_eigen,
    "eigen": solve_eigen,
    "nested": solve_nested,
    "banded": solve_banded,
}


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
        intercept: Add an unpenalised intercept.
        solver: `eigen`, one eigendecomposition a size; `nested`, one Cholesky factor a δ for all sizes, for curves dense in n on a
            `sum_ridges` grid; `banded`, one reduction to a band a size for all ridges, without leave-one-out columns; `auto`, now `eigen`.
            They agree, and leave what is near-singular to `eigen`.

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
    kernel = GramKernel.checked(gram, test_gram)
    problem = Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return _path(problem, Grid.checked(ridges, sum_ridges), sizes, solver)


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
        solver: As in `ridge_path`; `nested` and `banded` form K.

    Returns:
        As `ridge_path`.

    Raises:
        UsageError: Grids, sizes, shapes or solver that make no sense.
        NumericalError: Non-finite input or a failed factorisation.
    """
    kernel = FeatureKernel.checked(features, test_features)
    problem = Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return _path(problem, Grid.checked(ridges, sum_ridges), sizes, solver)


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
    return ridge_values(relative, "relative ridges") * (trace / n)


def _path(problem: Problem, grid: Grid, sizes: ArrayLike | None, solver: str) -> pd.DataFrame:
    if solver not in SOLVERS:
        raise UsageError(f"solver must be a known one: got {solver!r}. {did_you_mean(solver, SOLVERS)}")
    frame = pd.DataFrame(SOLVERS[solver](problem, problem.sizes(sizes), grid), columns=COLUMNS)
    frame.attrs["outputs"] = problem.targets.shape[1]
    return frame
