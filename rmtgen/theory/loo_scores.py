"""Leave-one-out scores of a pool of classes, and those of fits to other numbers of samples.

A fit scores a sample by its c outputs, and classifies it by the largest. With e_i = (GY)_i/G_ii the
leave-one-out residuals of a pool of N samples at its sum ridge δ, the leave-one-out scores are
y_i − e_i: those of new samples under fits of N. At the same effective ridge κ, what fits of n
samples miss has κ'_n times the covariance of what infinitely many leave, so that theirs are

    y_i − e_i + ξ,      ξ ~ N(0, (r − 1)·C),      C = Σ e_i e_iᵀ/N,

where r = κ'_n/κ'_N is the ratio of their risk to that of the pool. The chance that another class
scores higher, over ξ, is a normal integral for two classes, and for more a mean over fixed draws.

Beyond the pool r < 1, and there is noise to take away: within each class the scores are moved
towards their mean by the linear map that turns their covariance W into W − (1 − r)·C.

The standard error of the mean chance p̄ is the jackknife's. A sample j that leaves takes its own
chance with it, and what the fits have learnt from it: the score of sample i changes by
(G_ij/G_ii)·e_j to first order, so that with the slopes g_i of the chances in the scores

    p̄ changes by −(p_j − p̄)/(N − 1) + (1/N) e_j·(Σ_i G_ji g_i/G_ii − g_j).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Matrix
from rmtgen.ridge.eigen import leave_one_out, leverages
from rmtgen.ridge.targets import TIE, ClassCode

DRAWS = 2**16
"""Smallest number of draws over all samples: their mean is known to 2⁻⁹."""
ENTRIES = 2**18
"""Largest number of scores that are drawn at a time, where one draw has fewer."""
SMOOTHING = 0.1
"""Variance of the noise that smooths the slopes of errors, relative to the risk."""
_SEED = 0
_ROUNDING = 1e-12
"""Eigenvalue of a covariance, relative to the largest, at or below which it is 0."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of samples of known classes under fits that do not hold them.

    Attributes:
        values: The score of every class.
        labels: The class of each sample.
        residuals: e_i.
        tie: Difference below which two scores tie; the first class then is chosen.
    """

    values: Float64[Tensor, "n c"]
    labels: Int64[Tensor, " n"]
    residuals: Float64[Tensor, "n c"]
    tie: float

    @cached_property
    def covariance(self) -> Float64[Tensor, "c c"]:
        """C."""
        return self.residuals.mT @ self.residuals / len(self.residuals)

    def wrong(self, ratio: float, top: int = 1) -> Float64[Tensor, " n"]:
        """Chance of each sample that `top` other classes score higher than its own.

        Args:
            ratio: r ≥ 0, the risk relative to that of these scores; may be ∞. NaN gives NaN.
            top: Number of guesses, fewer than classes.
        """
        if math.isnan(ratio):
            return self.values.new_full((len(self.values),), math.nan)
        if ratio <= 1:
            return self._beaten(self._without_noise(1 - ratio), self.tie, top).double()
        kept, added = ratio**-0.5, (1 - 1 / ratio) ** 0.5
        return (
            self._of_two(kept, added)
            if self.values.shape[1] == 2
            else self._drawn(kept, added, top)
        )

    def moved(self, ratio: float) -> Float64[Tensor, "n c"]:
        """Scores of the same samples under a fit of another risk, the noise added by one draw."""
        if ratio <= 1:
            return self._without_noise(1 - ratio)
        noise = next(self._noise(1))[0] @ _root(self.covariance)
        return self.values + (ratio - 1) ** 0.5 * noise

    def slopes(self, ratio: float, top: int = 1) -> Float64[Tensor, "n c"]:
        """Slopes of `wrong` in the scores, smoothed by noise of `SMOOTHING` of the risk.

        A sample becomes wrong where the `top`-th of the other classes passes its own: the density
        of their difference at 0, for one draw of the noise.
        """
        values, own = self.moved(ratio), self.labels[:, None]
        others = values.scatter(1, own, -torch.inf)
        rival, place = (part[:, -1:] for part in others.topk(top, dim=1))
        margin = values.gather(1, own) - rival
        spread, covariance = self.covariance.diagonal(), self.covariance
        variance = spread[own] + spread[place] - 2 * covariance[own, place]
        variance = SMOOTHING * max(1.0, ratio) * variance
        density = torch.exp(-margin.square() / (2 * variance)) / (2 * torch.pi * variance).sqrt()
        density = torch.where(variance > 0, density, 0.0)
        return torch.zeros_like(values).scatter_(1, place, density).scatter_(1, own, -density)

    def _beaten(
        self, values: Float64[Tensor, "*draws n c"], tie: float, top: int
    ) -> Bool[Tensor, "*draws n"]:
        """Whether `top` other classes score higher than the own; of those that tie, the first."""
        labels = self.labels[:, None]
        own = values.gather(-1, labels.expand(*values.shape[:-1], 1))
        before = torch.arange(values.shape[-1], device=values.device) < labels
        higher = torch.where(before, values >= own - tie, values > own + tie)
        return higher.sum(dim=-1) >= top

    def _of_two(self, kept: float, added: float) -> Float64[Tensor, " n"]:
        """Φ of the margin over its deviation."""
        margin = (self.values[:, 1] - self.values[:, 0]) * (2 * self.labels - 1)
        direction = self.values.new_tensor([-1.0, 1.0])
        deviation = (direction @ self.covariance @ direction).sqrt()
        return torch.special.ndtr(-kept * margin / (added * deviation))

    def _drawn(self, kept: float, added: float, top: int) -> Float64[Tensor, " n"]:
        """Mean over draws of √(1/r)·scores + √(1 − 1/r)·ξ, each with its negative."""
        root, centre = added * _root(self.covariance), kept * self.values
        count = -(-DRAWS // (2 * len(centre)))
        at_once = min(count, max(1, ENTRIES // centre.numel()))
        found = centre.new_zeros(len(centre))
        for drawn in itertools.islice(self._noise(at_once), -(-count // at_once)):
            noise = drawn @ root
            for moved in (centre + noise, centre - noise):
                found += self._beaten(moved, kept * self.tie, top).sum(dim=0)
        return found / (2 * at_once * -(-count // at_once))

    def _noise(self, count: int) -> Iterator[Float64[Tensor, "count n c"]]:
        """Independent normal numbers for every score, the same ones on every device and call."""
        generator, like = torch.Generator().manual_seed(_SEED), self.values
        while True:
            drawn = torch.randn(count, *like.shape, dtype=like.dtype, generator=generator)
            yield drawn.to(like.device)

    def _without_noise(self, share: float) -> Float64[Tensor, "n c"]:
        """Scores whose covariance within classes is less by `share`·C, as far as there is any.

        The map is the optimal one between normal distributions of both covariances W and V,
        W^(−½) (W^½ V W^½)^½ W^(−½).
        """
        if not share:
            return self.values
        present, places = self.labels.unique(return_inverse=True)
        counts = places.bincount().to(self.values)[:, None]
        sums = self.values.new_zeros(len(present), self.values.shape[1])
        means = (sums.index_add_(0, places, self.values) / counts)[places]
        apart = self.values - means
        within = apart.mT @ apart / max(1, len(apart) - len(present))
        root, inverse = _root(within), _root(within, -0.5)
        wanted = root @ (within - share * self.covariance) @ root
        return means + apart @ (inverse @ _root(wanted) @ inverse)


def _root(matrix: Float64[Tensor, "c c"], exponent: float = 0.5) -> Float64[Tensor, "c c"]:
    """A power of a symmetric matrix in its range, negative eigenvalues taken for 0."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > _ROUNDING * values[-1].clamp(min=0)
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].mT


