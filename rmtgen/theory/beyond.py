"""Beyond one ridge fit: ensembles and stopped descent on subsets of a pool, estimated and measured.

Each subset of n ≤ `LARGEST` samples is fitted by ensembles of `MEMBERS` ridge fits to n/2 samples
each, at every ridge of the study, and by gradient descent stopped at powers of `PACE`, until it has
learnt all modes. An eigendecomposition of a member serves all ridges, and one of a subset all
times. `ESTIMATORS` names what estimates the risk of such fits, and the measured risk that it is
held against.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from rmtgen.errors import UsageError
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes
from rmtgen.ridge.descent import COLUMNS_AT_ONCE, descended
from rmtgen.ridge.eigen import EIGENSOLVE_COST
from rmtgen.ridge.ensemble import ensemble_path
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.problem import Cost, Problem

LARGEST = 1_000
"""Largest number of samples of a subset."""
SMALLEST = 8
"""Smallest number of samples of a subset, of which a member has half."""
HALVINGS = 2
"""Number of times that the size of the subsets is halved."""
TRIALS = 2
"""Number of random subsets of each size below that of the pool."""
TESTED = 2_000
"""Largest number of test samples."""
MEMBERS = 5
"""Number of members of an ensemble."""
PACE = 4
"""Factor between the times at which descent is stopped."""
LEARNT = 0.99
"""Share of the modes that are learnt when descent has come to its end."""
TIMES = 16
"""Largest number of times."""
PRODUCTS = 300
"""Approximate number of products n×n×c of a descent, for all times together."""


@dataclass(frozen=True)
class Estimator:
    """An estimate of the risk of ensembles or of stopped descent.

    Attributes:
        analysis: Name of the table of the fits.
        name: Its column there.
        label: Name for readers.
        measured: Column of the measured risk that it is held against.
    """

    analysis: str
    name: str
    label: str
    measured: str = "test_risk"


ENSEMBLES, DESCENT = "ensembles", "descent"
FITS = {ENSEMBLES: f"ensembles of {MEMBERS}", DESCENT: "stopped descent"}
"""Names of the fits for readers, by the name of their table."""
ESTIMATORS = (
    Estimator(ENSEMBLES, "gcv", "GCV"),
    Estimator(ENSEMBLES, "gcv_corrected", "corrected GCV"),
    Estimator(ENSEMBLES, "loo", "leave-one-out"),
    Estimator(ENSEMBLES, "gcv_limit", "corrected GCV, M → ∞", "test_limit"),
    Estimator(ENSEMBLES, "loo_limit", "leave-one-out, M → ∞", "test_limit"),
    Estimator(DESCENT, "gcv", "GCV"),
    Estimator(DESCENT, "loo", "leave-one-out"),
)
"""The estimators, in the order of tables and figures."""


def ensembles(pool: Pool, ridges: Float64[np.ndarray, " l"], seed: int) -> pd.DataFrame:
    """Ensembles of ridge fits to halves of subsets of a pool.

    Args:
        pool: The pool; without a test set measured risks are NaN.
        ridges: λ ≥ 0 of every member.
        seed: Seed of the subsets, and of the bags.

    Returns:
        One row per subset and ridge: `trial`, `relative_ridge` = λ/(tr K/N), and the columns of
        `ensemble_path`.

    Raises:
        UsageError: The pool has fewer than `SMALLEST` samples.
        NumericalError: An indefinite kernel, or a failed eigensolve.
    """

    def fitted(problem: Problem) -> pd.DataFrame:
        kernel = problem.kernel
        options = {"subsample": len(kernel) // 2, "members": MEMBERS, "seed": seed}
        tests = {"test_gram": kernel.test, "test_targets": problem.test_targets}
        options |= tests | {"intercept": problem.intercept}
        path = ensemble_path(kernel.train, problem.targets, ridges=ridges, **options)
        return path.assign(relative_ridge=path["ridge"] / (pool.trace / len(pool)))

    return _table(pool, seed, fitted)


def descent(pool: Pool, seed: int) -> pd.DataFrame:
    """Kernel gradient descent on subsets of a pool, stopped at powers of `PACE`.

    Args:
        pool: The pool; without a test set measured risks are NaN.
        seed: Seed of the subsets.

    Returns:
        One row per subset and time: `trial` and the columns of `descent_path`.

    Raises:
        UsageError: The pool has fewer than `SMALLEST` samples.
        NumericalError: An indefinite kernel or one without modes, or a failed eigensolve.
    """

    def fitted(problem: Problem) -> pd.DataFrame:
        modes = problem.kernel.modes(len(problem.targets), problem.intercept)
        return descended(problem, modes, _times(modes))

    return _table(pool, seed, fitted)


def _table(pool: Pool, seed: int, fitted: Callable[[Problem], pd.DataFrame]) -> pd.DataFrame:
    """The fits of every subset of a pool, one table below the other."""
    subsets = ((cell, _problem(pool, cell, seed)) for cell in _cells(len(pool)))
    tables = [fitted(problem).assign(trial=cell.trial) for cell, problem in subsets]
    table = pd.concat(tables, ignore_index=True)
    return table[["n", "trial", *table.columns.drop(["n", "trial"])]]


def _cells(pool_size: int) -> list[Cell]:
    """The subsets of a pool, by size."""
    most = min(pool_size, LARGEST)
    if most < SMALLEST:
        raise UsageError(
            f"ensembles and stopped descent are fitted to at least {SMALLEST} samples: got"
            f" N = {pool_size}. Take a larger pool."
        )
    sizes = [most // 2**halving for halving in range(HALVINGS, -1, -1)]
    return [
        Cell(n, trial)
        for n in sizes
        if n >= SMALLEST
        for trial in range(TRIALS if n < pool_size else 1)
    ]


def _problem(pool: Pool, cell: Cell, seed: int) -> Problem:
    """The ridge problem of a subset, as a Gram matrix in memory."""
    order = torch.from_numpy(cell.order(seed, len(pool))).to(pool.kernel.device)
    kernel = GramKernel.checked(*pool.kernel.chosen(order).block(TESTED))
    targets, tests = pool.targets, pool.test_targets
    tested = None if tests is None else tests.values[:TESTED]
    return Problem.checked(
        kernel, targets.values[order], tested, loo=True, intercept=targets.intercept
    )


def _times(modes: Modes) -> list[int]:
    """Powers of `PACE` up to the first at which all modes are learnt."""
    left = torch.log1p(-(modes.values / modes.values[:1]).clamp(max=1.0))
    times: list[int] = []
    while len(times) < TIMES:
        times.append(PACE ** len(times))
        if -torch.expm1(times[-1] * left).sum() >= LEARNT * len(left):
            break
    return times


def cost(pool_size: int, tests: int, outputs: int, ridges: int) -> Cost:
    """The cost of both tables: their eigensolves, and products of modes and targets."""
    flops, tests = 0.0, min(tests, TESTED)
    cells = _cells(max(pool_size, SMALLEST))
    for n, _ in cells:
        half, rows = n // 2, n + tests
        member = EIGENSOLVE_COST * half**3 + 2.0 * rows * half * (half + ridges * outputs)
        flops += MEMBERS * member + EIGENSOLVE_COST * n**3 + 2.0 * tests * n**2
        flops += 2.0 * PRODUCTS * n**2 * outputs
    largest = cells[-1].n
    return Cost(flops, 8 * largest * (8 * largest + 4 * tests + 6 * COLUMNS_AT_ONCE))
