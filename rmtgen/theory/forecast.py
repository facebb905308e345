"""Forecast: the risk at sample sizes beyond the pool, and the labels that a risk needs.

At one effective ridge κ the omniscient risk of n samples is [B(κ) + noise]/(1 − df2(κ)/n) at λ =
κ(1 − df1(κ)/n), for n of any size: df1, df2 and B + noise at every κ predict every n. A pool of N
samples estimates them for κ ≥ κ̂_N(0) (`transport`). That is the whole range where the pool
resolves every mode (rank < N, so κ̂_N(0) = 0). Otherwise what lies below is extrapolated from power
laws:

    df1 ∝ κ^(−1/a),      B + noise = floor + c·df1^(−s),

joined to the pool at df1 = N/2, since beyond it fewer than half of its directions determine the
rest.
There 1/a = 1 − df2/df1, because dlog df1/dlog κ = −(1 − df2/df1), and df2 = (1 − 1/a)·df1 in the
tail; s is fitted over N/16 ≤ df1 ≤ N/2. With an intercept n samples fit n − 1 directions.

Intervals are quantiles over resampled pools: weights of the samples are drawn, every curve changes
by its first-order influence (`influence`), tails are fitted anew.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_array, real_number, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Rows
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.scalars import instance
from rmtgen.theory.influence import Influence
from rmtgen.theory.transport import PoolSums, pool_sums, require_power

TRUSTED = 1 / 2
"""Largest df1 of the trusted range, relative to the pool's directions."""
FITTED = 1 / 16
"""Smallest df1 that the tail is fitted to, relative to the pool's directions: three doublings."""
POINTS = 1_500
"""Number of points of a curve in κ."""
DRAWS = 200
"""Number of resampled pools of an interval."""
QUANTILES = (0.025, 0.975)
"""Ends of an interval."""
FEWEST = 2
"""Smallest sample that a forecast is made for."""
PRECISION = 1e-3
"""Relative precision of the number of labels."""
BEYOND = 1e-6
"""Smallest κ of the tail, relative to the smallest κ of the trusted range."""
EXPONENTS = np.geomspace(0.05, 4, 200)
"""Candidate exponents s of a tail."""

_CURE = "Compute it: pool_influence."


@dataclass(frozen=True, eq=False)
class Curves:
    """Quantities of the population at effective ridges κ, ascending: g points.

    Attributes:
        kappa: κ.
        df1: df1(κ), descending.
        df2: df2(κ).
        floor: B(κ) + noise.
        trusted: Smallest κ of the trusted range; below it the tail is extrapolated. 0 where every
            mode was resolved.
        taken: Number of directions that an intercept takes of n samples, 0 or 1.
    """

    kappa: Float64[np.ndarray, " g"]
    df1: Float64[np.ndarray, " g"]
    df2: Float64[np.ndarray, " g"]
    floor: Float64[np.ndarray, " g"]
    trusted: float
    taken: int

    def surface(
        self, n: float
    ) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """λ, R(n, λ) and κ at every point that n samples reach, λ ascending.

        The first is λ = 0 where df1 crosses n on the curves.
        """
        fitted = n - self.taken
        first = int(np.argmax(self.df1 < fitted)) if self.df1[-1] < fitted else len(self.df1)
        kappa, df1, df2, floor = (
            values[first:] for values in (self.kappa, self.df1, self.df2, self.floor)
        )
        if 0 < first < len(self.df1):
            share = (self.df1[first - 1] - fitted) / (self.df1[first - 1] - self.df1[first])
            crossing = (
                np.exp((1 - share) * np.log(values[first - 1]) + share * np.log(values[first]))
                for values in (self.kappa, self.df2, self.floor)
            )
            at_zero = next(crossing), fitted, *crossing
            kappa, df1, df2, floor = (
                np.append(new, values)
                for new, values in zip(at_zero, (kappa, df1, df2, floor), strict=True)
            )
        return kappa * (fitted - df1) / n, n * floor / (fitted - df2), kappa

    def best(self, n: float) -> tuple[float, float, float]:
        """λ, R and κ at the smallest risk of n samples.

        Raises:
            NumericalError: n samples reach no point of the curves.
        """
        ridge, risk, kappa = self.surface(n)
        if not risk.size:
            raise NumericalError(
                f"a forecast needs df1 < n somewhere on the curve: got n = {n:g}, df1 >="
                f" {self.df1.min():.4g}."
            )
        place = int(np.argmin(risk))
        return ridge[place], risk[place], kappa[place]

    def risk(self, n: float, ridge: float) -> float:
        """R(n, λ), log-linear between the points.

        Below the smallest λ it is its limit where every mode was resolved, else NaN.
        """
        ridges, risks, _ = self.surface(n)
        left = None if self.trusted == 0 else np.nan
        return float(np.exp(np.interp(ridge, ridges, np.log(risks), left=left)))


