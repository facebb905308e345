"""Leave-one-out of a solve without the matrix, from the samples that are looked at.

For m random samples (K + δI)x = e_i is solved too. That gives G_ii and so their leave-one-out
losses, and G between them, on which the interval rests (`rmtgen.ridge.interval`). By the inverse of
a bordered matrix 1/G_ii − δ is what the other samples leave of K_ii. How it depends on K_ii the m
samples show, by least squares in logarithms:

    g_i = 1/(δ + e^a K_ii^b),    v_i = ‖α_i‖²/g_i²,    0 ≤ b ≤ 1;

b is 1 where samples differ in scale, and 0 where K_ii lies in modes that the others explain.
So v_i tells large losses from small ones, and the risk is the mean of the m losses and of R v_i of
the others, with R the ratio of the sums of ℓ and v over the m (Cochran 1977, Sampling Techniques,
chapter 6). Losses are taken to deviate from R v_i by some share ε_i of it, of variance ρ² as the m
have it: with N the samples that are not looked at and M those that are,

    SE² = (ρ²/n²) [ Σ_N (R v_i)² + (Σ_N R v_i)² Σ_M v_i² / (Σ_M v_i)² ].

The standard error of the interval has errors of its own: that of the mean over pairs, by the
jackknife, and that of the variance of losses, from (ℓ_i − L)² − (R v_i − L)² of the m samples. With
the quantile z its variance times z² + 1 is added, which widens the interval as Student's t does.

With an intercept e_i and K are centred, P takes the place of G, and δ n/(n − 1) that of δ in g_i.
"""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.ridge.interval import (
    NORMAL_QUANTILE,
    pair_covariance_,
    pair_covariance_error_,
    paired,
)
from rmtgen.ridge.problem import Problem

LEAST, MOST = 48, 128
"""Numbers of samples that are looked at: what an interval takes, and enough for a standard error of
it of some per cent."""
SHARE = 2
"""Number of samples that are looked at for each right-hand side of the solve. The error of G_ij is
of second order in that of a solution for e_i, which takes about half of the products therefore."""


def looked_at(n: int, columns: int) -> Int64[Tensor, " m"]:
    """Positions of the samples that are looked at: as many as cost about as much as the solve.

    Args:
        n: Number of samples.
        columns: Number of right-hand sides of the solve.
    """
    return torch.from_numpy(paired(n, min(MOST, max(LEAST, SHARE * columns))))


def guessed_diagonal(
    kernel: Float64[Tensor, " n"],
    chosen: Int64[Tensor, " m"],
    known: Float64[Tensor, " m"],
    shift: float,
) -> Float64[Tensor, " n"]:
    """g_i.

    Args:
        kernel: K_ii.
        chosen: The samples that are looked at.
        known: G_ii of them.
        shift: δ.
    """
    tiny = torch.finfo(kernel.dtype).tiny
    left, own = (1 / known - shift).clamp_min(tiny).log(), kernel.clamp_min(tiny).log()
    middle, mean = own[chosen].mean(), left.mean()
    beside = own[chosen] - middle
    slope = ((left - mean) @ beside / beside.square().sum()).nan_to_num(0).clamp(0, 1)
    return 1 / (shift + torch.exp(mean + slope * (own - middle)))


def loo_columns(
    problem: Problem,
    dual: Float64[Tensor, "n c"],
    diagonal: Float64[Tensor, " n"],
    chosen: Int64[Tensor, " m"],
    inverse: Float64[Tensor, "m m"],
) -> dict[str, float]:
    """The leave-one-out columns of a path and `LOOKED_COLUMNS`.

    Args:
        problem: The problem.
        dual: GY.
        diagonal: g_i.
        chosen: The samples that are looked at.
        inverse: G between them.
    """
    n, m, own = len(dual), len(chosen), dual[chosen]
    residual = dual / diagonal[:, None]
    exact = own / inverse.diagonal()[:, None]
    losses, guessed = exact.square().sum(dim=1), residual.square().sum(dim=1)
    ratio = losses.sum() / guessed[chosen].sum() if guessed[chosen].any() else guessed.new_ones(())
    guessed *= ratio
    residual.mul_(ratio.sqrt())[chosen] = exact
    sampled = _sampled_error(losses, guessed, chosen)
    covariance = pair_covariance_(inverse.clone(), own)
    row = problem.loo_columns(residual, covariance, sampled)
    risk = row["loo"]
    missed = (losses - risk).square() - (guessed[chosen] - risk).square()
    shared = (n - 1) / n * (1 - m / n) ** 0.5 * pair_covariance_error_(inverse.clone(), own)
    error, slope = math.hypot(_mean_error(missed, n) / n, shared), 2 * row["loo_se"]
    unsure = error / slope if slope else 0.0
    wider = math.hypot(sampled, (NORMAL_QUANTILE**2 + 1) ** 0.5 * unsure)
    row = problem.loo_columns(residual, covariance, wider)
    return row | {"loo_sampled_se": sampled, "loo_se_se": unsure}


def _sampled_error(
    losses: Float64[Tensor, " m"], guessed: Float64[Tensor, " n"], chosen: Int64[Tensor, " m"]
) -> float:
    """The standard error of the mean loss.

    Args:
        losses: ℓ_i of the samples that are looked at.
        guessed: R v_i of all.
        chosen: Those that are looked at.
    """
    own, others = guessed[chosen], guessed.clone()
    others[chosen] = 0
    share = (losses / own - 1).nan_to_num(0, 0)  # 0/0 without a loss
    whole = others.sum().square() * own.square().sum() / own.sum().square()
    variance = share.square().sum() / max(len(own) - 2, 1)
    return (variance * (others.square().sum() + whole.nan_to_num(0))).sqrt().item() / len(guessed)


def _mean_error(missed: Float64[Tensor, " m"], n: int) -> float:
    """Root of the mean square error of a mean over n samples, of what m of them have missed."""
    m, mean = len(missed), missed.mean()
    variance = (missed - mean).square().sum() / max(m - 1, 1)
    return ((1 / m - 1 / n) * variance + ((1 - m / n) * mean).square()).sqrt().item()
