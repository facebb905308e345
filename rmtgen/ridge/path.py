"""The ridge path: GCV, LOO, train and test risk of kernel ridge regression over sizes × ridges.

Notation: n train samples, N samples in the pool, m test samples, p features, c outputs, r modes, l
ridges. λ is the ridge of the mean objective (1/n)‖Y − f(X)‖² + λ‖f‖², δ = nλ the sum ridge. K =
XXᵀ, G = (K + δI)⁻¹; with an intercept K and Y are centred and G is the pseudo-inverse P of
`rmtgen.linalg.modes`.

The rows come from one of `solvers`. What it leaves as None, since its digits are uncertain, is
filled in by the eigensolve, which is accurate at every ridge.
"""

import math
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_number, ridge_values
from rmtgen.device import default_device
from rmtgen.entrance import public
from rmtgen.errors import UsageError, warn
from rmtgen.ridge.columns import COLUMNS, ERROR_COLUMNS
from rmtgen.ridge.eigen import solve_eigen
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.solvers import choose_solver
from rmtgen.ridge.stored import StoredGram, StoredKernel
from rmtgen.scalars import instance, whole_number
from rmtgen.scalars import path as checked_path
from rmtgen.units import parse_bytes


@public
def ridge_path(  # noqa: PLR0913 - one public function; the two grids and the test set are alternatives
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
    memory: int | str | None = None,
) -> pd.DataFrame:
    """Kernel ridge regression at every size and ridge: GCV(λ) = n‖GY‖²/(tr G)² beside the risks.

    Exact, the ridgeless limit λ = 0 included, where predictions are those of the minimum-norm
    interpolant. With several outputs a risk is the sum over outputs; the mean is risk /
    `attrs["outputs"]`.

    A float32 Gram matrix is solved in float64. Its eigenvalues below 10·eps32·s_max may be
    rounding: at nλ below that they count as null. Peak memory beside the arguments, in float64 and
    of the largest size n: a little over one matrix n×n and two n×m for `nested` and `banded`, about
    six n×n and four n×m for `eigen`.

    Args:
        gram: K of the pool (N, N), float32 or float64, NumPy or torch; the work runs on its device.
        targets: (N,) or (N, c).
        ridges: λ ≥ 0, the same at every size. Exactly one of `ridges` and `sum_ridges`.
        sum_ridges: δ = nλ ≥ 0, the same at every size: the natural grid for learning curves.
        sizes: Sizes n, each of the first n samples, in any order, repeats allowed; N alone by
            default.
        test_gram: k(test, pool) (m, N).
        test_targets: (m,) or (m, c).
        loo: Compute the leave-one-out columns.
        intercept: Add an unpenalised intercept.
        solver: `eigen`, one eigendecomposition per size; `nested`, one Cholesky factor per δ for
            all sizes, for learning curves on a `sum_ridges` grid; `banded`, one reduction to a band
            per size for all ridges; `primal`, for features only; `auto`, the one of least cost that
            fits the available memory, or `eigen` where that takes no time. All agree, to six digits
            near interpolation; near-singular problems are left to `eigen`. With a `memory` also
            `matrix_free`, whose numbers are estimates (`ridge_path_stored`).
        memory: Bytes that a solver may take beside the arguments, a number or a text such as
            "4GiB"; None: what is available.

    Returns:
        One row per (size, ridge), sizes outer, with the columns:

        n, ridge: samples and λ (δ/n on a `sum_ridges` grid).
        train_risk: (1/n)‖Y − f(X)‖².
        gcv: generalised cross-validation (Craven & Wahba 1978; Golub, Heath & Wahba 1979), also
            KARE (Jacot et al. 2020).
        loo: mean exact leave-one-out squared error, (GY)_i/G_ii at fixed δ (Golub, Heath & Wahba
            1979).
        loo_se, loo_low, loo_high: standard error of `loo` as the risk of this fit, and the interval
            of 95 % about it (`rmtgen.ridge.interval`). NaN below eight samples, and where two
            samples are the same to the kernel at a ridge near 0.
        loo_kurtosis: mean of the squared leave-one-out losses over the square of `loo`; 3 for
            Gaussian errors of one output, less for more. Far above it few samples carry the risk,
            and the interval is too narrow. NaN below eight samples, and without a loss.
        df: effective degrees of freedom tr KG, plus 1 for an intercept.
        kappa, kappa_prime: effective ridge 1/tr G and its derivative in λ, n tr G²/(tr G)².
        norm2: squared norm ‖f‖² = YᵀGKGY, of the part without intercept, over the modes above the
            tolerance.
        test_risk, test_risk_se: mean squared loss on the test set, and its standard error sd/√m
            (NaN for m = 1).
        train_error, loo_error, test_error: 0-1 errors in [0, 1]. NaN unless the pool's targets
            encode classes (`targets.ClassCode`), and for the test set unless it uses the same code.

        Columns that are not requested are NaN.

    Raises:
        UsageError: Grids, sizes or shapes that do not fit, an unknown solver, or one without the
            requested columns.
        NumericalError: Non-finite input, an asymmetric or indefinite Gram matrix, a failed
            eigensolve.
        CapacityError: The solver needs more memory than is available.

    Warns:
        RmtgenWarning: nλ below 10·eps32·s_max, or df/n > 0.99, with a float32 Gram matrix.
    """
    kernel = GramKernel.checked(gram, test_gram, _budget(memory))
    problem = Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return solve_path(problem, Grid.checked(ridges, sum_ridges), sizes, solver)


