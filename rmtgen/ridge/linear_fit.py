"""The fit of features at one ridge as weights and a constant: f(x) = wᵀx + b.

w solves (XᵀX + nλI)w = XᵀY, X and Y centred where there is an intercept, in float64: of more
samples than features from a triangle p×p, which is made of the rows as they are read, else from
n×n. Neither squares the condition number near interpolation.
"""

from dataclasses import replace

from jaxtyping import Float64
from torch import Tensor

from rmtgen.ridge.primal import tall_fit
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.solution import solve
from rmtgen.ridge.weighted import Plain


def linear_fit(
    problem: Problem, ridge: float
) -> tuple[Float64[Tensor, "p c"], Float64[Tensor, " c"]]:
    """W and b of the fit to all samples.

    Args:
        problem: Features and targets, on the CPU; a test set is not looked at.
        ridge: λ ≥ 0; 0 is the minimum-norm interpolant.

    Raises:
        NumericalError: A factorisation that failed.
    """
    n, unit = len(problem.kernel), problem.kernel.unit()
    problem = replace(problem, kernel=replace(problem.kernel, test=None)).over(unit)
    sum_ridge = n * ridge / unit
    if n - problem.intercept > problem.width:
        weights, offset = tall_fit(problem, sum_ridge)
    else:
        plain = Plain.of(problem.kernel, problem.targets[:], problem.intercept, None)
        solution, _ = solve(plain, sum_ridge)
        weights, offset = solution.weights, solution.offset
    return weights / unit**0.5, offset
