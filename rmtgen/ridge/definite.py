"""Conditions on K and K + δI under which a solver without eigenvalues can be used.

A factor of K + δI must be well conditioned, and K must be positive semidefinite.
"""

import numpy as np
import torch
from jaxtyping import Float64
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from rmtgen.linalg.centring import centred_matrix_
from rmtgen.linalg.modes import indefinite, rounding
from rmtgen.linalg.triangular import cholesky_
from rmtgen.ridge.kernel import FeatureKernel, Kernel
from rmtgen.ridge.problem import Problem

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
    smallest, largest = _extremes(centred_matrix_(matrix) if problem.intercept else matrix)
    if smallest < -tolerance:
        raise indefinite(smallest, largest, n, tolerance)


def _extremes(matrix: Float64[Tensor, "n n"]) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, by Lanczos iteration.

    Where that does not converge, all eigenvalues are computed.
    """
    n = len(matrix)
    operator = LinearOperator(
        (n, n),
        dtype=np.float64,
        matvec=lambda x: (matrix @ torch.as_tensor(x.ravel()).to(matrix.device)).cpu().numpy(),
    )
    start = np.random.default_rng(0).standard_normal(n)
    try:
        values = (
            eigsh(operator, k=2, which="BE", v0=start, tol=1e-6, return_eigenvectors=False)
            if n > 2
            else None
        )
    except ArpackNoConvergence:
        values = None
    values = torch.linalg.eigvalsh(matrix).tolist() if values is None else values.tolist()
    return min(values), max(values)