@public
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
    memory: int | str | None = None,
    spill: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """`ridge_path` of the linear kernel K = XXᵀ from X, without the rounding of forming K.

    Peak memory beside the arguments is about five float64 matrices n×p for `eigen`, a few p×p for
    `primal`.

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
        solver: As in `ridge_path`; `nested` and `banded` form K. `primal`, for n > p, streams over
            the rows and holds p×p: one factorisation grows over the sizes. Rows may lie in a
            `numpy.memmap` (mode "c") that is larger than the memory.
        memory: As in `ridge_path`.
        spill: Folder for `streamed`, which keeps half of an n×n float64 matrix there instead of in
            memory, and goes on after a kill; None: it is not chosen. The files are removed when
            the path is done.

    Returns:
        As `ridge_path`.

    Raises:
        UsageError: Grids, sizes or shapes that do not fit, or an unknown solver.
        NumericalError: Non-finite input or a failed factorisation.
        CapacityError: The solver needs more memory than is available.
        StorageError: `spill` has no room, or refuses.
        CorruptInputError: A file in `spill` is not what was written.
    """
    kernel = FeatureKernel.checked(features, test_features, _budget(memory), _folder(spill))
    problem = Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return solve_path(problem, Grid.checked(ridges, sum_ridges), sizes, solver)


