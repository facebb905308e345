"""Scaling laws: exponents of a kernel's spectrum and of its targets, and slopes of the risk.

σ_i ∝ i^(−a), v_i² ∝ i^(−b), s = min(b − 1, 2a). Seen through effective ridges: κ(0, n) ∝ n^(−a),
and B(κ) ∝ df1(κ)^(−s). Slopes of the risk in n beyond its noise: ridgeless −s (with noise a
plateau), best ridge −s/(1 + s) with noise, fixed sum ridge nλ −s/a, fixed ridge λ 0 (a plateau).

The decay a is estimated twice: from κ̂'(0, n), which is −dlog κ/dlog n, on the pool, and from κ̂_n(0)
= 1/tr K_n⁻¹ of subsets that were solved on their own. A warning says where the two do not agree.

The range of a fit is fixed by a rule: from 30 samples, below which averages fluctuate too much, to
a quarter of what the pool resolves, min(N, rank)/4, beyond which slopes steepen by themselves.

So every exponent is a local slope. Its interval covers the slope over the fitted range, not the
limit of ever larger n: a spectrum of a = 1.2 has the slope 1.35 over a few hundred samples, and a
larger pool narrows the interval about that. Noise counts as present where its interval excludes 0.
"""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float64

from rmtgen.entrance import public
from rmtgen.errors import UsageError, warn
from rmtgen.theory.curves import Curves
from rmtgen.theory.extrapolation import likely_curves, resampled_curves
from rmtgen.theory.forecast import QUANTILES
from rmtgen.theory.influence import Influence
from rmtgen.theory.line_fit import PowerLaw
from rmtgen.theory.tails import EXPONENTS, floor_law

LEAST = 30
"""Smallest size that exponents are fitted to."""
SHARE = 1 / 4
"""Largest size that exponents are fitted to, relative to min(N, rank)."""
POINTS = 12
"""Number of sizes of a fit."""
AMPLE = 4.0
"""Ratio of `ample_ridge` to the largest κ̂(0, n) of the fitted range."""
SPAN = 4.0
"""Smallest factor that a range of sizes spans for a slope to be quoted."""
AGREE = 0.1
"""Largest difference of two estimates of a beyond their intervals: finite-n curvature is about that
large (theory of a = 1.5)."""


def power_law(x: Float64[np.ndarray, " k"], y: Float64[np.ndarray, " k"], name: str) -> PowerLaw:
    """Exponent of y in x, refused where the data has none to quote.

    Args:
        x: Ascending, positive.
        y: Positive, rising or falling throughout.
        name: Name of y in the message.

    Raises:
        UsageError: Fewer than three points, a range below a factor of 4, values that are not finite
            and positive, or not monotone.
    """
    if len(x) < 3 or x[-1] < SPAN * x[0]:
        raise UsageError(
            f"an exponent of {name} needs at least 3 points over a factor of {SPAN:g}: got"
            f" {len(x)}{f' from {x[0]:g} to {x[-1]:g}' if len(x) else ''}. Take more sizes, or a"
            " larger pool."
        )
    if not (np.isfinite(y) & (y > 0)).all():
        raise UsageError(
            f"an exponent of {name} needs finite, positive values: got"
            f" {y[~(np.isfinite(y) & (y > 0))][0]:.4g}."
        )
    steps = np.diff(y)
    if not ((steps > 0).all() or (steps < 0).all()):
        place = int(np.argmax(np.sign(steps) != np.sign(steps[0])))
        raise UsageError(
            f"an exponent of {name} needs values that rise or fall throughout: got {y[place]:.4g}"
            f" at {x[place]:g}, then {y[place + 1]:.4g}."
        )
    return PowerLaw.of(x, y)


def fit_range(pool_size: int, rank: int) -> tuple[float, float]:
    """Smallest and largest size that exponents are fitted over.

    Raises:
        UsageError: They span less than a factor of 4.
    """
    low, high = LEAST, SHARE * min(pool_size, rank)
    if high < SPAN * low:
        raise UsageError(
            f"exponents are fitted from n = {LEAST} to a quarter of min(N, rank), over at least a"
            f" factor of {SPAN:g}: got N = {pool_size}, rank {rank}. Take a pool of at least"
            f" {int(SPAN * LEAST / SHARE)}."
        )
    return low, high


def ample_ridge(influence: Influence) -> float:
    """λ far above every κ̂(0, n) of the range that exponents are fitted over."""
    first, _ = fit_range(influence.pool.n, influence.pool.rank)
    one = likely_curves(influence)
    return AMPLE * float(_at_freedom(one, np.array([first], dtype=float))[0][0])


