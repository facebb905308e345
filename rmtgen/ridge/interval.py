"""An interval for the risk of a fit from leave-two-out losses, without a test set.

The leave-one-out losses of two samples depend on one another, because each is in the fit that
leaves the other out. Near interpolation what they share is larger than what they do not, so the
standard error of a mean of independent losses is too small. With α = GY and C_ij = G_ij /
√(G_ii G_jj), the loss of sample i of the fit without i and j is

    ℓ_i^(−j) = ‖α_i/√G_ii − C_ij α_j/√G_jj‖² / (G_ii (1 − C_ij²)²),    ℓ_i = ‖α_i‖²/G_ii².

Let η_ij be ℓ_i^(−j) − ℓ_i, centred over rows and over columns. To first order the leave-one-out
risk L, the mean of ℓ, has the standard error

    SE² = var(ℓ)/n + (1/n²) Σ_{i≠j} η_ij η_ji,

and the risk of the fit lies in L·exp(±1.96 SE/L). A multiple of G has the same ratios. With an
intercept P takes the place of G. `make bench BENCH=coverage` measures how often that holds.

The sum is over all pairs up to `PAIRED` samples, and beyond over the pairs of so many samples
chosen at random, whose mean takes its place: the standard error then varies by a few per cent.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.ridge.columns import INTERVAL_COLUMNS

PAIRED = 384
"""Largest number of samples whose pairs are looked at."""
LEAST_SAMPLES = 8
"""Sample size below which there is no interval: a variance of fewer losses says nothing."""
NORMAL_QUANTILE = 1.959963984540054
"""Standard errors on either side of an interval of 95 %."""
LEAST_LEFT = 1e-8
"""Value of 1 − C_ij² below which more than half of the digits of a pair are lost: two samples that
are the same to the kernel, at a ridge near 0."""
_SEED = 0
_PAIR_COST = 500
"""Cost of a pair, in operations of a matrix product: some passes over memory."""


def paired(n: int, most: int | None = None) -> Int64[np.ndarray, " m"]:
    """Positions of the samples whose pairs are looked at, ascending.

    Those of the smallest numbers in a fixed random sequence: sizes near each other share most.

    Args:
        n: Number of samples.
        most: Largest m; None: `PAIRED`.
    """
    most = PAIRED if most is None else most
    if n <= most:
        return np.arange(n)
    numbers = np.random.default_rng(_SEED).random(n)
    return np.sort(np.argpartition(numbers, most)[:most])


def pair_cost(n: int, rank: int) -> float:
    """The cost of `pair_covariance_` with the product that makes G, in operations of a product."""
    return min(n, PAIRED) ** 2 * (2.0 * rank + _PAIR_COST)


def pair_bytes(n: int, rows: int = 0) -> int:
    """Bytes that `pair_covariance_` takes with its arguments, and `rows` numbers a sample."""
    m = min(n, PAIRED)
    return 8 * m * (4 * m + rows)


def all_paired(n: int) -> int:
    """Number of samples that are `paired` at any size up to n, hardly ever exceeded.

    The next sample is one of them with the chance `PAIRED`/n.
    """
    return min(n, int(1.2 * PAIRED * (1 + math.log(max(n / PAIRED, 1)))))


def pair_covariance_(inverse: Float64[Tensor, "m m"], dual: Float64[Tensor, "m c"]) -> float:
    """The mean of η_ij η_ji over pairs i ≠ j.

    Args:
        inverse: G of the samples `paired`, or a multiple of it, symmetric; overwritten.
        dual: α of them, times the same.

    Returns:
        The mean, unbiased where the samples are random ones of more. NaN below `LEAST_SAMPLES`,
        and where a pair leaves too few digits.
    """
    change = changes_(inverse, dual)
    return math.nan if change is None else centred_covariance(change, spare=inverse)


def pair_covariance_error_(inverse: Float64[Tensor, "m m"], dual: Float64[Tensor, "m c"]) -> float:
    """The standard error of `pair_covariance_` from the choice of samples, by the jackknife.

    Args:
        inverse: As there; overwritten.
        dual: As there.

    Returns:
        The error where the samples are few of many. NaN as there.
    """
    change = changes_(inverse, dual)
    if change is None:
        return math.nan
    m = len(change)
    mean, shared, turned = _effects(change)
    change.sub_(mean + shared - turned).sub_((shared + turned)[:, None]).fill_diagonal_(0)
    products = (change * change.mT).sum(dim=1)
    without = (products.sum() - 2 * products) / ((m - 1) * (m - 2))
    return ((m - 1) / m * (without - without.mean()).square().sum()).sqrt().item()


def changes_(
    inverse: Float64[Tensor, "m m"], dual: Float64[Tensor, "m c"]
) -> Float64[Tensor, "m m"] | None:
    """ℓ_i^(−j) − ℓ_i, zero on the diagonal; None where `pair_covariance_` is NaN.

    Args:
        inverse: As there; overwritten.
        dual: As there.
    """
    if len(inverse) < LEAST_SAMPLES:
        return None
    scale = inverse.diagonal().rsqrt()
    cosine = inverse.mul_(scale).mul_(scale[:, None])
    cosine.fill_diagonal_(0)
    scaled = dual * scale[:, None]
    squares = scaled.square().sum(dim=1)
    # ‖u_i − C u_j‖² = u_i·u_i − 2 C u_i·u_j + C² u_j·u_j, u = α/√G
    change = (scaled @ scaled.mT).mul_(cosine).mul_(-2)
    cosine.square_()
    change.addcmul_(cosine, squares).add_(squares[:, None])
    excess = cosine.sub_(1)
    if not excess.max() < -LEAST_LEFT:
        return None
    # ℓ_i^(−j) − ℓ_i; centring would take ℓ_i away too, with the digits of the rest
    change.div_(excess.square_()).sub_(squares[:, None]).mul_(scale.square()[:, None])
    return change.fill_diagonal_(0)


def centred_covariance(change: Float64[Tensor, "m m"], *, spare: Tensor) -> float:
    """The mean of η_ij η_ji from what it is before it is centred, zero on the diagonal.

    It is a quadratic form: of the difference of the changes of two fits to the same samples it is
    that of the difference of their losses.

    The least-squares fits a + u_i + u_j to the symmetric and v_i − v_j to the antisymmetric part
    are taken out of their sums of squares, each of which is divided by its degrees of freedom.

    Args:
        change: The numbers.
        spare: Room for as many.
    """
    m, (mean, shared, turned) = len(change), _effects(change)
    total, crossed = change.square().sum(), spare.copy_(change.mT).mul_(change).sum()
    symmetric = (
        (total + crossed) / 2 - m * (m - 1) * mean.square() - 2 * (m - 2) * shared.square().sum()
    )
    antisymmetric = (total - crossed) / 2 - 2 * m * turned.square().sum()
    return (symmetric / (m * (m - 3)) - antisymmetric / ((m - 1) * (m - 2))).item()


def _effects(change: Float64[Tensor, "m m"]) -> tuple[Tensor, Tensor, Tensor]:
    """a, u_i and v_i of the least-squares fit a + u_i + u_j + v_i − v_j off the diagonal."""
    m, rows, columns = len(change), change.sum(dim=1), change.sum(dim=0)
    mean = rows.sum() / (m * (m - 1))
    shared = ((rows + columns) / 2 - (m - 1) * mean) / (m - 2)
    return mean, shared, (rows - columns) / (2 * m)


def interval_columns(
    losses: Float64[Tensor, " n"],
    covariance: float,
    sampled: float = 0.0,
    variance: float | None = None,
) -> dict[str, float]:
    """The interval of 95 %, on the scale of a logarithm, and the kurtosis of the errors.

    The columns are loo_se, loo_low, loo_high and loo_kurtosis, the mean of ℓ² over the square of L:
    where it is large, few samples determine var(ℓ).

    Args:
        losses: ℓ_i, summed over outputs.
        covariance: `pair_covariance_` of the fit.
        sampled: Standard error of the mean of the losses themselves, where they are estimates.
        variance: What takes the place of var(ℓ), n times the variance of the mean of losses that
            depend on one another in no other way; None: var(ℓ).
    """
    n = len(losses)
    if n < LEAST_SAMPLES:
        return dict.fromkeys(INTERVAL_COLUMNS, math.nan)
    mean = losses.mean().item()
    variance = losses.var().item() if variance is None else variance
    error = float(risk_error(variance, covariance, n, sampled))
    low, high = bounds(mean, error)
    kurtosis = losses.div(mean).square().mean().item() if mean else math.nan
    values = (error, float(low), float(high), kurtosis)
    return dict(zip(INTERVAL_COLUMNS, values, strict=True))


def risk_error(
    variance: ArrayLike, covariance: ArrayLike, n: int, sampled: float = 0.0
) -> Float64[np.ndarray, "*c"]:
    """SE from var(ℓ) and `pair_covariance_`, for one fit or several.

    Args:
        variance: var(ℓ), unbiased.
        covariance: NaN where it is not known, and then so is SE.
        n: Number of samples.
        sampled: As in `interval_columns`.
    """
    shared = (n - 1) / n * np.maximum(covariance, 0)
    return np.asarray((np.asarray(variance) / n + shared + sampled**2) ** 0.5)


def bounds(
    mean: ArrayLike, error: ArrayLike
) -> tuple[Float64[np.ndarray, "*c"], Float64[np.ndarray, "*c"]]:
    """L·exp(∓1.96 SE/L), both 0 where L is."""
    mean, reach = np.asarray(mean, dtype=float), NORMAL_QUANTILE * np.asarray(error, dtype=float)
    with np.errstate(over="ignore"):  # where two samples leave nothing to go by, it is all there is
        spread = np.exp(np.divide(reach, mean, out=np.zeros(mean.shape), where=mean != 0))
    return np.asarray(mean / spread), np.asarray(mean * spread)
