"""How much of targets that are no classes a probe explains: R², and how well it orders each label.

R² = 1 − L/M holds the leave-one-out risk L of the probe against that of the mean of the others, M =
(n/(n−1))² var(y). Both are risks on the same samples, so that R² has the interval of a ratio of
paired losses: with ℓ_i and m_i the two losses of sample i, d_i = ℓ_i − (L/M) m_i and the same of
their changes when another sample is left out as well,

    SE(L/M)² = (var(d)/n + (1/n²) Σ_{i≠j} η_ij η_ji)/M²,

and L/M lies in (L/M)·exp(±1.96 SE/(L/M)), as the risk itself does (`rmtgen.ridge.interval`). Of
several values R² is the mean over targets, of several labels that of their summed risks.

The AUC of each label is in `rmtgen.ranking.areas`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.ranking.areas import Area, areas
from rmtgen.ridge.eigen import Fit
from rmtgen.ridge.interval import (
    bounds,
    centred_covariance,
    changes_,
    paired,
    risk_error,
)

NUMBERS = ("r2", "low", "high", "variance")
"""Numbers of all outputs together."""
OUTPUTS = ("loo", "r2", "r2_low", "r2_high", "auc", "auc_low", "auc_high", "share")
"""Columns of what is known of each output."""


@dataclass(frozen=True, eq=False)
class Explained:
    """What a probe explains of values, or of several labels.

    Attributes:
        r2: R² of all outputs.
        low: Low end of its interval of 95 %, NaN where that is not known.
        high: High end.
        variance: Sum over outputs of the variance of the targets, unbiased.
        outputs: A row for each output, with the columns `OUTPUTS`: `auc` with its interval and
            `share`, that of the images that have it, are those of labels, NaN for values and for a
            label that all images have, or none.
        area: The mean AUC over labels.
    """

    r2: float
    low: float
    high: float
    variance: float
    outputs: pd.DataFrame
    area: Area

    @classmethod
    def of(cls, fit: Fit, sum_ridge: float, task: str) -> "Explained":
        """What the fit of a problem with an intercept explains at one ridge.

        Args:
            fit: The fit of all samples.
            sum_ridge: δ = nλ.
            task: `values` or `labels`.
        """
        targets = fit.problem.targets[: fit.modes.n]
        n, centred = len(targets), targets - targets.mean(dim=0)
        losses = fit.left_out(sum_ridge).square()
        plain = (n / (n - 1) * centred).square()  # of the mean of the others
        risks, means = losses.mean(dim=0), plain.mean(dim=0)
        ratios = torch.where(means > 0, risks / means, 0.0)
        weights, shares = 1 / (means > 0).sum() / means, ratios
        if task == "labels":
            weights, shares = 1 / means.sum() + 0 * means, risks.sum() / means.sum() + 0 * means
        weights = torch.where(means > 0, weights, 0.0)
        whole, rows = _Ratio.none(), []
        each, area = [(np.nan,) * 3] * len(means), Area.none()
        if task == "labels":
            each, area = areas(fit, sum_ridge, targets)
        for place, changes in enumerate(_changes(fit, sum_ridge, centred)):
            known = losses[:, place], plain[:, place]
            whole += _Ratio.of(*known, *changes, weights[place], shares[place])
            alone = _Ratio.of(*known, *changes, 1 / means[place], ratios[place])
            share = targets[:, place].mean().item() if task == "labels" else np.nan
            r2 = alone.r2() if means[place] > 0 else (np.nan,) * 3
            rows.append((risks[place].item(), *r2, *each[place], share))
        outputs = pd.DataFrame(rows, columns=list(OUTPUTS), dtype=float)
        return cls(*whole.r2(), ((n - 1) / n * means.sum()).item(), outputs, area)

    def r2_at(self, risk: float, n: float) -> float:
        """R² of a fit of n samples with that risk."""
        return 1 - risk / (self.variance * (1 + 1 / n))


@dataclass(frozen=True, eq=False)
class _Ratio:
    """L/M, or a sum of such, with what its standard error is made from.

    Attributes:
        value: The number.
        apart: d_i over M.
        changes: What is centred to η, over M; None where it is not known.
    """

    value: float
    apart: Float64[Tensor, " n"] | float
    changes: Float64[Tensor, "m m"] | float | None

    @classmethod
    def none(cls) -> "_Ratio":
        """An empty sum."""
        return cls(0.0, 0.0, 0.0)

    @classmethod
    def of(
        cls,
        losses: Float64[Tensor, " n"],
        plain: Float64[Tensor, " n"],
        changes: Float64[Tensor, "m m"] | None,
        plain_changes: Float64[Tensor, "m m"] | None,
        weight: Tensor,
        ratio: Tensor,
    ) -> "_Ratio":
        """One output, of this weight, whose L/M is taken to be `ratio` where it varies."""
        moved = None
        if changes is not None and plain_changes is not None:
            moved = weight * (changes - ratio * plain_changes)
        return cls((weight * losses.mean()).item(), weight * (losses - ratio * plain), moved)

    def __add__(self, other: "_Ratio") -> "_Ratio":
        known = self.changes is not None and other.changes is not None
        changes = self.changes + other.changes if known else None  # type: ignore[operator]
        return _Ratio(self.value + other.value, self.apart + other.apart, changes)

    def r2(self) -> tuple[float, float, float]:
        """1 − L/M with its interval."""
        error = np.nan
        if isinstance(self.changes, Tensor) and isinstance(self.apart, Tensor):
            shared = centred_covariance(self.changes, spare=torch.empty_like(self.changes))
            error = float(risk_error(self.apart.var().item(), shared, len(self.apart)))
        low, high = bounds(self.value, error)
        return 1 - self.value, 1 - float(high), 1 - float(low)


def _changes(
    fit: Fit, sum_ridge: float, centred: Float64[Tensor, "n c"]
) -> Iterator[tuple[Float64[Tensor, "m m"] | None, Float64[Tensor, "m m"] | None]]:
    """Output by output the changes of the losses of a fit, and of those of the mean alone."""
    chosen = torch.from_numpy(paired(fit.modes.n)).to(centred.device)
    resolvent, dual = fit.pairs(sum_ridge)
    mean = torch.eye(len(chosen), dtype=dual.dtype, device=dual.device) - 1 / fit.modes.n
    for place in range(centred.shape[1]):
        column = slice(place, place + 1)
        own = changes_(resolvent.clone(), dual[:, column])
        yield own, changes_(mean.clone(), centred[chosen, column])
