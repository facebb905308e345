"""Detectors that name samples: copies, outliers, and those whose losses carry the risk.

Notation: n training samples, m test samples, h_i the squared distance of sample i from the mean of
the training samples. A sample is named by its position among those of the fit.

Each threshold is that of a null hypothesis which no clean data make likelier: copies by chance, a
Pareto tail for outliers, Gaussian features for heavy tails. So they need not be chosen anew for
features of another network.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy import stats
from torch import Tensor

from rmtgen.linalg.modes import EPS32, EPS64
from rmtgen.theory.fit_checks import KURTOSIS
from rmtgen.theory.measurement import Measurement

CLOSE = 0.03
"""Largest squared distance of a near-copy, relative to that of the far neighbour."""
CHANCE = 3e-4
"""Approximate probability that the ball of the far neighbour holds a near-copy by chance."""
COPIES = 0.05
"""Threshold of the share of samples with a near-copy [.02]."""
EXACT = 0.01
"""Threshold of the share of samples with an exact copy."""
SHARED = 0.02
"""Least threshold of the share of test samples with a copy among the training samples."""
RARE = 1e-3
"""Probability of each threshold of this module under its null hypothesis, at most."""
TAIL = 0.1
"""Share of the samples that are a tail."""
MOST_OUTLIERS = 5
"""Largest number of outliers that are looked for; more are a tail."""
HEAVIER = 2.0
"""Factor by which the leading direction of real features may weigh more than of Gaussian ones."""
LIGHTEST = 0.15
"""Least share of the leading direction that the threshold of heavy features allows for."""
DRAWS = 4000
"""Number of Gaussian samples whose tails give the threshold of heavy features."""
POWER_STEPS = 20
"""Number of power iterations."""
CARRIERS = 0.5
"""Share of the risk that the samples named with heavy losses carry."""
ROWS = 256
"""Number of rows per step."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest neighbours of each training sample.

    Attributes:
        norms: K_ii.
        distances: Squared distances to the nearest others, ascending, to the far one.
        positions: Position of the nearest.
    """

    norms: Float64[Tensor, " n"]
    distances: Float64[Tensor, "n far"]
    positions: Int64[Tensor, " n"]

    @classmethod
    def of(cls, matrix: Float64[Tensor, "n n"]) -> "Neighbours":
        """From K; the far neighbour is of rank n/20, at least 5 and at most 30."""
        n = len(matrix)
        far = min(max(n // 20, 5), 30)
        found = [_nearest(matrix, low, far) for low in range(0, n, ROWS)]
        distances, positions = (torch.cat(parts) for parts in zip(*found, strict=True))
        return cls(matrix.diagonal(), distances, positions[:, 0])

    @property
    def near(self) -> Float64[Tensor, " n"]:
        """Largest squared distance of a near-copy of each sample.

        The squared distance K_ii + K_jj − 2K_ij to the nearest neighbour is compared with that of a
        far neighbour, of rank f ≈ n/20, and not with K_ii, since a large mean makes every cosine 1.
        In d dimensions the ratio of the two distances falls below t with probability about f·t^d.
        The dimension d ≥ 1 is estimated from ranks h = f/2 and f, where copies hardly count: log
        distances of ranks h and f differ by (ψ(f) − ψ(h))/d in expectation, ψ the digamma function.
        So few dimensions raise no alarm.

        Where the far neighbour belongs to another cluster, the nearest neighbours of the other
        samples, at their 90 % quantile, take its place. Tight clusters of two or three samples and
        some singletons still count as copies.
        """
        nearest, outer = self.distances[:, 0], self.distances[:, -1]
        cutoff = min(CLOSE, CHANCE ** (2 * min(_inverse_dimension(self.distances), 1.0)))
        return cutoff * outer.minimum(nearest.quantile(0.9)).maximum(CLOSE * outer)


def near_duplicates(neighbours: Neighbours) -> Measurement:
    """Share of samples with a near-copy: a neighbour closer than chance would place one."""
    copied = neighbours.distances[:, 0] <= neighbours.near
    return Measurement(copied.double().mean().item(), COPIES, samples=_positions(copied))


def exact_duplicates(neighbours: Neighbours, *, single: bool) -> Measurement:
    """Share of samples with an exact copy, at the distance 0 up to rounding.

    Args:
        neighbours: Of the training samples.
        single: Whether K was given in float32.
    """
    grain = 8 * (EPS32 if single else EPS64) * neighbours.norms
    copied = neighbours.distances[:, 0] <= grain.minimum(neighbours.near)
    return Measurement(copied.double().mean().item(), EXACT, samples=_positions(copied))


def shared_samples(matrix: Float64[Tensor, "n n"], tests: Float[Tensor, "m n"]) -> Measurement:
    """Share of test samples with a copy among the training samples.

    The training sample i nearest to a test sample x minimises K_ii − 2k(x, x_i), whatever k(x, x)
    is. Of a copy all of k(x, ·) − k(x_i, ·) is 0, less its mean, so that its squared norm is
    compared with those of training samples and their nearest others. A distance below `CLOSE` of
    their median and below their quantile of one in a hundred is a copy. By chance tests have one as
    often as training samples, one in n at least: the threshold is a binomial quantile.
    """
    n, m, norms = len(matrix), len(tests), matrix.diagonal()
    between = _row_distances(matrix, matrix, norms, own=True)[0]
    distances, positions = _row_distances(tests, matrix, norms, own=False)
    cutoff = torch.minimum(CLOSE * between.median(), between.quantile(0.01))
    copied = distances <= cutoff
    chance = max((between <= cutoff).double().mean().item(), 1 / n)
    threshold = max(SHARED, stats.binom.ppf(1 - RARE, m, chance) / m)
    return Measurement(
        copied.double().mean().item(),
        float(threshold),
        samples=tuple(sorted(set(positions[copied].tolist()))),
        test_samples=_positions(copied),
    )


def outliers(matrix: Float64[Tensor, "n n"]) -> Measurement:
    """How far the farthest samples lie beyond the others, in spacings of the tail.

    With the distances √h in descending order x_1 ≥ x_2 ≥ …, the spacings j·log(x_j/x_{j+1}) of a
    Pareto tail are independent exponential variables of one mean, so that each of the first
    `MOST_OUTLIERS` over the mean of those after it has an F distribution. Lighter tails have
    smaller ones at the top. The largest ratio is a gap, beyond which samples are outliers.

    References:
        Rényi 1953 (spacings); Dixon 1950 (outliers).
    """
    heights, order = _scales(matrix).sqrt().sort(descending=True)
    size = max(int(TAIL * len(heights)), 2 * MOST_OUTLIERS)
    x = heights[: size + 1].cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        spacings = np.nan_to_num(np.arange(1, size + 1) * np.log(x[:-1] / x[1:]), posinf=1e3)
    rest = np.array([spacings[j + 1 :].mean() for j in range(MOST_OUTLIERS)])
    ratios = spacings[:MOST_OUTLIERS] / np.maximum(rest, EPS64**0.5)
    limits = stats.f.isf(RARE / MOST_OUTLIERS, 2, 2 * (size - 1 - np.arange(MOST_OUTLIERS)))
    far = int(np.argmax(ratios / limits))
    found = tuple(order[: far + 1].tolist())
    return Measurement(
        float(ratios[far]), float(limits[far]), {"count": far + 1}, samples=tuple(sorted(found))
    )


def heavy_features(matrix: Float64[Tensor, "n n"]) -> Measurement:
    """Hill's estimate of 1/a for the distances √h of the samples from their mean, P(√h > x) ~ x^−a.

    Gaussian features have h = Σ σ_i z_i², whose tail is that of the largest σ_i: of ρz² + 1 − ρ,
    with ρ its share of Σ σ_i, up to a scale. The threshold is the largest estimate in all but
    `RARE` of such samples at `HEAVIER` times the ρ of the data, since real features are no Gaussian
    ones. ρ is that of the directions of the samples, which no stretching of samples changes.
    Features of t with three degrees of freedom have 1/3. The samples named are those that are
    farther than all of such Gaussian samples, one at least.

    References:
        Hill 1975; Visuri, Koivunen & Oja 2000 (covariance of directions).
    """
    heights, order = _scales(matrix).sort(descending=True)
    heights = heights.cpu().numpy()
    n, size = len(heights), max(int(TAIL * len(heights)), 2)
    share = min(max(HEAVIER * _leading_share(matrix), LIGHTEST), 1.0)
    rounded = np.ceil(100 * share) / 100
    threshold, farthest = _gaussian_tail(n, size, rounded)
    estimate = _hill(np.sqrt(heights[None]), size)[0]
    count = max(int((heights > farthest * np.median(heights)).sum()), 1)
    samples = tuple(sorted(order[:count].tolist()))
    return Measurement(float(estimate), threshold, samples=samples)


def heavy_losses(losses: Float64[Tensor, " n"]) -> Measurement:
    """Kurtosis of the leave-one-out errors: the mean squared loss over the squared mean.

    Args:
        losses: ‖e_i‖², e_i the leave-one-out residual; not all 0.
    """
    kurtosis = losses.div(losses.mean()).square().mean().item()
    ordered, order = losses.sort(descending=True)
    carried = ordered.cumsum(dim=0) / ordered.sum()
    count = int((carried < CARRIERS).sum()) + 1
    numbers = {"count": count, "n": len(losses), "share": 100 * carried[count - 1].item()}
    return Measurement(kurtosis, KURTOSIS, numbers, samples=tuple(sorted(order[:count].tolist())))


def _positions(chosen: Tensor) -> tuple[int, ...]:
    return tuple(chosen.nonzero()[:, 0].tolist())


def _scales(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
    """h_i = K_ii − 2 Σ_j K_ij/n + Σ_ij K_ij/n²."""
    means = matrix.mean(dim=0)
    return (matrix.diagonal() - 2 * means + means.mean()).clamp_min(0)


def _hill(heights: Float64[np.ndarray, "draws n"], size: int) -> Float64[np.ndarray, " draws"]:
    """Mean log excess of the `size` largest numbers over the next; 0 where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.log(heights[:, :size] / heights[:, size : size + 1]).mean(axis=1)
    return np.nan_to_num(excess, posinf=0.0)


