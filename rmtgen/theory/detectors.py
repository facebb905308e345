"""The quantities that reveal where GCV fails, each with the threshold above which it is suspicious.

Notation: n training samples, m test samples, c outputs, k blocks of b samples, λ the ridge of the
mean objective, δ = nλ, G = (K + δI)⁻¹. With an intercept P = G − wwᵀ/(1ᵀw), w = G1, takes the place
of G. α = PY is the dual solution. Everything follows from that one inverse (`resolvent`): its
diagonal leaves one sample out and its blocks leave several out.

Where a distribution under "nothing is wrong" is needed, it comes from the data: other blocks, other
splits of the same samples. The random ones are drawn with a fixed seed, so that a report repeats.

The thresholds are calibrated on i.i.d. draws with linear targets and noise .3, at relative ridges
1e-4 and 1e-2, and 1e-3 with an intercept, m = n. Of 30 reports at n = 300 each, none trips for
Gaussian features of decay 0, .7 and 1.5, uniform features, a mean of 10 and a single feature; two
for ReLU features, by `gcv_loo_gap` at 1e-4, where GCV does differ from LOO. Of 20 subsets of
150 images of CIFAR-100 (EfficientNet-Lite0, 64 px) at the default ridge 1 has a gap and a leverage
above their thresholds; at 1e-4 nearly all, and there GCV is 14 % off in the median, and LOO 1 %.
Square brackets in the docstring of a threshold hold the largest value in these draws, or its
nominal probability. Failures caught by their own detector at n = 220: 90 to 100 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rmtgen.linalg.modes import EPS32, EPS64
from rmtgen.ridge.interval import interval_columns, pair_covariance_, paired
from rmtgen.theory.fit_checks import DEVIATIONS as DEVIATIONS_OF_TESTS
from rmtgen.theory.fit_checks import DIFFERENCE, deviation
from rmtgen.theory.resolvent import Resolvent, left_out

LEVERAGE_FLOOR = 3.0
"""Threshold of the leverage ratio H at few samples [1.1 for Gaussian features]."""
LEVERAGE = 0.3
"""Threshold of H over √n: at a fixed spread of the samples' scale H grows as √n [.29 for ReLU
features of 5 inputs; .3 to .6 for t₃ features]."""
CLOSE = 0.03
"""Largest squared distance of a near-copy, relative to that of the far neighbour."""
CHANCE = 3e-4
"""Approximate probability that the ball of the far neighbour holds a near-copy by chance."""
COPIES = 0.05
"""Threshold of the share of samples with a near-copy [.02]."""
BLOCKED = 0.1
"""Log-ratio of the risks on blocks below which correlation is negligible [.11]."""
DEVIATIONS = 3.0
"""Threshold of the log-ratio, in standard deviations over random blocks [probability .0013]."""
SHIFT = 0.1
"""Kolmogorov–Smirnov distance below which a shift is negligible."""
KOLMOGOROV = 2.0
"""Threshold of that distance, in units of √(2/n + 1/m) [probability .0007]."""
MEANS = 0.02
"""Squared distance of the means, over the samples' variance, below which it is negligible."""
SERIAL = 4.0
"""Threshold of the z-score of successive residuals [probability 3e-5]."""
ORDERED = 3.5
"""Threshold of the z-scores of ordered classes and of class counts [probability .0002]."""
RARE = 5
"""Number of samples below which a class is counted with other rare ones."""
FEW = 100
"""Number of samples below which fluctuations of GCV are large."""
FULL = 0.99
"""Threshold of df/n in float32."""
BLOCKINGS = 64
"""Number of random choices of blocks."""
SPLITS = 199
"""Number of random splits into training and test samples; the largest distance among them is the
threshold."""
POWER_STEPS = 30
"""Number of power iterations."""
ROWS = 256
"""Number of rows per step."""


@dataclass(frozen=True)
class Measurement:
    """The quantity of one detector beside its threshold.

    Attributes:
        value: The quantity.
        threshold: The value at which it is suspicious.
        numbers: Further numbers, for the text that describes the quantity.
    """

    value: float
    threshold: float
    numbers: Mapping[str, float] = field(default_factory=dict)


