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

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy import stats
from torch import Tensor

from rmtgen.linalg.modes import EPS32, EPS64
from rmtgen.ridge.interval import interval_columns, pair_covariance_, paired
from rmtgen.theory.fit_checks import DEVIATIONS as DEVIATIONS_OF_TESTS
from rmtgen.theory.fit_checks import DIFFERENCE, deviation
from rmtgen.theory.measurement import Measurement
from rmtgen.theory.resolvent import Resolvent, left_out

LEVERAGE_FLOOR = 3.0
"""Threshold of the leverage ratio H at few samples [1.1 for Gaussian features]."""
LEVERAGE = 0.3
"""Threshold of H over √n: at a fixed spread of the samples' scale H grows as √n [.29 for ReLU
features of 5 inputs; .3 to .6 for t₃ features]."""
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
"""Threshold of the z-score of ordered classes [probability .0002]."""
COUNTED = 3.0
"""Threshold of the z-score of class counts [probability .0013]."""
RARE = 5
"""Number of samples below which a class is counted with other rare ones."""
FEW = 100
"""Number of samples below which fluctuations of GCV are large."""
FULL = 0.99
"""Threshold of df/n in float32."""
BLOCKINGS = 64
"""Number of random choices of blocks."""
SPLITS = 199
"""Number of random splits into training and test samples."""
MOVED = 5e-4
"""Probability that a squared length exceeds the threshold of its shuffles by chance."""
PERIODS = 8
"""Number of parts of the order between which residuals may drift."""
POWER_STEPS = 30
"""Number of power iterations."""
ROWS = 256
"""Number of rows per step."""


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
    too. The products are e_i·e_j of the residuals less their mean (`successive`).
    """
    residuals = dual / resolvent.diagonal[:, None]
    residuals = residuals - residuals.mean(dim=0)
    return successive(residuals @ residuals.mT)


def drifting_residuals(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Measurement:
    """Squared sums of the leave-one-out residuals over `PERIODS` parts of the order, over shuffles.

    A trend of the targets is small between neighbours, and large between the first and the last.
    The sums of squares of shuffled residuals give the mean and the variance of a gamma
    distribution, of which the threshold is a quantile.

    References:
        Satterthwaite 1946 for the distribution.
    """
    residuals = dual / resolvent.diagonal[:, None]
    residuals, n = residuals - residuals.mean(dim=0), len(residuals)
    generator = torch.Generator().manual_seed(0)
    period = torch.arange(n) * PERIODS // n
    periods = [period, *(period[torch.randperm(n, generator=generator)] for _ in range(SPLITS))]
    energies = []
    for part in periods:
        sums = residuals.new_zeros(PERIODS, residuals.shape[1])
        energies.append(sums.index_add_(0, part.to(dual.device), residuals).square().sum())
    return over_shuffles(torch.stack(energies))


def over_shuffles(energy: Float64[Tensor, " shuffles_and_one"], least: float = 0.0) -> Measurement:
    """A squared length over the mean of those of shuffles, which follow it.

    Args:
        energy: What is measured, then the same of shuffles.
        least: Least threshold.
    """
    ratio = energy / energy[1:].mean().clamp_min(torch.finfo(torch.float64).tiny)
    spread = max(ratio[1:].var().item(), EPS64)
    threshold = spread * stats.gamma.isf(MOVED, 1 / spread)
    return Measurement(ratio[0].item(), max(float(threshold), least))


def successive_features(matrix: Float64[Tensor, "n n"]) -> Measurement:
    """z-score of the cosines of successive samples, about the mean sample.

    Frames of one film, classes in order, and features that follow one another in time are more
    alike than a shuffle would have it (`successive`).
    """
    means = matrix.mean(dim=0)
    centred = (matrix - means).sub_(means[:, None]).add_(means.mean())
    scale = centred.diagonal().clamp_min(EPS64 * matrix.diagonal().max()).rsqrt()
    return successive(centred.mul_(scale).mul_(scale[:, None]))


def successive_scales(matrix: Float64[Tensor, "n n"]) -> Measurement:
    """z-score of the lag-1 autocorrelation of the ranks of the samples' distances from their mean.

    It finds batches of another scale, where features of neighbours need not point the same way.

    References:
        Bartels 1982.
    """
    means = matrix.mean(dim=0)
    ranks = (matrix.diagonal() - 2 * means).argsort().argsort().double()
    ranks -= ranks.mean()
    return successive(torch.outer(ranks, ranks))


def successive(products: Float64[Tensor, "n n"]) -> Measurement:
    """z-score of the sum T of the products of successive samples; overwrites `products`.

    The means of rows and columns off the diagonal are taken out, η_ij = c_ij − u_i − u_j. After a
    shuffle T = Σ η_i,i+1 then has the mean 0 and about the variance Σ_{i≠j} η_ij²/n of n − 1
    uncorrelated terms. With many classes few products are large, and T is skewed: the threshold has
    the skewness of the products, over √n.

    References:
        Wald & Wolfowitz 1943.
    """
    n = len(products)
    pairs = products.fill_diagonal_(0)
    rows = pairs.sum(dim=1)
    shares = (rows - rows.sum() / (2 * (n - 1))) / (n - 2)
    pairs.sub_(shares).sub_(shares[:, None]).fill_diagonal_(0)
    variance = torch.linalg.vector_norm(pairs).square() / n
    third = sum(part.pow(3).sum() for part in pairs.split(ROWS)) / n
    score = pairs.diagonal(1).sum() / variance.sqrt()
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
    Σ (g_j − ḡ)², under the null a sum of squares: the threshold is a quantile of the gamma
    distribution with the mean and the variance of random splits, and at least a distance that
    matters.

    References:
        Satterthwaite 1946 for the distribution.
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
    return over_shuffles(energy, MEANS * n * m / (n + m))


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
    losses: Float64[Tensor, " n"],
    test_losses: Float64[Tensor, " m"],
) -> Measurement:
    """|z| of the leave-one-out risk against the test risk, each with its standard error.

    0 where two samples are the same to the fit, so that leave-one-out has no interval.

    Args:
        resolvent: P.
        dual: α.
        losses: Leave-one-out losses.
        test_losses: Losses of the test samples.
    """
    chosen = torch.from_numpy(paired(len(dual))).to(dual.device)
    covariance = pair_covariance_(resolvent.blocks(chosen[None])[0], dual[chosen])
    error = interval_columns(losses, covariance)["loo_se"]
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
        return Measurement(0.0, COUNTED, {"classes": 1})
    expected = counts.sum(dim=1, keepdim=True) * counts.sum(dim=0) / counts.sum()
    ratio = ((counts - expected).square() / expected).sum().item() / free
    spread = 2 / (9 * free)
    return Measurement(
        (ratio ** (1 / 3) - 1 + spread) / spread**0.5, COUNTED, {"classes": free + 1}
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