@lru_cache(maxsize=64)
def _gaussian_tail(n: int, size: int, share: float) -> tuple[float, float]:
    """Of n samples h = ρz² + 1 − ρ, ρ the `share`: quantiles over draws at 1 − `RARE`.

    They are that of Hill's estimate for the `size` largest √h, and that of the largest h over the
    median. The largest z are drawn from a uniform variable's, whose order statistics are ratios of
    sums of exponential variables.
    """
    rng = np.random.default_rng(0)
    steps = rng.standard_exponential((DRAWS, size + 1)).cumsum(axis=1)
    last = steps[:, -1:] + rng.standard_gamma(n - size, (DRAWS, 1))
    heights = share * stats.norm.isf(steps / last / 2) ** 2 + 1 - share
    typical = share * stats.chi2.median(1) + 1 - share
    estimate, farthest = (
        float(np.quantile(values, 1 - RARE))
        for values in (_hill(np.sqrt(heights), size), heights[:, 0] / typical)
    )
    return estimate, farthest


def _leading_share(matrix: Float64[Tensor, "n n"]) -> float:
    """Largest eigenvalue of the matrix of cosines of the samples, about their mean, over n."""
    scale = _scales(matrix).clamp_min(EPS64 * matrix.diagonal().max()).rsqrt()
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(len(matrix), generator=generator, dtype=torch.float64).to(matrix.device)
    for _ in range(POWER_STEPS):
        scaled = scale * vector / vector.norm()
        centred = scaled - scaled.mean()
        product = matrix @ centred
        vector = scale * (product - product.mean())
    return vector.norm().item() / len(matrix)