def leverage(resolvent: Resolvent) -> Measurement:
    """Leverage ratio H = CV(diag G)/√(2(κ̂' − 1)/n), about 1 for Gaussian features.

    With the features x_i ~ N(0, Σ) and R = (X₋ᵢᵀX₋ᵢ + δI)⁻¹ of the other samples, the Schur
    complement gives 1/G_ii = δ(1 + q_i), q_i = x_iᵀRx_i. Given R, q_i has mean tr ΣR and variance 2
    tr(ΣRΣR). The local law λ(Σ̂ + λ)⁻¹ ≈ κ(Σ + κ)⁻¹ turns the mean into κ·df1/(nλ), so that 1 + q =
    κ/λ, and its form for two resolvents, λ²(Σ̂ + λ)⁻¹Σ(Σ̂ + λ)⁻¹ ≈ κ'κ²(Σ + κ)⁻¹Σ(Σ + κ)⁻¹, turns
    the variance into 2(κ/λ)²κ'df2/n². Hence CV(G_ii)² ≈ 2κ'df2/n² = 2(κ' − 1)/n, since 1/κ' = 1 −
    df2/n. Where samples differ in scale, q_i differs by much more.
    """
    diagonal, n = resolvent.diagonal, len(resolvent.removed)
    expected = max(2 * (resolvent.kappa_prime - 1) / n, EPS64) ** 0.5
    ratio = (diagonal.std(correction=0) / diagonal.mean()).item() / expected
    return Measurement(ratio, max(LEVERAGE_FLOOR, LEVERAGE * n**0.5))