@public
def pool_influence(modes: Modes, targets: np.ndarray | Tensor | Rows) -> Influence:
    """Influence of every sample of a pool over the whole grid of its sum ridge, for forecasts.

    Args:
        modes: Modes of the pool, from `gram_modes` or `feature_modes`.
        targets: (n,) or (n, c), of the same samples.

    Raises:
        UsageError: Another number of targets than of samples.
        NumericalError: A pool without any mode, or targets without any power.
    """
    modes = instance(modes, Modes, "modes", "Compute it: gram_modes or feature_modes.")
    if not isinstance(targets, Rows):
        targets = target_matrix(targets).to(modes.vectors.device)
    pool = require_power(Spectrum.of(modes, targets))
    return Influence.of(pool, modes, targets, deltas(pool))


def curves(pool: Spectrum) -> Curves:
    """Curves of the pool, with a tail below them where it does not resolve every mode.

    Raises:
        NumericalError: Too few points in the range that the tail is fitted on.
    """
    sums = pool_sums(pool, deltas(pool))
    return _curves(pool, sums, sums.s1, sums.s2, sums.energy)


def _curves(
    pool: Spectrum, sums: PoolSums, s1: np.ndarray, s2: np.ndarray, energy: np.ndarray
) -> Curves:
    """Curves from S1, S2 and E at the δ of `sums`, of the pool itself or of a resampled one."""
    whole = Curves(
        kappa=sums.delta / s1,
        df1=pool.directions - s1,
        df2=pool.directions - np.square(s1) / s2,
        floor=energy / s2,
        trusted=0.0,
        taken=pool.n - pool.directions,
    )
    return whole if pool.null_dim else _with_tail(whole, pool.directions)


def deltas(pool: Spectrum) -> Float64[np.ndarray, " g"]:
    """Grid of the pool's auxiliary sum ridge, from no shrinkage to full shrinkage."""
    return np.geomspace(pool.eigenvalues[-1] * 1e-3, pool.eigenvalues[0] * 1e4, POINTS)


