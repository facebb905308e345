"""Conditions on K and K + δI under which a solver without eigenvalues can be used.

A factor of K + δI must be well conditioned, and K must be positive semidefinite.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from rmtgen.linalg.centring import centred_matrix_
from rmtgen.linalg.modes import indefinite, rounding
from rmtgen.linalg.triangular import cholesky_
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.stored import Kernel

WORST_CONDITION = 1e10
"""Largest condition number of K + δI at which six digits of a solution are certain; the Frobenius
norm of K bounds its largest eigenvalue."""


def well_conditioned(kernel: Kernel, norm: float, sum_ridge: float, inverse: float) -> bool:
    """Whether K + δI is well conditioned, and δ above the rounding of K.

    Args:
        kernel: K.
        norm: A bound on the largest eigenvalue of K.
        sum_ridge: δ.
        inverse: A bound on the largest eigenvalue of (K + δI)⁻¹, or an estimate of it.
    """
    return resolved(kernel, norm, sum_ridge) and (norm + sum_ridge) * inverse < WORST_CONDITION


def resolved(kernel: Kernel, norm: float, sum_ridge: float) -> bool:
    """Whether δ is above the rounding of K, given a bound on the largest eigenvalue of K."""
    return not kernel.single or sum_ridge > rounding(len(kernel), single=True) * norm


def require_semidefinite(problem: Problem, n: int) -> None:
    """Refuse a Gram matrix that is indefinite beyond rounding, by its smallest eigenvalue.

    Args:
        problem: The kernel; with an intercept K is centred. Features are always semidefinite.
        n: Number of first samples that are looked at.

    Raises:
        NumericalError: K is asymmetric or indefinite.
    """
    if isinstance(problem.kernel, FeatureKernel):
        return
    matrix = problem.kernel.symmetric(n)
    tolerance = rounding(n, problem.kernel.single) * torch.linalg.matrix_norm(matrix).item()
    matrix = centred_matrix_(matrix) if problem.intercept else matrix
    matrix.diagonal().add_(tolerance)
    if cholesky_(matrix):
        return
    del matrix
    matrix = problem.kernel.symmetric(n)
    matrix = centred_matrix_(matrix) if problem.intercept else matrix
    _refuse(
        *_extremes(lambda column: (matrix @ column.to(matrix.device)).cpu(), lambda: matrix, n),
        n,
        tolerance,
    )


def refuse_indefinite(problem: Problem, n: int, tolerance: float) -> None:
    """Refuse a stored Gram matrix that has no Cholesky factor with its rounding on the diagonal.

    Args:
        problem: The kernel, which is only multiplied with; with an intercept it is centred.
        n: Number of first samples that are looked at.
        tolerance: Its rounding.

    Raises:
        NumericalError: Its smallest eigenvalue is below that.
    """

    def times(column: Float64[Tensor, "n 1"]) -> Float64[Tensor, "n 1"]:
        if not problem.intercept:
            return problem.kernel.multiply(column)
        image = problem.kernel.multiply(column - column.mean())
        return image - image.mean()

    def whole() -> Float64[Tensor, "n n"]:
        matrix = problem.kernel.symmetric(n)
        return centred_matrix_(matrix) if problem.intercept else matrix

    _refuse(*_extremes(times, whole, n), n, tolerance)


def _refuse(smallest: float, largest: float, n: int, tolerance: float) -> None:
    if smallest < -tolerance:
        raise indefinite(smallest, largest, n, tolerance)


def _extremes(
    times: Callable[[Float64[Tensor, "n 1"]], Float64[Tensor, "n 1"]],
    whole: Callable[[], Float64[Tensor, "n n"]],
    n: int,
) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, by Lanczos iteration.

    Where that does not converge, all eigenvalues of the whole matrix are computed.
    """

    def multiplied(column: np.ndarray) -> np.ndarray:
        return times(torch.as_tensor(column.reshape(n, 1))).numpy()

    operator = LinearOperator((n, n), dtype=np.float64, matvec=multiplied)
    start = np.random.default_rng(0).standard_normal(n)
    try:
        values = (
            eigsh(operator, k=2, which="BE", v0=start, tol=1e-6, return_eigenvectors=False)
            if n > 2
            else None
        )
    except ArpackNoConvergence:
        values = None
    values = torch.linalg.eigvalsh(whole()).tolist() if values is None else values.tolist()
    return min(values), max(values)