def _inverse_dimension(distances: Float64[Tensor, "n far"]) -> float:
    """1/d, from squared distances of ranks h = f/2 and f: log(r_f/r_h)/(ψ(f) − ψ(h))."""
    far = distances.shape[1]
    ratio = distances[:, -1] / distances[:, far // 2 - 1]
    growth = ratio.nan_to_num(nan=torch.inf, posinf=torch.inf).median().log().item() / 2
    half, whole = torch.digamma(torch.tensor([far // 2, far], dtype=torch.float64)).tolist()
    return growth / (whole - half)


def _nearest(
    matrix: Float64[Tensor, "n n"], low: int, far: int
) -> tuple[Float64[Tensor, "rows far"], Int64[Tensor, "rows far"]]:
    """Squared distances of a block of samples to their nearest others, ascending, with these."""
    norms, rows = matrix.diagonal(), matrix[low : low + ROWS]
    distances = (norms[low : low + ROWS, None] + norms - 2 * rows).clamp_min(0)
    distances.diagonal(low).fill_(torch.inf)
    return distances.topk(far, largest=False)


def _row_distances(
    rows: Float[Tensor, "m n"],
    matrix: Float64[Tensor, "n n"],
    norms: Float64[Tensor, " n"],
    *,
    own: bool,
) -> tuple[Float64[Tensor, " m"], Int64[Tensor, " m"]]:
    """Squared norm of each row less that of the nearest training sample, and less its mean.

    Args:
        rows: k(x, ·).
        matrix: K.
        norms: K_ii.
        own: Whether the rows are those of K, where each sample is not its own nearest, and the
            columns of both are left out.
    """
    distances, positions = [], []
    for low in range(0, len(rows), ROWS):
        part = rows[low : low + ROWS].double()
        near = norms - 2 * part
        if own:
            near.diagonal(low).fill_(torch.inf)
        nearest = near.argmin(dim=1)
        gaps = part - matrix[nearest]
        if own:
            gaps.diagonal(low).zero_()
            gaps.scatter_(1, nearest[:, None], 0.0)
        distances.append((gaps - gaps.mean(dim=1, keepdim=True)).square().sum(dim=1))
        positions.append(nearest)
    return torch.cat(distances), torch.cat(positions)