@dataclass(frozen=True, eq=False)
class LooScores:
    """What the leave-one-out scores of a pool are made from, at every sum ridge.

    Attributes:
        modes: Modes of the pool.
        targets: Words of the class code, one per sample.
        code: The class code.
    """

    modes: Modes
    targets: Matrix
    code: ClassCode

    @classmethod
    def of(cls, modes: Modes, targets: Matrix) -> "LooScores | None":
        """Those of a pool; None where the targets encode no classes."""
        code = ClassCode.of(targets)
        return None if code is None else cls(modes, targets, code)

    @cached_property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of every sample."""
        return self.code.decode(self.targets[:]).long()

    @property
    def classes(self) -> int:
        """Number of classes: of outputs, or two for a single one."""
        return max(2, self.targets.shape[1])

    @cached_property
    def _split(self) -> tuple[Float64[Tensor, "r c"], Float64[Tensor, "n c"], Tensor]:
        return *self.modes.split(self.targets[:]), self.modes.null_leverage()

    def at(self, delta: float) -> Scores:
        """The scores at the pool's sum ridge δ ≥ 0."""
        coefficients, *null = self._split
        spanned = self.modes.vectors @ (coefficients / (self.modes.values + delta)[:, None])
        residuals = leave_one_out(self.modes, delta, spanned, *null)
        values = self.targets[:] - residuals
        if values.shape[1] == 1:  # one output is the difference of two
            middle = (self.code.low + self.code.high) / 2
            values = torch.cat([middle - values, values - middle], dim=1) / 2
            residuals = torch.cat([-residuals, residuals], dim=1) / 2
        tie = TIE * (self.code.high - self.code.low)
        return Scores(values, self.labels, residuals, tie)

    def learnt(
        self, scores: Scores, delta: float, slopes: Float64[Tensor, "n c"]
    ) -> Float64[Tensor, " n"]:
        """e_j·(Σ_i G_ji g_i/G_ii − g_j) of every sample j.

        Args:
            scores: The scores at δ.
            delta: δ.
            slopes: g.
        """
        modes = self.modes
        weights = (delta if modes.null_dim else 1.0) / (modes.values + delta)
        diagonal = (leverages(modes, weights) + self._split[2])[:, None]
        shares = torch.where(diagonal > 0, slopes / diagonal, 0.0)
        coefficients, null_part = modes.split(shares)
        carried = (modes.vectors @ (weights[:, None] * coefficients)).add_(null_part)
        return (scores.residuals * carried.sub_(slopes)).sum(dim=1)
