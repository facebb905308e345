"""The local random matrix law, tested on data: its deviations should fall with n as n^(−1/2).

Where they do, GCV converges to the risk. The leverage ratio, a related test of the samples, is a
detector of `diagnostics`.

Notation: a pool of N samples, K = XXᵀ with eigenvalues s_k and eigenvectors u_k, Λ_k = s_k/N, r
modes; a random subset S of n samples, δ = nλ its sum ridge, G = (K + δI)⁻¹, Σ the population
covariance. The law says λ(Σ̂ + λ)⁻¹ ≈ κ(Σ + κ)⁻¹ on fixed vectors, up to n^(−1/2 + o(1)). With w_i
= Xᵀu_i/√s_i, the pool's principal directions, the left side between w_i and w_j is

    M_ij = δ_ij − √(s_i s_j) u_i[S]ᵀ(K_SS + nλI)⁻¹u_j[S] = nλ [(BᵀB + nλI)⁻¹]_ij,    B = U_S
    diag(√s), K_SS = BBᵀ.

The right side on the pool's own directions follows from transport. K_SS is a compression of
K, and where the rows of U lie in general position (asymptotic freeness) M_ij ≈ δ_ij ℓ/(ℓ + Λ_i),
with Nℓ the pool's auxiliary sum ridge at (n, λ): Σ(1 − M_ii) over all modes is df1 on both sides.
As κ = ℓ/(1 − df1/N), it is δ_ij κ/(κ + Λ_i) of the population for n ≪ N; for n near N/4 that would
be off by up to a quarter in κ, a bias that grows with n and would hide the rate. Being drawn
without replacement, subsets deviate less than fresh samples, by the factor √(1 − n/N) of a finite
pool: divide by it before a rate is quoted, or keep n ≪ N (n = N/32 … N/4 makes a slope of −.50 read
−.57).

References: Wei, Hu, Steinhardt 2022 (arXiv 2203.06176), where GCV converges wherever such a law
holds; Knowles & Yin 2017 for the law itself.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Rows
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.line_fit import PowerLaw
from rmtgen.theory.subset_fits import subset_fits
from rmtgen.theory.transport import transported

LARGEST_SHARE = 1 / 4
"""Largest n/N of a subset that counts as a draw from the pool."""
FEWEST_SIZES = 3
"""Smallest number of sizes of a rate: a line through two sizes always fits, so has no error."""
TESTED_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Sizes of `law_tests` relative to N: nested halvings, well below the pool that stands for the
population; of a pool so large that they are too large, halvings of the largest size allowed."""
TESTED_RIDGES = (1e-4, 1e-2)
"""Ridges of `law_tests`, relative to tr K/N."""
TESTED_SIZES = (8, 2_048)
"""Smallest and largest size of `law_tests`."""
TRIALS = 4
"""Number of subsets of each size."""
MOST_OTHERS = 8_192
"""Largest number of samples of the rest of the pool that the risk of a subset's fit is that of."""
ESTIMATES = ("gcv", "loo")
"""Estimates of the risk whose error is a test of the law."""