@public
def scaling_laws(influence: Influence, ridge: float | None = None) -> pd.DataFrame:
    """Local slopes of a pool, fitted and predicted from a and s, with 95 % intervals.

    The intervals cover the slopes over the range `first` to `last`, not their limits at large n.

    Args:
        influence: Influence of the pool.
        ridge: λ > 0 of the slope at a fixed ridge; the slope at a fixed sum ridge has the same λ at
            the smallest n of the range. None: `ample_ridge`.

    Returns:
        One row per quantity: `quantity exponent low high predicted first last`. `noise` is the part
        of the risk that no mode explains, not an exponent; where its interval excludes 0, the laws
        with noise predict. Then `decay` a, `alignment` s and `power` b = 1 + s (if s < 2a), and
        slopes in n: of `kappa`, of the risk beyond its noise `ridgeless`,
        `best_ridge` and `fixed_sum_ridge`, and of the risk itself `fixed_ridge`. A slope that
        cannot be quoted, since its values are not monotone or no s fits, is NaN, as are the ends of
        intervals that resampled pools do not have.

    Raises:
        UsageError: A pool too small for the rule of the range.
    """
    pool = influence.pool
    first, last = fit_range(pool.n, pool.rank)
    sizes, ridge = (
        np.geomspace(first, last, POINTS),
        ample_ridge(influence) if ridge is None else ridge,
    )
    found = exponents(likely_curves(influence), sizes, ridge)
    drawn = pd.DataFrame([exponents(one, sizes, ridge) for one in resampled_curves(influence)])
    low, high = (drawn.quantile(end) for end in QUANTILES)
    noisy = bool(low["noise"] > 0)
    rows = [
        {
            "quantity": name,
            "exponent": value,
            "low": low[name],
            "high": high[name],
            "predicted": _predicted(name, found, noisy=noisy),
            "first": first,
            "last": last,
        }
        for name, value in found.items()
    ]
    return pd.DataFrame(rows)


def subset_decay(risk: pd.DataFrame, rank: int, pool_size: int) -> PowerLaw:
    """Decay a from subsets solved on their own: minus the slope in n of the mean κ̂_n(0).

    Args:
        risk: Table of fits with `n ridge kappa`, ridge 0 among the ridges.
        rank: Rank of the pool.
        pool_size: N.

    Raises:
        UsageError: No ridge of 0, or what `power_law` refuses.
    """
    first, last = fit_range(pool_size, rank)
    rows = risk[(risk["ridge"] == 0) & risk["n"].between(first, last)]
    means = rows.groupby("n")["kappa"].mean()
    law = power_law(means.index.to_numpy(float), means.to_numpy(), "κ̂(0, n) of subsets")
    return dataclasses.replace(law, slope=-law.slope, constant=1 / law.constant)