@public
def ridge_path_stored(  # noqa: PLR0913 - the twin of ridge_path
    store: StoredGram,
    targets: np.ndarray | Tensor,
    *,
    ridges: ArrayLike | None = None,
    sum_ridges: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    loo: bool = False,
    intercept: bool = False,
    solver: str = "auto",
    memory: int | str = "4GiB",
    spill: str | os.PathLike | None = None,
    probes: int = 16,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """`ridge_path` of a stored Gram matrix, which need not fit in memory.

    The dense solvers read the first n samples into one matrix. `matrix_free` only multiplies with
    the matrix, tile by tile. Its numbers are estimates with standard errors, accurate where nλ is
    not too small beside the largest eigenvalue.

    Args:
        store: The Gram matrix, a `GramStore`. Its test rows are the test set.
        targets: As in `ridge_path`, like the other arguments.
        ridges: λ ≥ 0; for `matrix_free` λ > 0.
        sum_ridges: δ = nλ, likewise.
        sizes: Sample sizes.
        test_targets: (m,) or (m, c), for a store with test rows.
        loo: Compute the leave-one-out columns. `matrix_free` solves for the unit vectors of some
            samples too, for up to about the same time again.
        intercept: Add an unpenalised intercept.
        solver: As in `ridge_path`; `auto` is `matrix_free` where no exact solver fits `memory`.
        memory: Bytes that a solver may take beside the targets, a number or a text such as "4GiB".
        spill: As in `ridge_path_features`.
        probes: Number q ≥ 2 of random sign vectors; a standard error falls as 1/√q.
        seed: Seed of the signs.
        device: Device on which the work runs.

    Returns:
        As `ridge_path`. From `matrix_free` the frame has `attrs["estimate"]` True and seven more
        columns: gcv_se, df_se, kappa_se and kappa_prime_se, standard errors over the signs;
        residual, ‖Y − (K + δI)X‖/‖Y‖ of the dual solution X; loo_sampled_se and loo_se_se, those of
        loo and loo_se over the samples that are looked at. loo_se takes in both.

    Raises:
        UsageError: Grids, sizes or shapes that do not fit, or an unknown solver.
        NumericalError: An indefinite Gram matrix, or a failed factorisation.
        CapacityError: No solver fits `memory`.
        MissingInputError, CorruptInputError: A tile, or a file in `spill`, is missing or damaged,
            by name.
        StorageError: `spill` has no room, or refuses.

    Warns:
        RmtgenWarning: `matrix_free` does not reach its accuracy at the smallest ridge within
            `memory`.
    """
    cure = "Open one: GramStore.open."
    store = instance(store, StoredGram, "store", cure)  # type: ignore[type-abstract]
    probes = whole_number(probes, "probes", least=2, cure="A standard error needs a spread.")
    seed = whole_number(seed, "seed", least=0)
    budget, folder = parse_bytes(memory), _folder(spill)
    kernel = StoredKernel(store, default_device(device), budget, probes, seed, folder)
    problem = Problem.checked(kernel, targets, test_targets, loo=loo, intercept=intercept)
    return solve_path(problem, Grid.checked(ridges, sum_ridges), sizes, solver)


def _budget(memory: int | str | None) -> float:
    return math.inf if memory is None else parse_bytes(memory)


def _folder(spill: str | os.PathLike | None) -> Path | None:
    return None if spill is None else checked_path(spill, "spill")


@public
def resolve_ridges(relative: ArrayLike, trace: float, n: int) -> Float64[np.ndarray, " l"]:
    """λ = r·tr(K)/N: ridges relative to the mean of K_ii over the pool, the same at every size.

    Args:
        relative: Ratios r ≥ 0, without unit.
        trace: tr K of the whole pool.
        n: N, samples in the pool.

    Returns:
        λ, in the order given.

    Raises:
        UsageError: A negative or non-finite ratio, an empty list, or a trace that is not positive
            and finite.
    """
    trace, n = real_number(trace, "trace"), whole_number(n, "n", least=1)
    if not 0 < trace < np.inf:
        raise UsageError(
            f"a relative ridge needs a positive, finite trace: got tr K = {trace}. Check for"
            " all-zero features."
        )
    return ridge_values(relative, "relative ridges") * (trace / n)


def solve_path(problem: Problem, grid: Grid, sizes: ArrayLike | None, name: str) -> pd.DataFrame:
    """The table of a checked problem, as `ridge_path` returns it."""
    sizes, given, unit = problem.sizes(sizes), grid, problem.kernel.unit()
    problem, grid = problem.over(unit), grid.over(unit)
    solver = choose_solver(problem, sizes, grid, name)
    rows = solver.solve(problem, sizes, grid)
    _fill(rows, problem, sizes, grid)
    rows = _in_units(rows, unit, given, sizes)
    if problem.kernel.single:
        warn_single(rows)
    estimate = "residual" in rows[0]
    frame = pd.DataFrame(rows, columns=COLUMNS + ERROR_COLUMNS * estimate)
    frame.attrs |= {"outputs": problem.targets.shape[1]} | ({"estimate": True} if estimate else {})
    return frame


def _in_units(
    rows: list[dict | None], unit: float, grid: Grid, sizes: list[int]
) -> list[dict | None]:
    """The columns of K and its ridges from those of K/u and theirs; all others are the same.

    Args:
        rows: Rows of every size and ridge.
        unit: u, a power of two.
        grid: The ridges of K.
        sizes: Sample sizes.
    """
    if unit == 1:
        return rows
    powers = {"kappa": unit, "kappa_se": unit, "rounding": unit, "norm2": 1 / unit}
    ridges = [ridge for n in sizes for ridge, _ in grid.at(n)]
    return [
        {name: value * powers.get(name, 1.0) for name, value in row.items()} | {"ridge": ridge}
        for row, ridge in zip(rows, ridges, strict=True)
    ]


def _fill(rows: list[dict | None], problem: Problem, sizes: list[int], grid: Grid) -> None:
    """Compute the rows that are None, by one eigensolve per size."""
    missing = defaultdict(list)
    for place, row in enumerate(rows):
        if row is None:
            missing[sizes[place // len(grid.values)]].append(place)
    for n, places in missing.items():
        pairs = [grid.at(n)[place % len(grid.values)] for place in places]
        part = Grid(np.array([sum_ridge for _, sum_ridge in pairs]), summed=True)
        choose_solver(problem, [n], part, "eigen")
        for place, (ridge, _), row in zip(
            places, pairs, solve_eigen(problem, [n], part), strict=True
        ):
            rows[place] = row | {"ridge": ridge}


def warn_single(rows: list[dict]) -> None:
    """Warn of rows that a float32 Gram matrix does not resolve: δ near rounding, or df near n.

    Args:
        rows: n, ridge and df of each, and `rounding` where it is known.
    """
    rounded = [row for row in rows if row["n"] * row["ridge"] <= row.get("rounding", 0)]
    full = [row for row in rows if row["df"] > 0.99 * row["n"] and row not in rounded]
    advice = f"{{}} of {len(rows)} rows). Trust a float64 Gram matrix or ridge_path_features there."
    if rounded:
        worst = max(rounded, key=lambda row: row["n"] * row["ridge"])
        warn(
            f"a float32 Gram matrix resolves nλ > 10·eps32·s_max = {worst['rounding']:.3g}: got nλ"
            f" = {worst['n'] * worst['ridge']:.4g} (λ = {worst['ridge']:.3g}, n = {worst['n']};"
            f" {advice.format(len(rounded))}"
        )
    if full:
        worst = max(full, key=lambda row: row["ridge"])
        warn(
            "a float32 Gram matrix resolves df/n <= 0.99: got df/n ="
            f" {worst['df'] / worst['n']:.4g} (λ = {worst['ridge']:.3g}, n = {worst['n']};"
            f" {advice.format(len(full))}"
        )
