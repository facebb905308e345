"""Leave-one-out scores of a pool of classes, and those of fits to fewer samples.

A fit scores a sample by its c outputs, and classifies it by the largest. With e_i = (GY)_i/G_ii the
leave-one-out residuals of a pool of N samples at its sum ridge δ, the leave-one-out scores are
y_i − e_i: those of new samples under fits of N. At the same effective ridge κ fits of n samples
have the same mean, and deviate from it by more: what they miss has r = κ'_n/κ'_N times the second
moment, the ratio of their risk to that of the pool. Their scores are

    y_i − e_i + ξ_i,      mean ‖ξ_i‖² = (r − 1)·mean ‖e_i‖².

The fits deviate most between the classes that a sample lies between, so the noise is that of the
pool's own fits (the multiplier bootstrap). A sample that leaves changes score i by (G_ij/G_ii)·e_j,
to first order, and with independent normal weights z_j

    ξ_i ∝ Σ_{j≠i} (G_ij/G_ii)·e_j z_j.

The weights are fixed, and each draw is taken with its negative. Draws are made at a grid of sum
ridges and scaled to the energy at that of each fit, since their shape changes slowly with δ.

The standard error of the mean chance p̄ is the jackknife's. A sample j that leaves takes its own
chance with it, and what the fits have learnt from it: with the slopes g_i of the chances in the
scores

    p̄ changes by −(p_j − p̄)/(N − 1) + (1/N) e_j·(Σ_i G_ji g_i/G_ii − g_j).

References: Efron & Stein 1981 (jackknife); Mammen 1993 (multipliers).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Matrix
from rmtgen.ridge.eigen import leave_one_out, leverages
from rmtgen.ridge.targets import TIE, ClassCode

SCORED = 2**13
"""Smallest number of scores in the draws of the noise, one per sample, `PAIRS` draws at least."""
PAIRS = 1
"""Smallest number of draws; each is taken with its negative."""
SMOOTHING = 0.1
"""Variance of the noise that smooths the slopes of errors, relative to the risk."""
TOGETHER = 64
"""Number of sum ridges whose leverages are computed at a time."""
NEAR = 4.0
"""Ratio of neighbours in the grid of sum ridges at which draws of the noise are made."""
_SEED = 0

Split = tuple[Float64[Tensor, "r c"], Float64[Tensor, "n c"]]
"""Coefficients of targets in the modes, and their part in the null space (`Modes.split`)."""


@dataclass(frozen=True, eq=False)
class LooScores:
    """What the leave-one-out scores of a pool are made from, at every sum ridge.

    Attributes:
        modes: Modes of the pool; all that follows is in their precision.
        targets: Words of the class code, one per sample.
        code: The class code.
        split: Coefficients and null part of the targets where they are known, as from
            `Modes.split`; else None.
    """

    modes: Modes
    targets: Matrix
    code: ClassCode
    split: Split | None = None

    @classmethod
    def of(cls, modes: Modes, targets: Matrix, split: Split | None = None) -> "LooScores | None":
        """Those of a pool; None where the targets encode no classes."""
        code = ClassCode.of(targets)
        return None if code is None else cls(modes, targets, code, split)

    @cached_property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of every sample."""
        return self.code.decode(self.targets[:]).long()

    @property
    def classes(self) -> int:
        """Number of classes: of outputs, or two for a single one."""
        return max(2, self.targets.shape[1])

    @cached_property
    def counts(self) -> Int64[Tensor, " c"]:
        """Number of samples of each class."""
        return torch.bincount(self.labels, minlength=self.classes)

    def unseen(self, n: int) -> float:
        """Share of samples of a class that n samples lack, and as many as the pool has do not."""
        shares = self.counts.double() / len(self.labels)
        lacking, least = (shares @ (1 - shares).pow(size) for size in (n, len(self.labels)))
        return (lacking - least).item()

    @cached_property
    def centre(self) -> float:
        """Squared norm of the mean of the targets, without what the draw of the pool adds to it.

        0 for an intercept, which takes it.
        """
        targets = self.targets[:]
        if self.modes.intercept or len(targets) < 2:
            return 0.0
        mean = targets.mean(dim=0)
        noise = (targets - mean).square().sum().item() / len(targets) / (len(targets) - 1)
        return max(0.0, mean.square().sum().item() - noise)

    @cached_property
    def null_leverage(self) -> Float[Tensor, " n"]:
        """That of the modes."""
        return self.modes.null_leverage().to(self.modes.vectors.dtype)

    @cached_property
    def _words(self) -> Float[Tensor, "n c"]:
        return self.targets[:].to(self.modes.vectors.dtype)

    @cached_property
    def _split(self) -> tuple[Float64[Tensor, "r c"], Float[Tensor, "n c"]]:
        coefficients, null_part = self.split or self.modes.split(self.targets[:])
        return coefficients, null_part.to(self.modes.vectors.dtype)

    def at(self, delta: float) -> "Scores":
        """The scores at the pool's sum ridge δ ≥ 0."""
        (scores,) = self.at_each([delta])
        return scores

    def at_each(self, deltas: Sequence[float]) -> Iterator["Scores"]:
        """The scores at several sum ridges in turn.

        Their leverages are one product with the squares of the modes, which else are squared anew
        for each.
        """
        values = self.modes.values
        for start in range(0, len(deltas), TOGETHER):
            some = values.new_tensor(deltas[start : start + TOGETHER])
            diagonals = leverages(self.modes, 1 / (values[:, None] + some))
            for delta, diagonal in zip(some.tolist(), diagonals.split(1, dim=1), strict=True):
                yield self._scores(delta, diagonal)

    def _scores(self, delta: float, diagonal: Float[Tensor, "n 1"]) -> "Scores":
        coefficients, null_part = self._split
        spanned = self.modes.times(coefficients / (self.modes.values + delta)[:, None])
        shares = diagonal.to(spanned.dtype)
        residuals = leave_one_out(shares, delta, spanned, null_part, self.null_leverage)
        return self.of_residuals(delta, diagonal, residuals)

    def of_residuals(
        self, delta: float, diagonal: Float[Tensor, "n 1"], residuals: Float[Tensor, "n c"]
    ) -> "Scores":
        """The scores at a sum ridge whose leave-one-out residuals are known.

        Args:
            delta: δ.
            diagonal: That of G on the modes of the pool.
            residuals: e_i.
        """
        diagonal, residuals = (part.to(self.modes.vectors.dtype) for part in (diagonal, residuals))
        values = self._words - residuals
        if values.shape[1] == 1:  # one output is the difference of two
            middle = (self.code.low + self.code.high) / 2
            values = torch.cat([middle - values, values - middle], dim=1) / 2
            residuals = torch.cat([-residuals, residuals], dim=1) / 2
        return Scores(self, delta, values, residuals, diagonal)

    @cached_property
    def _drawn(self) -> dict[float, Float[Tensor, "draws n c"]]:
        """Draws of the noise by sum ridge: the latest alone, for fits in the order of δ."""
        return {}

    def noise(self, delta: float) -> Float[Tensor, "draws n c"]:
        """Draws of ξ near a sum ridge, in the unit of their mean energy."""
        unit = self.modes.values.sum().item() / self.modes.n
        near = delta
        if delta > 0 and unit > 0:
            near = unit * NEAR ** round(math.log(delta / unit, NEAR))
        if near not in self._drawn:
            self._drawn.clear()
            self._drawn[near] = self.at(near).drawn()
        return self._drawn[near]

    @property
    def tie(self) -> float:
        """Difference below which two scores tie; the first class then is chosen."""
        return TIE * (self.code.high - self.code.low)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the samples of a pool under fits that do not hold them, at one sum ridge.

    Attributes:
        pool: What they are made from.
        delta: δ.
        values: The score of every class.
        residuals: e_i.
        leverages: Diagonal of G on the modes of the pool.
    """

    pool: LooScores
    delta: float
    values: Float[Tensor, "n c"]
    residuals: Float[Tensor, "n c"]
    leverages: Float[Tensor, "n 1"]

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of each sample."""
        return self.pool.labels

    def wrong(self, ratio: float, top: int = 1) -> Float64[Tensor, " n"]:
        """Chance of each sample that `top` other classes score higher than its own.

        Args:
            ratio: r ≥ 1, the risk relative to that of these scores; may be ∞. NaN gives NaN.
            top: Number of guesses, fewer than classes.
        """
        if math.isnan(ratio):
            return self.values.new_full((len(self.values),), math.nan)
        if ratio == 1:
            return self._beaten(self.values, self.pool.tie, top).double()
        kept, added = ratio**-0.5, (1 - 1 / ratio) ** 0.5 * self._deviation
        centre, noise = kept * self.values, self.pool.noise(self.delta)
        beaten = sum(
            self._beaten(centre.add(draw, alpha=sign * added), kept * self.pool.tie, top).double()
            for draw in noise
            for sign in (1, -1)
        )
        return beaten / (2 * len(noise))

    def moved(self, ratio: float) -> Float[Tensor, "n c"]:
        """Scores of the same samples under one fit of another risk: one draw of the noise."""
        if ratio == 1:
            return self.values
        added = (ratio - 1) ** 0.5 * self._deviation
        return self.values.add(self.pool.noise(self.delta)[0], alpha=added)

    def learnt(self, slopes: Float[Tensor, "n c"]) -> Float64[Tensor, " n"]:
        """e_j·(Σ_i G_ji g_i/G_ii − g_j) of every sample j, from g."""
        carried = self._solved(slopes / self._diagonal)
        return (self.residuals * carried.sub_(slopes)).sum(dim=1).double()

    def slopes(self, ratio: float, top: int = 1) -> Float[Tensor, "n c"]:
        """Slopes of `wrong` in the scores, smoothed by noise of `SMOOTHING` of the risk.

        A sample becomes wrong where the `top`-th of the other classes passes its own: the density
        of their difference at 0, for one draw of the noise.
        """
        values, own = self.moved(ratio), self.labels[:, None]
        others = values.scatter(1, own, -torch.inf)
        rival, place = (part[:, -1:] for part in others.topk(top, dim=1))
        margin = values.gather(1, own) - rival
        covariance = self.residuals.mT @ self.residuals / len(values)
        spread = covariance.diagonal()
        variance = spread[own] + spread[place] - 2 * covariance[own, place]
        variance = SMOOTHING * ratio * variance
        density = torch.exp(-margin.square() / (2 * variance)) / (2 * torch.pi * variance).sqrt()
        density = torch.where(variance > 0, density, 0.0)
        return torch.zeros_like(values).scatter_(1, place, density).scatter_(1, own, -density)

    def drawn(self) -> Float[Tensor, "draws n c"]:
        """Draws of ξ of energy 1 on average, from weights that are the same on every device."""
        count, residuals = max(PAIRS, -(-SCORED // len(self.values))), self.residuals
        generator = torch.Generator().manual_seed(_SEED)
        weights = torch.randn(len(residuals), count, 1, dtype=residuals.dtype, generator=generator)
        weighted = (residuals[:, None] * weights.to(residuals.device)).flatten(1)
        shifts = self._solved(weighted).div_(self._diagonal).sub_(weighted)
        energy = shifts.square().sum().item() / count
        shifts = shifts.div_(energy**0.5) if energy else shifts
        return shifts.unflatten(1, (count, -1)).movedim(1, 0)

    @property
    def _deviation(self) -> float:
        """Square root of the energy of the residuals."""
        return self.residuals.square().sum().item() ** 0.5

    @property
    def _factor(self) -> float:
        """What G is taken times: δ where K has a null space, else 1."""
        return self.delta if self.pool.modes.null_dim else 1.0

    @property
    def _diagonal(self) -> Float[Tensor, "n 1"]:
        """Diagonal of G times that; ∞ for a sample that the pool says nothing of."""
        diagonal = self._factor * self.leverages + self.pool.null_leverage[:, None]
        return torch.where(diagonal > 0, diagonal, torch.inf)

    def _solved(self, columns: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """The same G times columns: 1 − s/(s + δ) on the modes, and 1 on a null space."""
        modes = self.pool.modes
        shrunk = (self._factor / (modes.values + self.delta))[:, None]
        if modes.intercept:
            columns = columns - columns.mean(dim=0)
        coefficients = modes.onto(columns)
        if modes.null_dim:
            return modes.times(coefficients.mul_(shrunk - 1)).add_(columns)
        return modes.times(coefficients.mul_(shrunk))

    def _beaten(self, values: Float[Tensor, "n c"], tie: float, top: int) -> Bool[Tensor, " n"]:
        """Whether `top` other classes score higher than the own; of those that tie, the first."""
        own, labels = values.gather(1, self.labels[:, None]), self.labels[:, None]
        before = torch.arange(values.shape[1], device=values.device) < labels
        higher = torch.where(before, values >= own - tie, values > own + tie)
        return higher.sum(dim=1) >= top