@public
def quadratic_forms(
    modes: Modes,
    sizes: ArrayLike,
    ridges: ArrayLike,
    *,
    targets: np.ndarray | Tensor | Rows | None = None,
    directions: int = 32,
    trials: int = TRIALS,
    seed: int = 0,
) -> pd.DataFrame:
    """RMS deviation of M_ij from δ_ij ℓ/(ℓ + Λ_i), for random subsets of every size.

    It takes one Cholesky factor of side min(n, r) per (n, trial, ridge), on the device of the
    modes, and holds about three matrices n×r beside them.

    Args:
        modes: Modes of the pool, from its Gram matrix or its features. K is what they make; with an
            intercept it is centred by the mean of the pool, not of the subset.
        sizes: Subset sizes n, 2 ≤ n ≤ N/4.
        ridges: λ > 0 of the mean objective.
        targets: (N,) or (N, c) of the pool, to fit the same subsets with.
        directions: Number of modes i, spread geometrically from the first to the last; a few fewer
            where they would coincide.
        trials: Number of independent subsets per size.
        seed: Seed of the subsets.

    Returns:
        One row per (n, trial, ridge): `n ridge trial diagonal_rms off_diagonal_rms`, as measured,
        without the correction for a finite pool. Subsets are independent over sizes and trials.
        With targets also `kappa gcv loo test_risk test_risk_se` of the fit: κ̂, its estimates, and
        its risk on at most 8,192 other samples of the pool.

    Raises:
        UsageError: A size beyond N/4, a ridge that is not positive, fewer than two directions, no
            trial, or another number of targets than of samples.
        NumericalError: A ridge below the rounding of K_SS.
    """
    sizes, ridges = _sizes(sizes, modes.n), _positive_ridges(ridges)
    chosen = spread_modes(len(modes.values), directions)
    if trials < 1:
        raise UsageError(f"trials must be at least 1: got {trials}.")
    pool, rows = bare_pool(modes), []
    if targets is not None and not isinstance(targets, Rows):
        targets = modes.matched(targets)
    centre = None if targets is None else modes.centre(targets)
    for n in sizes.tolist():
        limits = _limits(pool, ridges, n, chosen)
        for trial in range(trials):
            subset, others = _drawn(modes.n, n, [seed, trial, n])
            fits = subset_fits(modes, subset, n * ridges)
            for ridge, fit, limit in zip(ridges, fits, limits, strict=True):
                row = {"n": n, "ridge": ridge, "trial": trial}
                row |= _deviations(fit.forms(chosen).cpu().numpy(), limit)
                if targets is not None:
                    row |= asdict(fit.estimates(targets, centre, others))
                rows.append(row)
    return pd.DataFrame(rows)


def spread_modes(rank: int, directions: int) -> Int64[Tensor, " k"]:
    """At most `directions` of r modes, spread geometrically from the first to the last.

    Raises:
        UsageError: Fewer than two directions or modes.
    """
    if min(rank, directions) < 2:
        raise UsageError(
            f"the law needs at least 2 directions: got directions={directions} of {rank} modes. Off"
            " the diagonal it compares two."
        )
    return torch.from_numpy(
        np.unique(np.geomspace(1, rank, directions).round().astype(np.int64)) - 1
    )


def trace_deviation(risk: pd.DataFrame, pool: Spectrum) -> pd.DataFrame:
    """Deviation κ̂_n/κ − 1 of κ̂_n = 1/tr G of a sample from κ by transport from a pool.

    Args:
        risk: Table of fits, with the columns n, trial, ridge, kappa. Rows with n beyond the pool
            are left out.
        pool: Spectrum of the pool.

    Returns:
        `n trial ridge kappa pool_kappa deviation`, one row per row with n ≤ N. It is exactly 0 at n
        = N of the same samples, so leave that out of a rate; NaN where κ = 0, ridgeless above the
        rank.

    Raises:
        UsageError: A column is missing.
    """
    _require(risk, "n", "trial", "ridge", "kappa")
    rows = risk.loc[risk["n"] <= pool.n, ["n", "trial", "ridge", "kappa"]].reset_index(drop=True)
    predicted = np.asarray(transported(pool, rows["ridge"].to_numpy(), rows["n"].to_numpy()).kappa)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(predicted > 0, rows["kappa"].to_numpy() / predicted - 1, np.nan)
    return rows.assign(pool_kappa=predicted, deviation=deviation)


def estimate_deviation(risk: pd.DataFrame, estimate: str) -> pd.DataFrame:
    """RMS of d = log(estimate/R_test) over the rows of each n, net of the error of R_test.

    Args:
        risk: Table of fits, with the columns n, test_risk, test_risk_se, and that of the estimate.
        estimate: Its column, as `gcv` or `loo`.

    Returns:
        `n rms noise net points`: √mean d², √mean (se/R_test)², net = √max(0, mean d² − mean
        (se/R_test)²), and how many rows had all three numbers positive and finite; the others, as
        at the interpolation peak, are left out. net = 0: too few samples measure the risk to show
        a deviation.

    Raises:
        UsageError: A column is missing, or no row is left.
    """
    _require(risk, "n", estimate, "test_risk", "test_risk_se")
    numbers = risk[[estimate, "test_risk", "test_risk_se"]].to_numpy(dtype=np.float64)
    sound = risk[(np.isfinite(numbers) & (numbers > 0)).all(axis=1)]
    if sound.empty:
        raise UsageError(
            f"estimate_deviation needs rows with a {estimate}, test_risk and test_risk_se above 0:"
            f" got none of {len(risk)}. Give the fits other samples."
        )
    squares = pd.DataFrame(
        {
            "n": sound["n"],
            "rms": np.log(sound[estimate] / sound["test_risk"]) ** 2,
            "noise": (sound["test_risk_se"] / sound["test_risk"]) ** 2,
        }
    )
    means = squares.groupby("n").mean()
    net = (means["rms"] - means["noise"]).clip(lower=0)
    return np.sqrt(means.assign(net=net)).assign(points=squares.groupby("n").size()).reset_index()