def _with_tail(whole: Curves, directions: int) -> Curves:
    measured = whole.df1 <= TRUSTED * directions
    fitted = measured & (whole.df1 >= FITTED * directions)
    if np.count_nonzero(fitted) < 10:
        raise NumericalError(
            f"a tail is fitted to points with df1 from N/16 to N/2: got {np.count_nonzero(fitted)}"
            f" of them at N = {directions}. Take a larger pool."
        )
    _, factor, exponent = floor_law(whole.df1[fitted], whole.floor[fitted])
    first = int(np.argmax(measured))
    start, df1, df2, floor = (
        values[first] for values in (whole.kappa, whole.df1, whole.df2, whole.floor)
    )
    kappa = np.geomspace(BEYOND, 1, POINTS // 2, endpoint=False) * start
    tail = df1 * (kappa / start) ** -(1 - df2 / df1)
    constant = floor - factor * df1**-exponent
    below = (
        constant + factor * tail**-exponent if constant > 0 else floor * (tail / df1) ** -exponent
    )
    parts = (
        (kappa, whole.kappa),
        (tail, whole.df1),
        (df2 / df1 * tail, whole.df2),
        (below, whole.floor),
    )
    return Curves(
        *(np.concatenate([new, old[first:]]) for new, old in parts),
        trusted=start,
        taken=whole.taken,
    )


def floor_law(
    df1: Float64[np.ndarray, " k"], floor: Float64[np.ndarray, " k"]
) -> tuple[float, float, float]:
    """(T, c, s) of floor = T + c·df1^(−s), T and c ≥ 0, by least squares in the ratio to floor.

    For each s of `EXPONENTS` the two coefficients follow from the normal equations: both, where
    both come out positive, else the better one alone.
    """
    flat, falling = 1 / floor, np.power(df1, -EXPONENTS[:, None]) / floor
    aa, bb, ab = flat @ flat, np.square(falling).sum(axis=1), falling @ flat
    a, b, determinant = flat.sum(), falling.sum(axis=1), aa * bb - ab**2
    none = np.zeros_like(bb)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.stack([(a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant])
    tries = np.stack(
        [np.where((both >= 0).all(axis=0), both, np.inf), [none + a / aa, none], [none, b / bb]]
    )
    with np.errstate(invalid="ignore"):
        misfits = np.square(tries[:, 0, :, None] * flat + tries[:, 1, :, None] * falling - 1).sum(
            axis=2
        )
    which, place = np.unravel_index(np.nanargmin(misfits), misfits.shape)
    return float(tries[which, 0, place]), float(tries[which, 1, place]), float(EXPONENTS[place])


def resampled_curves(influence: Influence, draws: int = DRAWS, seed: int = 0) -> list[Curves]:
    """Curves of resampled pools: N samples drawn with replacement, to first order in the counts.

    Draws whose tail cannot be fitted are left out.
    """
    pool = influence.pool
    sums = pool_sums(pool, deltas(pool))
    grid, whole = np.log(sums.delta), (sums.s1, sums.s2, sums.energy)
    extra = (
        np.random.default_rng(seed).multinomial(pool.n, np.full(pool.n, 1 / pool.n), size=draws)
        - 1.0
    )
    changes = [-extra @ part.T for part in (influence.s1, influence.s2, influence.energy)]
    result = []
    for draw in range(draws):
        moved = (np.exp(np.interp(grid, influence.log_delta, change[draw])) for change in changes)
        try:
            result.append(
                _curves(
                    pool, sums, *(value * ratio for value, ratio in zip(whole, moved, strict=True))
                )
            )
        except NumericalError:
            continue
    return result


@public
def forecast(
    influence: Influence, sizes: ArrayLike, *, ridges: ArrayLike | None = None
) -> pd.DataFrame:
    """Test risk at sizes of any magnitude, with 95 % intervals over pools.

    Args:
        influence: Influence of the pool, from `pool_influence`.
        sizes: Sample sizes n ≥ 2.
        ridges: λ ≥ 0, or None for the ridge of smallest risk at each size.

    Returns:
        One row per (n, λ): `n ridge predicted_risk low high extrapolated`; `extrapolated` marks
        rows that rest on the tail. NaN where the curves do not reach λ.

    Raises:
        UsageError: n < 2, or a negative ridge.
        NumericalError: A pool too small to fit a tail to.
    """
    influence, sizes = instance(influence, Influence, "influence", _CURE), _sizes(sizes)
    point, draws = curves(influence.pool), resampled_curves(influence)
    if ridges is None:
        return pd.DataFrame([_best_row(point, draws, n) for n in sizes])
    ridges = np.atleast_1d(real_array(ridges, "ridges")).ravel()
    if not (ridges >= 0).all():
        raise UsageError(f"ridges must be >= 0: got {ridges[~(ridges >= 0)][0]:.4g}.")
    return pd.DataFrame([_row(point, draws, n, ridge) for n in sizes for ridge in ridges])


def _best_row(point: Curves, draws: list[Curves], n: float) -> dict[str, float]:
    ridge, risk, kappa = point.best(n)
    extrapolated = bool(kappa < point.trusted)
    return _as_row(n, ridge, risk, [draw.best(n)[1] for draw in draws], extrapolated)


def _row(point: Curves, draws: list[Curves], n: float, ridge: float) -> dict[str, float]:
    ridges, _, kappas = point.surface(n)
    extrapolated = bool(np.interp(ridge, ridges, kappas) < point.trusted)
    return _as_row(
        n, ridge, point.risk(n, ridge), [draw.risk(n, ridge) for draw in draws], extrapolated
    )


def _as_row(
    n: float, ridge: float, risk: float, risks: list[float], extrapolated: bool
) -> dict[str, float]:
    finite = np.array(risks)[np.isfinite(risks)]
    low, high = np.quantile(finite, QUANTILES) if finite.size > len(risks) / 2 else (np.nan, np.nan)
    return {
        "n": int(n),
        "ridge": ridge,
        "predicted_risk": risk,
        "low": low,
        "high": high,
        "extrapolated": extrapolated,
    }


@public
def labels_needed(influence: Influence, risks: ArrayLike, *, most: float = 1e9) -> pd.DataFrame:
    """Number of labels that a risk needs: the smallest n whose best ridge reaches it.

    Args:
        influence: Influence of the pool, from `pool_influence`.
        risks: Wanted test risks, in the squared unit of the targets.
        most: Largest number of the search.

    Returns:
        One row per risk: `risk labels low high extrapolated`, labels to a thousandth, ∞ where n =
        `most` does not reach it, with a 95 % interval over pools; `extrapolated` marks numbers
        beyond the pool.

    Raises:
        UsageError: No risk, one that is not positive, or a search without an end.
        NumericalError: A pool too small to fit a tail to.
    """
    risks = np.atleast_1d(real_array(risks, "risks")).ravel()
    most = real_number(most, "most")
    influence = instance(influence, Influence, "influence", _CURE)
    if not risks.size or not (risks > 0).all():
        seen = risks[~(risks > 0)][0] if risks.size else "none"
        raise UsageError(
            f"risks must be positive: got {seen}. They are squared errors, noise included."
        )
    if not FEWEST <= most < np.inf:
        raise UsageError(
            f"most must be finite and >= {FEWEST}: got {most}. Where it is not enough, the labels"
            " are ∞."
        )
    everyone = curves(influence.pool), *resampled_curves(influence)
    found = np.array([[_first_size(one, risk, most) for one in everyone] for risk in risks])
    low, high = np.quantile(found[:, 1:], QUANTILES, axis=1, method="nearest")
    columns = {"risk": risks, "labels": found[:, 0], "low": low, "high": high}
    return pd.DataFrame(columns).assign(extrapolated=found[:, 0] > influence.pool.n)


def _first_size(one: Curves, risk: float, most: float) -> float:
    """Bisection over whole n: the best risk falls with n."""
    low, high = FEWEST - 1, int(most)
    if one.best(high)[1] > risk:
        return np.inf
    while high - low > max(1, PRECISION * low):
        middle = int(np.sqrt(low * high)) if high > 4 * low else (low + high) // 2
        low, high = (low, middle) if one.best(max(middle, FEWEST))[1] <= risk else (middle, high)
    return float(high)


def _sizes(sizes: ArrayLike) -> Float64[np.ndarray, " t"]:
    sizes = np.atleast_1d(real_array(sizes, "sizes")).ravel()
    if not (sizes >= 2).all() or not np.isfinite(sizes).all():
        raise UsageError(
            "sizes must be finite and >= 2: got"
            f" {sizes[~((sizes >= 2) & np.isfinite(sizes))][0]:g}."
        )
    return sizes
