"""An interval for the 0-1 error of a fit from leave-one-out and leave-two-out, without a test set.

As for the risk (`interval`), with 0-1 losses in place of squared ones: e_i says whether sample i is
wrong in the fit without it, e_i^(−j) whether it is in the fit without i and j, whose residual is

    r_i^(−j) = (α_i − α_j G_ij/G_jj)/(G_ii − G_ij²/G_jj),

and η_ij is e_i^(−j) − e_i, centred over rows and over columns. The interval is Wilson's for as many
independent samples as have the standard error: unlike one on a logarithmic scale, it has an upper
end where no sample is wrong.

References: Wilson 1927; Korn & Graubard 1998 (the effective number of samples).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rmtgen.ridge.interval import (
    LEAST_LEFT,
    LEAST_SAMPLES,
    NORMAL_QUANTILE,
    centred_covariance,
    paired,
    risk_error,
)
from rmtgen.ridge.targets import ClassCode

TINY = 1e-9
"""Smallest standard error of an interval."""
ENTRIES = 2**22
"""Number of residuals without two samples that are held at a time."""


def wilson(share: float, spread: float, count: float) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share with a standard error; NaN where that is.

    It is that of as many independent samples as have the standard error, one at least; of `count`
    where none or all are wrong.
    """
    variance = share * (1 - share)
    size = count if variance == 0 else max(1.0, variance / max(spread, TINY) ** 2)
    reach = NORMAL_QUANTILE**2 / (np.nan if np.isnan(spread) else size)
    half = np.sqrt(reach * (variance + reach / 4))
    low, high = ((share + reach / 2 + end) / (1 + reach) for end in (-half, half))
    # rounding must not leave the share outside, as at 1
    return float(np.minimum(low, share)), float(np.maximum(high, share))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples with their classes.

    Attributes:
        targets: The words of their classes.
        code: The code of the words.
        root: What each residual is multiplied by, √w of a weighted fit.
        weights: What each sample counts.
    """

    targets: Float64[Tensor, "n c"]
    code: ClassCode
    root: Float64[Tensor, " n"]
    weights: Float64[Tensor, " n"]

    def chosen(self, positions: Int64[Tensor, " m"]) -> "Labelled":
        """Some of the samples."""
        parts = (self.targets, self.root, self.weights)
        targets, root, weights = (part[positions] for part in parts)
        return Labelled(targets, self.code, root, weights)

    def wrong(self, residuals: Float64[Tensor, "n ... c"]) -> Bool[Tensor, "n ..."]:
        """Whether the predictions with these residuals decode to another class."""
        shape = (-1,) + (1,) * (residuals.ndim - 2)
        targets = self.targets.reshape(*shape, self.targets.shape[1])
        predictions = targets - residuals / self.root.reshape(*shape, 1)
        return self.code.decode(predictions) != self.code.decode(targets)


def error_interval(
    samples: Labelled,
    residuals: Float64[Tensor, "n c"],
    inverse: Float64[Tensor, "m m"],
    dual: Float64[Tensor, "m c"],
) -> tuple[float, float, float]:
    """The 0-1 error of leave-one-out and its interval of 95 %.

    Args:
        samples: The samples.
        residuals: Leave-one-out residuals.
        inverse: G between the samples that are `paired`, or a multiple of it.
        dual: GY of them, times the same.

    Returns:
        The error, weighted, and both ends; these are NaN below eight samples, and where two samples
        are the same to the kernel at a ridge near 0.
    """
    n, wrong = len(residuals), samples.wrong(residuals)
    shares = samples.weights / samples.weights.mean()
    error = min((shares * wrong).mean().item(), 1.0)
    if n < LEAST_SAMPLES:
        return error, math.nan, math.nan
    spread = (shares * (wrong.double() - error)).var().item()  # of a ratio, to first order
    own = torch.from_numpy(paired(n)).to(residuals.device)
    change = _changes(samples.chosen(own), wrong[own], inverse, dual)
    covariance = math.nan
    if change is not None:
        covariance = centred_covariance(change.mul_(shares[own, None]), spare=inverse.clone())
    deviation = float(risk_error(spread, covariance, n))
    low, high = wilson(error, deviation, n**2 / shares.square().sum().item())
    return error, max(float(low), 0.0), min(float(high), 1.0)


def _changes(
    samples: Labelled,
    wrong: Bool[Tensor, " m"],
    inverse: Float64[Tensor, "m m"],
    dual: Float64[Tensor, "m c"],
) -> Float64[Tensor, "m m"] | None:
    """e_i^(−j) − e_i, zero on the diagonal; None where a pair leaves too few digits."""
    own = inverse.diagonal()
    ratio = inverse / own  # G_ij/G_jj
    left = own[:, None] - inverse * ratio
    left.diagonal().copy_(own)
    if not (left / own[:, None]).min() > LEAST_LEFT:
        return None
    size = max(1, ENTRIES // dual.numel())
    rows = []
    for part in torch.arange(len(dual), device=dual.device).split(size):
        residuals = dual[part, None] - ratio[part, :, None] * dual
        flipped = samples.chosen(part).wrong(residuals / left[part, :, None])
        rows.append(flipped.double() - wrong[part, None].double())
    return torch.cat(rows).fill_diagonal_(0)