@public
def law_tests(
    modes: Modes,
    pool: Spectrum,
    targets: np.ndarray | Tensor | Rows,
    *,
    trials: int = TRIALS,
) -> pd.DataFrame:
    """All tests of the local law on a pool, each on the same subsets and ridges.

    Args:
        modes: Modes of the pool.
        pool: Spectrum of the pool.
        targets: (N,) or (N, c) of the pool.
        trials: Number of subsets per size.

    Returns:
        One row per measurement: `test n relative_ridge deviation`. The tests are `diagonal_rms` and
        `off_diagonal_rms` (`quadratic_forms`) and `trace` (`trace_deviation`), corrected for a
        finite pool, and `gcv` and `loo` (`estimate_deviation`, net; NaN where the rest of the pool
        is too small to show one).
    """
    scale, (sizes, ridges) = pool.trace / pool.n, tested_grid(pool)
    forms = quadratic_forms(modes, sizes, ridges, targets=targets, trials=trials)
    depleted = np.sqrt(1 - forms["n"] / pool.n)  # drawn without replacement from a finite pool
    deviations = {name: forms[name] for name in ("diagonal_rms", "off_diagonal_rms")}
    deviations["trace"] = trace_deviation(forms, pool)["deviation"]
    gaps = {estimate: estimate_deviation(forms, estimate) for estimate in ESTIMATES}
    parts = [
        *(
            _tests(name, forms["n"], forms["ridge"] / scale, values / depleted)
            for name, values in deviations.items()
        ),
        *(
            _tests(estimate, gap["n"], np.nan, gap["net"].where(gap["net"] > 0))
            for estimate, gap in gaps.items()
        ),
    ]
    return pd.concat(parts, ignore_index=True)


def cost(pool_size: int, rank: int, outputs: int) -> float:
    """The operations of `law_tests`."""
    flops = 0.0
    for n in tested_sizes(pool_size):
        side, read = min(n, rank), min(pool_size, n + MOST_OTHERS)
        fit = side**3 + 2.0 * read * rank * outputs
        flops += TRIALS * (2.0 * n * rank * side + len(TESTED_RIDGES) * fit)
    return flops


def tested_grid(pool: Spectrum) -> tuple[list[int], Float64[np.ndarray, " l"]]:
    """The sizes and the ridges λ of the tests on a pool."""
    return tested_sizes(pool.n), np.array(TESTED_RIDGES) * pool.trace / pool.n


def tested_sizes(pool_size: int) -> list[int]:
    """The sizes n of the tests."""
    least, most = TESTED_SIZES
    sizes = [n for n in (int(share * pool_size) for share in TESTED_SHARES) if least <= n <= most]
    if pool_size > most and len(sizes) < FEWEST_SIZES:
        sizes = [int(share / LARGEST_SHARE * most) for share in TESTED_SHARES]
    return sizes


def _tests(
    name: str, n: pd.Series, relative_ridge: pd.Series | float, deviation: pd.Series
) -> pd.DataFrame:
    columns = {"test": name, "n": n, "relative_ridge": relative_ridge, "deviation": deviation}
    return pd.DataFrame(columns)