def leave_one_out_gap(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Measurement:
    """|log(GCV/LOO)| = |log Σ‖α_i‖²/P̄² − log Σ‖α_i‖²/P_ii²|, P̄ the mean of the diagonal.

    The leave-one-out residual of sample i is exactly α_i/P_ii; GCV replaces P_ii by its mean
    (Golub, Heath & Wahba 1979). The gap is what this replacement changes.
    """
    diagonal = resolvent.diagonal
    gcv = dual.square().sum() / diagonal.mean().square()
    loo = (dual / diagonal[:, None]).square().sum()
    return Measurement((gcv / loo).log().abs().item(), DIFFERENCE)


def near_duplicates(matrix: Float64[Tensor, "n n"]) -> Measurement:
    """Share of samples with a near-copy: a neighbour closer than chance would place one.

    The squared distance K_ii + K_jj − 2K_ij to the nearest neighbour is compared with that of a far
    neighbour, of rank f ≈ n/20, and not with K_ii, since a large mean makes every cosine 1. In d
    dimensions the ratio of the two distances falls below t with probability about f·t^d. The
    dimension d ≥ 1 is estimated from ranks h = f/2 and f, where copies hardly count: log distances
    of ranks h and f differ by (ψ(f) − ψ(h))/d in expectation, ψ the digamma function. So few
    dimensions raise no alarm.

    Where the far neighbour belongs to another cluster, the nearest neighbours of the other samples,
    at their 90 % quantile, take its place. Tight clusters of two or three samples and some
    singletons still count as copies.
    """
    n = len(matrix)
    far = min(max(n // 20, 5), 30)
    distances = torch.cat([_nearest(matrix, low, far) for low in range(0, n, ROWS)])
    nearest, outer = distances[:, 0], distances[:, -1]
    cutoff = min(CLOSE, CHANCE ** (2 * min(_inverse_dimension(distances), 1.0)))
    typical = outer.minimum(nearest.quantile(0.9)).maximum(CLOSE * outer)
    return Measurement((nearest <= cutoff * typical).double().mean().item(), COPIES)


def _inverse_dimension(distances: Float64[Tensor, "n far"]) -> float:
    """1/d, from squared distances of ranks h = f/2 and f: log(r_f/r_h)/(ψ(f) − ψ(h))."""
    far = distances.shape[1]
    ratio = distances[:, -1] / distances[:, far // 2 - 1]
    growth = ratio.nan_to_num(nan=torch.inf, posinf=torch.inf).median().log().item() / 2
    half, whole = torch.digamma(torch.tensor([far // 2, far], dtype=torch.float64)).tolist()
    return growth / (whole - half)


def _nearest(matrix: Float64[Tensor, "n n"], low: int, far: int) -> Float64[Tensor, "rows far"]:
    """Squared distances of a block of samples to their nearest others, ascending."""
    norms, rows = matrix.diagonal(), matrix[low : low + ROWS]
    distances = (norms[low : low + ROWS, None] + norms - 2 * rows).clamp_min(0)
    distances.diagonal(low).fill_(torch.inf)
    return distances.topk(far, largest=False).values


def correlated_samples(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Measurement:
    """Log-ratio of the risk on left-out contiguous blocks to that on random blocks of equal size.

    The residuals of a block B that the fit does not see are e_B = (P_BB)⁻¹α_B (`left_out`). Under
    exchangeable samples the contiguous blocks are one more random choice, so that the spread over
    the random ones gives the threshold (blocked cross-validation: Roberts et al. 2017).
    """
    n, size = len(dual), min(max(len(dual) // 15, 2), 100)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(n), *(torch.randperm(n, generator=generator) for _ in range(BLOCKINGS))]
    blockings = (order[: n - n % size].view(-1, size).to(dual.device) for order in orders)
    risks = torch.stack(
        [left_out(resolvent, dual, blocks).square().mean() for blocks in blockings]
    ).log()
    threshold = max(BLOCKED, DEVIATIONS * risks[1:].std().item())
    return Measurement((risks[0] - risks[1:].mean()).item(), threshold, {"size": size})


def successive_residuals(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Measurement:
    """z-score of the lag-1 autocorrelation of the leave-one-out residuals e_i = α_i/P_ii.

    Noise of the targets that depends on the order leaves the features alone, and blocks of them
    too. With the residuals less their mean, T = Σ e_i·e_{i+1} has after a shuffle the mean
    −Σ ‖e_i‖²/n, since Σ_j e_i·e_j = 0, and about the variance (‖EᵀE‖_F² − Σ ‖e_i‖⁴)/n of n − 1
    products of different samples. With many classes few products are large, and T is skewed: the
    threshold has the skewness of the products, over √n.

    References:
        Wald & Wolfowitz 1943.
    """
    residuals = dual / resolvent.diagonal[:, None]
    residuals = residuals - residuals.mean(dim=0)
    n, squares = len(residuals), residuals.square().sum(dim=1)
    products = (residuals[1:] * residuals[:-1]).sum()
    pairs = (residuals @ residuals.mT).fill_diagonal_(0)
    variance, third = pairs.square().sum() / n, pairs.pow(3).sum() / n
    score = (products + squares.sum() / n) / variance.sqrt()
    skewness = (third / variance.pow(1.5)).nan_to_num(0.0).item()
    return Measurement(score.nan_to_num(0.0, posinf=0.0).item(), skewed(SERIAL, skewness))


def skewed(threshold: float, skewness: float) -> float:
    """The threshold of a z-score whose distribution is skewed, to first order, never a lower one.

    References:
        Cornish & Fisher 1938.
    """
    return threshold + max(skewness, 0.0) * (threshold**2 - 1) / 6


def ordered_classes(classes: Int64[Tensor, " n"] | Bool[Tensor, " n"]) -> Measurement:
    """z-score of the number T of neighbours of equal class; ∞ where there is one class alone.

    After a shuffle each of the n − 1 pairs of neighbours is of equal class with probability Σ
    n_k(n_k − 1)/(n(n − 1)), n_k the class counts, so E T = Σ n_k²/n − 1. The number of runs of
    equal classes is n − T, so T has the variance of the runs, [S₂(S₂ + n(n + 1)) − 2nS₃ − n³]/
    (n²(n − 1)) with S₂ = Σ n_k², S₃ = Σ n_k³. Where few are expected, T is skewed as a Poisson
    number: by 1/√E T.

    References:
        Wald & Wolfowitz 1940; Mood 1940 for the variance with several classes.
    """
    n, counts = len(classes), classes.unique(return_counts=True)[1].double()
    squares, cubes = counts.square().sum().item(), counts.pow(3).sum().item()
    pairs, mean = (classes[1:] == classes[:-1]).sum().item(), squares / n - 1
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    score = (pairs - mean) / max(variance, EPS64) ** 0.5 if len(counts) > 1 else np.inf
    threshold = skewed(ORDERED, mean**-0.5) if mean > 0 else ORDERED
    return Measurement(score, threshold, {"pairs": pairs, "mean": mean})


def covariate_shift(train: Float64[Tensor, " n"], test: Float64[Tensor, " m"]) -> Measurement:
    """Kolmogorov–Smirnov distance of what fits explain of training and of test samples.

    The arguments are those of `resolvent.explained`. Two training samples enter each other's value,
    which can double the variance of their distribution function: 2/n in place of 1/n in the
    threshold.
    """
    points = torch.cat([train, test])
    shares = [
        torch.searchsorted(part.sort().values, points, right=True).double() / len(part)
        for part in (train, test)
    ]
    threshold = max(SHIFT, KOLMOGOROV * (2 / len(train) + 1 / len(test)) ** 0.5)
    return Measurement((shares[0] - shares[1]).abs().max().item(), threshold)


def mean_shift(matrix: Float64[Tensor, "n n"], tests: Float[Tensor, "m n"]) -> Measurement:
    """Squared distance of the mean training and test embeddings, over that of random splits.

    The embedding of a sample is its row k(·, x_j) over the training samples j. For a split of all n
    + m samples, g_j is the mean of k(x_i, x_j) over the samples i that count as test less that over
    those that count as training, where sample j stays out of its own mean: with t_j = 1 where j
    counts as test, the two means run over m − t_j and n − 1 + t_j samples. The squared distance is
    Σ (g_j − ḡ)². The threshold is the largest value over random splits, and at least a distance
    that matters.
    """
    n, m = len(matrix), len(tests)
    tested = memberships(n, m).to(matrix.device)
    own, total = tested[:, :n], matrix.sum(dim=0) - matrix.diagonal()
    sums = own @ matrix - own * matrix.diagonal()
    for low in range(0, m, ROWS):
        rows = tests[low : low + ROWS].double()
        sums += tested[:, n + low : n + low + ROWS] @ rows
        total += rows.sum(dim=0)
    gaps = sums / (m - own) - (total - sums) / (n - 1 + own)
    energy = (gaps - gaps.mean(dim=1, keepdim=True)).square().sum(dim=1)
    energy /= energy[1:].mean().clamp_min(torch.finfo(torch.float64).tiny)
    threshold = max(energy[1:].max().item(), MEANS * n * m / (n + m))
    return Measurement(energy[0].item(), threshold)


def memberships(n: int, m: int) -> Float64[Tensor, "splits n_plus_m"]:
    """1 where a sample counts as test: as it is, then `SPLITS` random splits of n + m samples."""
    generator = torch.Generator().manual_seed(0)
    tested = torch.zeros(SPLITS + 1, n + m, dtype=torch.float64)
    tested[0, n:] = 1
    for row in tested[1:]:
        row[torch.randperm(n + m, generator=generator)[:m]] = 1
    return tested


def test_population(
    resolvent: Resolvent,
    dual: Float64[Tensor, "n c"],
    fitted: Float64[Tensor, "m c"],
    test_targets: Float64[Tensor, "m c"],
) -> Measurement:
    """|z| of the leave-one-out risk against the test risk, each with its standard error.

    0 where two samples are the same to the fit, so that leave-one-out has no interval.

    Args:
        resolvent: P.
        dual: α.
        fitted: Predictions of the test samples.
        test_targets: Their targets.
    """
    losses = (dual / resolvent.diagonal[:, None]).square().sum(dim=1)
    chosen = torch.from_numpy(paired(len(dual))).to(dual.device)
    covariance = pair_covariance_(resolvent.blocks(chosen[None])[0], dual[chosen])
    error = interval_columns(losses, covariance)["loo_se"]
    test_losses = (fitted - test_targets).square().sum(dim=1)
    test_error = test_losses.std().item() / len(test_losses) ** 0.5
    score = deviation(losses.mean().item(), error, test_losses.mean().item(), test_error)
    return Measurement(abs(float(np.nan_to_num(score))), DEVIATIONS_OF_TESTS)


def class_counts(
    train: Int64[Tensor, " n"] | Bool[Tensor, " n"], test: Int64[Tensor, " m"] | Bool[Tensor, " m"]
) -> Measurement:
    """z-score of χ² that the classes have the same shares among training and test samples.

    Classes of fewer than `RARE` samples in all count as one. The cube root of χ²/d, d degrees of
    freedom, is about normal with mean 1 − 2/(9d) and variance 2/(9d).

    References:
        Pearson 1900; Wilson & Hilferty 1931.
    """
    names, index = torch.cat([train, test]).unique(return_inverse=True)
    counts = torch.stack(
        [part.bincount(minlength=len(names)) for part in index.split([len(train), len(test)])]
    ).double()
    rare = counts.sum(dim=0) < RARE
    counts = torch.cat([counts[:, ~rare], counts[:, rare].sum(dim=1, keepdim=True)], dim=1)
    counts = counts[:, counts.sum(dim=0) > 0]
    free = counts.shape[1] - 1
    if not free:
        return Measurement(0.0, ORDERED, {"classes": 1})
    expected = counts.sum(dim=1, keepdim=True) * counts.sum(dim=0) / counts.sum()
    ratio = ((counts - expected).square() / expected).sum().item() / free
    spread = 2 / (9 * free)
    return Measurement(
        (ratio ** (1 / 3) - 1 + spread) / spread**0.5, ORDERED, {"classes": free + 1}
    )


def small_sample(n: int) -> Measurement:
    """Number of samples n: random matrix theory is asymptotic."""
    return Measurement(n, FEW)


def float32_df(resolvent: Resolvent) -> Measurement:
    """df/n = 1 − λ tr P of a float32 Gram matrix, whose last 1 % float32 does not resolve."""
    return Measurement(1 - resolvent.sum_ridge * resolvent.diagonal.mean().item(), FULL)


def float32_ridge(resolvent: Resolvent, matrix: Float64[Tensor, "n n"]) -> Measurement:
    """δ = nλ of a float32 Gram matrix, beside its rounding 10·eps32·s_max."""
    return Measurement(resolvent.sum_ridge, 10 * EPS32 * _largest_eigenvalue(matrix))


def _largest_eigenvalue(matrix: Float64[Tensor, "n n"]) -> float:
    """s_max by power iteration, from below; a few digits, which is what a threshold needs."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(len(matrix), generator=generator, dtype=torch.float64).to(matrix.device)
    for _ in range(POWER_STEPS):
        vector = matrix @ (vector / vector.norm())
    return vector.norm().item()