def measured_slopes(
    risk: pd.DataFrame, laws: pd.DataFrame, ridge: float, curve: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Slopes of the measured test risk beside those of a pool.

    Args:
        risk: Table of fits with `n trial ridge test_risk`.
        laws: Table of `scaling_laws`; its noise is subtracted, its range of n kept.
        ridge: λ > 0 of the slope at a fixed ridge, one of the table's.
        curve: Dense curve `n relative_sum_ridge ridge test_risk` at fixed sum ridges, of which the
            one closest to that of `scaling_laws` is taken. None: no such slope.

    Returns:
        `laws` with columns `measured measured_low measured_high`, two standard errors of the line
        about it; NaN where there are too few sizes, or they do not fall throughout.
    """
    rows = laws.set_index("quantity")
    first, last = rows.loc["decay", ["first", "last"]]
    noise = np.nan_to_num(rows.loc["noise", "exponent"])
    means = (
        risk[risk["n"].between(first, last)]
        .groupby(["n", "ridge"])["test_risk"]
        .mean()
        .unstack("ridge")
    )
    at_ridge = (
        means[means.columns[np.argmin(np.abs(means.columns - ridge))]]
        if means.size
        else pd.Series(dtype=float)
    )
    risks = {
        "ridgeless": means[0.0] - noise if 0.0 in means else at_ridge[:0],
        "best_ridge": means.min(axis=1) - noise,
        "fixed_ridge": at_ridge,
    }
    if curve is not None:
        away = np.abs(np.log(curve["n"] * curve["ridge"] / (ridge * first))).to_numpy()
        level = curve["relative_sum_ridge"].to_numpy()[away.argmin()]
        near = curve[
            (curve["relative_sum_ridge"] == level) & curve["n"].between(first, last)
        ].set_index("n")["test_risk"]
        risks["fixed_sum_ridge"] = _thinned(near.sort_index()) - noise
    slopes = {name: _measured(values.dropna()) for name, values in risks.items()}
    unknown = [np.nan] * 3
    columns = np.array([slopes.get(name, unknown) for name in laws["quantity"]], dtype=float)
    return laws.assign(
        measured=columns[:, 0], measured_low=columns[:, 1], measured_high=columns[:, 2]
    )


def _thinned(dense: pd.Series) -> pd.Series:
    """`POINTS` values evenly spread over log n: closer ones differ by less than their noise."""
    if len(dense) <= POINTS:
        return dense
    wanted = np.geomspace(dense.index[0], dense.index[-1], POINTS)
    return dense.iloc[np.unique(np.abs(dense.index.to_numpy()[:, None] - wanted).argmin(axis=0))]


def _measured(values: pd.Series) -> tuple[float, float, float]:
    try:
        law = power_law(values.index.to_numpy(float), values.to_numpy(), "the test risk")
    except UsageError:
        return np.nan, np.nan, np.nan
    return law.slope, law.slope - 2 * law.standard_error, law.slope + 2 * law.standard_error


def scaling_table(
    influence: Influence, risk: pd.DataFrame, curve: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Exponents and slopes of a pool (`scaling_laws`), beside those of measured risks.

    Args:
        influence: Influence of the pool.
        risk: Table of fits of its subsets, as `measured_slopes` takes it. The slope at a fixed
            ridge is taken at the ridge of the table that is closest to `ample_ridge`.
        curve: Learning curve dense in n, as `measured_slopes` takes it.

    Returns:
        As `measured_slopes`. A last row `subset_decay` has the estimate of a from subsets, where
        the table has ridge 0 and sizes enough.

    Raises:
        UsageError: A pool too small for the range of the fit.

    Warns:
        RmtgenWarning: The two estimates of a do not agree.
    """
    grid = np.unique(risk.loc[risk["ridge"] > 0, "ridge"])
    wanted = ample_ridge(influence)
    ridge = grid[np.argmin(np.abs(np.log(grid / wanted)))] if grid.size else wanted
    table = measured_slopes(risk, scaling_laws(influence, ridge), ridge, curve)
    try:
        law = subset_decay(risk, influence.pool.rank, influence.pool.n)
    except UsageError:
        return table
    decay = table.set_index("quantity").loc["decay", ["exponent", "low", "high"]].tolist()
    if not agree(decay, law):
        warn(
            f"two estimates of the decay a must agree: got {decay[0]:.3f} from the pool and"
            f" {law.slope:.3f} from subsets of {law.first:g} to {law.last:g} samples. The"
            " spectrum is no power law there; do not quote one."
        )
    reach = 2 * law.standard_error
    row = {
        "quantity": "subset_decay",
        "exponent": law.slope,
        "low": law.slope - reach,
        "high": law.slope + reach,
        "predicted": decay[0],
        "first": law.first,
        "last": law.last,
    }
    return pd.concat([table, pd.DataFrame([row])], ignore_index=True)


def agree(pool_decay: tuple[float, float, float], subsets: PowerLaw) -> bool:
    """Whether two estimates of a differ by no more than their intervals and `AGREE` allow.

    Args:
        pool_decay: Estimate of a from the pool, and the ends of its interval.
        subsets: Estimate of a from subsets.
    """
    value, low, high = pool_decay
    allowed = AGREE + (high - low) / 2 + 2 * subsets.standard_error
    return bool(abs(value - subsets.slope) <= allowed)


def _at_freedom(
    one: Curves, df1: Float64[np.ndarray, " t"]
) -> tuple[Float64[np.ndarray, " t"], ...]:
    """κ, df2 and B + noise at df1 degrees of freedom: κ is κ(0, n) for n = df1."""
    order = np.argsort(one.df1)
    log_df1 = np.log(np.maximum(one.df1[order], np.finfo(float).tiny))
    return tuple(
        np.exp(np.interp(np.log(df1), log_df1, np.log(values[order])))
        for values in (one.kappa, one.df2, one.floor)
    )


def exponents(one: Curves, sizes: Float64[np.ndarray, " t"], ridge: float) -> dict[str, float]:
    """The quantities of `scaling_laws` by name, of one pair of curves; NaN where none is found."""
    kappa, df2, floor = _at_freedom(one, sizes)
    noise, _, exponent = floor_law(sizes, floor)
    if not EXPONENTS[0] < exponent < EXPONENTS[-1]:
        noise = exponent = np.nan  # no candidate s fits: no power law, and no noise to subtract
    at_best = np.array([one.best(n)[1] for n in sizes])
    at_ridge = np.array([one.fit(n, ridge)[1] for n in sizes])
    at_sum = np.array([one.fit(n, ridge * sizes[0] / n)[1] for n in sizes])
    return {
        "noise": noise,
        "decay": float(np.exp(np.log(sizes / (sizes - df2)).mean())),
        "alignment": exponent,
        "power": 1 + exponent,
        "kappa": _slope(sizes, kappa),
        "ridgeless": _slope(sizes, floor / (1 - df2 / sizes) - noise),
        "best_ridge": _slope(sizes, at_best - noise),
        "fixed_sum_ridge": _slope(sizes, at_sum - noise),
        "fixed_ridge": _slope(sizes, at_ridge),
    }


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    try:
        return power_law(x, y, "a curve").slope
    except UsageError:
        return np.nan


def _predicted(name: str, found: dict[str, float], *, noisy: bool) -> float:
    decay, alignment = found["decay"], found["alignment"]
    laws = {
        "kappa": -decay,
        "ridgeless": 0.0 if noisy else -alignment,
        "best_ridge": -alignment / (1 + alignment) if noisy else -alignment,
        "fixed_sum_ridge": -alignment / decay,
        "fixed_ridge": 0.0,
    }
    return laws.get(name, np.nan)