def rate(n: ArrayLike, deviation: ArrayLike) -> PowerLaw:
    """Exponent at which a deviation falls: slope of log RMS deviation against log n.

    Args:
        n: Sizes, one per deviation; those of one size are combined to their root mean square first.
        deviation: Deviations of either sign, finite.

    Returns:
        The rate.

    Raises:
        UsageError: Fewer than three sizes, other lengths, n ≤ 0, a deviation that is not finite, or
            a size without any.
    """
    n, deviation = (
        np.asarray(n, dtype=np.float64).ravel(),
        np.asarray(deviation, dtype=np.float64).ravel(),
    )
    if len(n) != len(deviation):
        raise UsageError(
            f"a rate needs one n per deviation: got {len(n)} sizes and {len(deviation)} deviations."
        )
    sizes, places = np.unique(n, return_inverse=True)
    if len(sizes) < FEWEST_SIZES:
        raise UsageError(
            f"a rate needs at least {FEWEST_SIZES} sizes: got {len(sizes)}"
            f" ({', '.join(f'{size:g}' for size in sizes)}). Add sizes."
        )
    if not (np.isfinite(n) & (n > 0) & np.isfinite(deviation)).all():
        raise UsageError(
            "a rate needs sizes > 0 and finite deviations: got others. Leave those rows out."
        )
    rms = np.sqrt(np.bincount(places, deviation**2) / np.bincount(places))
    if not rms.all():
        raise UsageError(
            f"a rate needs a deviation above 0 at every size: got 0 at n = {sizes[rms == 0][0]:g}."
            " Leave that size out."
        )
    return PowerLaw.of(sizes, rms)


def bare_pool(modes: Modes) -> Spectrum:
    """The pool for κ and δ alone: its target power is not read."""
    values = modes.values.cpu().numpy()
    return Spectrum.of_power(values, np.ones_like(values), 0.0, modes.n, intercept=modes.intercept)


def _limits(
    pool: Spectrum, ridges: Float64[np.ndarray, " l"], n: int, chosen: Int64[Tensor, " k"]
) -> Float64[np.ndarray, "l k"]:
    """ℓ/(ℓ + Λ_i)."""
    return 1 / (1 + pool.eigenvalues[chosen.numpy()] / transported(pool, ridges, n).delta[:, None])


def _deviations(
    form: Float64[np.ndarray, "k k"], limit: Float64[np.ndarray, " k"]
) -> dict[str, float]:
    """RMS on the diagonal and off it."""
    deviation = form - np.diag(limit)
    parts = {
        "diagonal_rms": np.diag(deviation),
        "off_diagonal_rms": deviation[~np.eye(len(limit), dtype=bool)],
    }
    return {name: float(np.sqrt(np.mean(part**2))) for name, part in parts.items()}


def _drawn(size: int, n: int, seed: list[int]) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]:
    """Positions of n samples of a pool, and of others."""
    draw = np.random.default_rng(seed)
    subset = draw.choice(size, n, replace=False)
    others = np.setdiff1d(np.arange(size), subset)
    if len(others) > MOST_OTHERS:
        others = draw.choice(others, MOST_OTHERS, replace=False)
    return torch.from_numpy(subset), torch.from_numpy(others)


def _sizes(sizes: ArrayLike, pool: int) -> Int64[np.ndarray, " k"]:
    values = np.atleast_1d(np.asarray(sizes)).ravel()
    outside = values[(values < 2) | (values > LARGEST_SHARE * pool) | (values != np.floor(values))]
    if outside.size or not values.size:
        seen = f"{outside[0]:g}" if outside.size else "none"
        raise UsageError(
            f"sizes must be whole, from 2 to N/4 = {int(LARGEST_SHARE * pool)} of a pool of {pool}:"
            f" got {seen}. The law is tested on a small part of the pool: take smaller sizes or a"
            " larger pool."
        )
    return values.astype(np.int64)


def _positive_ridges(ridges: ArrayLike) -> Float64[np.ndarray, " l"]:
    values = np.atleast_1d(np.asarray(ridges, dtype=np.float64)).ravel()
    wrong = values[~((values > 0) & np.isfinite(values))]
    if wrong.size or not values.size:
        raise UsageError(
            f"ridges must be positive and finite: got {f'{wrong[0]:g}' if wrong.size else 'none'}."
            " The law holds on an interval away from 0."
        )
    return values


def _require(risk: pd.DataFrame, *columns: str) -> None:
    missing = [column for column in columns if column not in risk]
    if missing:
        raise UsageError(
            f"the risk table must have the columns {', '.join(columns)}: got none named"
            f" {', '.join(missing)}. Pass what `ridge_path` returns, with the number of the trial"
            " beside it."
        )
