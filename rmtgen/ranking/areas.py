"""How well a ridge probe orders each of several labels: the AUC of pairs that are left out.

The AUC of a label is the chance that an image with it scores above one without. Leave-one-out
scores would understate it, for leaving out an image with the label lowers the mean of the others,
and of images that nothing is known of those with the label would score below all others. So both
images of a pair are left out: with G = (K + nλI)⁻¹, of which an intercept takes the rows' mean, and
α = GY, their residuals are

    e_i = (α_i G_jj − G_ij α_j)/(G_ii G_jj − G_ij²),

and i has the higher score where e_i − e_j < 1.

With V_i the share of its pairs that image i has in order, A the AUC, n₊ and n₋ the numbers of
images with the label and without, d_i is (V_i − A)/√(n₊(n₊ − 1)) of those with it, and likewise of
the others. Σ d_i² is the variance of DeLong, which takes the scores for those of one fit. Every
image is in the fits of all other pairs, so that the standard error has a second part, as that of
the risk has (`rmtgen.ridge.interval`):

    SE² = Σ_i d_i² + (1/n²) Σ_{i≠k} η_ik η_ki,

where η_ik is the change of (n/n_±)V_i when image k is left out of its fits as well, centred. Of the
fits without three images, G and α are those of two after one step of elimination. Of the mean over
labels, d and η are the means. The interval is Wilson's for as many independent images as have the
standard error. `make bench BENCH=explained` measures how often it holds the AUC of the fit.

References: Airola, Pahikkala, Waegeman, De Baets & Salakoski 2009 (leave-pair-out); Pahikkala,
Airola, Boberg & Salakoski 2008 (for ridge regression); DeLong, DeLong & Clarke-Pearson 1988.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from rmtgen.ridge.eigen import Fit
from rmtgen.ridge.interval import LEAST_LEFT, LEAST_SAMPLES, centred_covariance, paired
from rmtgen.ridge.shares import wilson

PAIR_ROWS = 2048
"""Largest number of samples whose pairs with all others an AUC is taken over."""
ROWS_AT_ONCE = 256
"""Number of these samples that are looked at together."""
TRIPLES = 256
"""Largest number of samples of which three are left out."""
LEAST = 2
"""Number of images that must have a label, and of those that must not, for an interval."""
_PAIR_COST, _TRIPLE_COST = 500, 150
"""Cost of a pair, and of three samples, in operations of a matrix product: passes over memory."""
TIE = 1e-9
"""Difference of two scores, of labels 0 and 1, below which they tie."""


@dataclass(frozen=True, eq=False)
class Area:
    """An AUC, or the mean of several, with what its standard error is made from.

    Attributes:
        value: The AUC; NaN where there is none.
        low: Low end of its interval of 95 %, NaN where that is not known.
        high: High end.
        moves: d_i.
        changes: What is centred to η, of the samples `paired`; NaN where a pair leaves too few
            digits, and for fewer than 8 samples.
    """

    value: float
    low: float
    high: float
    moves: Float64[np.ndarray, " n"]
    changes: Float64[np.ndarray, "m m"]

    @classmethod
    def none(cls) -> "Area":
        """That of what is no label."""
        return cls(*(np.nan,) * 3, np.full(1, np.nan), np.full((1, 1), np.nan))

    @classmethod
    def of(
        cls,
        value: float,
        moves: Float64[np.ndarray, " n"],
        changes: Float64[np.ndarray, "m m"],
        count: float,
    ) -> "Area":
        """An AUC with its interval.

        Args:
            value: The AUC.
            moves: As the attribute.
            changes: As the attribute.
            count: Number of independent images that the interval counts where all pairs are in
                order.
        """
        return cls(value, *wilson(value, area_error(moves, changes), count), moves, changes)


def area_cost(n: int, rank: int, labels: int) -> float:
    """The cost of `areas` of n samples, in operations of a product."""
    pairs = float(min(n, PAIR_ROWS)) * n
    return 2 * pairs * rank + labels * (_PAIR_COST * pairs + _TRIPLE_COST * min(n, TRIPLES) ** 3)


def area_bytes(n: int) -> int:
    """Bytes that it takes: G of some rows, and the same of both sides of their pairs."""
    return 8 * 6 * min(n, ROWS_AT_ONCE) * n


def area_error(moves: Float64[np.ndarray, " n"], changes: Float64[np.ndarray, "m m"]) -> float:
    """The standard error of an AUC, or of a difference of two; NaN where it is not known."""
    n = len(moves)
    if n < LEAST_SAMPLES or not np.isfinite(changes).all():
        return np.nan
    matrix = torch.from_numpy(changes)
    shared = centred_covariance(matrix, spare=torch.empty_like(matrix))
    return float((np.square(moves).sum() + (n - 1) / n * max(shared, 0.0)) ** 0.5)


def areas(
    fit: Fit, sum_ridge: float, targets: Float64[Tensor, "n c"]
) -> tuple[list[tuple[float, float, float]], Area]:
    """The AUC of each label with both ends of its interval, and the mean over labels.

    Beyond `PAIR_ROWS` samples the pairs are those of so many, chosen at random, with all others. A
    label that fewer than `LEAST` images have or lack has no interval, and is not in the mean. Where
    a pair leaves too few digits, there is neither of its label nor of the mean.

    Args:
        fit: The fit of all samples.
        sum_ridge: δ = nλ.
        targets: Labels, 0 and 1.
    """
    has = targets > 0.5
    rarer = torch.minimum(has.sum(dim=0), (~has).sum(dim=0)).tolist()
    known = [place for place, count in enumerate(rarer) if count >= LEAST]
    pairs, triples = _Pairs.of(fit, sum_ridge, has), _Triples.of(fit, sum_ridge, has)
    found = [(value, np.nan, np.nan) for value in pairs.values.tolist()]
    moves, changes = np.zeros(len(has)), np.zeros((len(triples.dual),) * 2)
    whole = [place for place in known if np.isfinite(found[place][0])]
    for place in whole:
        own = pairs.moves(place).numpy(), triples.changes(place).numpy()
        one = Area.of(found[place][0], *own, rarer[place])
        found[place] = one.value, one.low, one.high
        moves, changes = moves + own[0] / len(known), changes + own[1] / len(known)
    if not known or len(whole) < len(known):
        return found, Area.none()
    mean = float(np.mean([found[place][0] for place in known]))
    return found, Area.of(mean, moves, changes, min(rarer[place] for place in known))


@dataclass(frozen=True, eq=False)
class _Side:
    """Samples on one side of pairs: α, the diagonal of G, and that of the fit of all samples."""

    dual: Float64[Tensor, " p"]
    diagonal: Float64[Tensor, " p"]
    whole: Float64[Tensor, " p"]

    def without(self, crossed: Float64[Tensor, " p"], dual: Tensor, diagonal: Tensor) -> "_Side":
        """The same in the fit without another sample, by one step of elimination."""
        ratio = crossed / diagonal
        return _Side(self.dual - ratio * dual, self.diagonal - ratio * crossed, self.whole)


def _in_order(
    crossed: Float64[Tensor, "p q"], first: _Side, second: _Side, sign: int
) -> Float64[Tensor, "p q"]:
    """Which pairs are in order: 1, or 1/2 where they tie; NaN where no digits are left.

    Args:
        crossed: G between the two sides.
        first: Samples with the label, or without.
        second: Those of the other kind.
        sign: 1 where the first side has the label, else −1.
    """
    left = torch.outer(first.diagonal, second.diagonal).sub_(crossed.square())
    left[left <= LEAST_LEFT * torch.outer(first.whole, second.whole)] = torch.nan
    apart = first.dual[:, None] * (second.diagonal + crossed)
    apart -= second.dual * (first.diagonal[:, None] + crossed)
    apart.mul_(sign).div_(left).sub_(1)
    wins = (apart < -TIE).to(apart.dtype)
    wins[apart.abs() <= TIE] = 0.5
    wins[left.isnan()] = torch.nan
    return wins


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Labels in the fits without two samples.

    Attributes:
        values: The AUC of each label; NaN where all samples have it or none, or a pair has no
            digits left.
        shares: V_i of each label; NaN where no pair of a sample was looked at.
        has: The labels.
        chosen: Whether the pairs of a sample with all others were looked at.
    """

    values: Float64[Tensor, " c"]
    shares: Float64[Tensor, "n c"]
    has: Bool[Tensor, "n c"]
    chosen: Bool[Tensor, " n"]

    @classmethod
    def of(cls, fit: Fit, sum_ridge: float, has: Bool[Tensor, "n c"]) -> "_Pairs":
        """The pairs of some samples with all others, in the fit at one ridge."""
        dual, diagonal = fit.dual(sum_ridge), fit.resolvent_diagonal(sum_ridge)
        chosen = torch.from_numpy(paired(len(has), PAIR_ROWS)).to(dual.device)
        won, met = torch.zeros_like(dual), torch.zeros_like(dual)
        total, count = dual.new_zeros(has.shape[1]), dual.new_zeros(has.shape[1])
        own = torch.full_like(dual, torch.nan)
        for rows in chosen.split(ROWS_AT_ONCE):
            crossed = fit.resolvent_rows(sum_ridge, rows)
            for label in range(has.shape[1]):
                for sign, side in ((1, has[:, label]), (-1, ~has[:, label])):
                    here, others = side[rows].nonzero()[:, 0], (~side).nonzero()[:, 0]
                    first, second = (
                        _Side(dual[at, label], diagonal[at], diagonal[at])
                        for at in (rows[here], others)
                    )
                    wins = _in_order(crossed[here][:, others], first, second, sign)
                    total[label] += wins.sum()
                    count[label] += wins.numel()
                    own[rows[here], label] = wins.mean(dim=1)
                    won[others, label] += wins.sum(dim=0)
                    met[others, label] += len(here)
        looked = torch.zeros(len(has), dtype=torch.bool, device=dual.device)
        looked[chosen] = True
        shares = torch.where(looked[:, None], own, won / met)
        return cls((total / count).cpu(), shares, has, looked)

    def moves(self, label: int) -> Float64[Tensor, " n"]:
        """d_i of a label.

        The pairs of c samples with all others are c₊n₋ of those with the label and c₋n₊ of those
        without it. With a the share of the former among them, the AUC is a times the mean of V_i
        over the c₊, and 1 − a times that over the c₋; so in place of 1/n₊ there is

            a²/c₊ + (1 − a²)/n₊,

        the same where all pairs are looked at, and likewise of the others.
        """
        has, found = self.has[:, label], torch.zeros_like(self.shares[:, label])
        numbers = [(side.sum().item(), (side & self.chosen).sum().item()) for side in (has, ~has)]
        (with_it, looked_with), (without, looked_without) = numbers
        pairs = [looked_with * without, looked_without * with_it]
        for side, (whole, looked), own in zip((has, ~has), numbers, pairs, strict=True):
            share = own / sum(pairs)
            rate = (1 - share**2) / whole + (share**2 / looked if looked else 0.0)
            known = side & self.shares[:, label].isfinite()
            apart = self.shares[known, label]
            found[known] = (apart - apart.mean()) * (rate / (len(apart) - 1)) ** 0.5
        return found.cpu()


@dataclass(frozen=True, eq=False)
class _Triples:
    """What the shares V_i of some samples become when a third one is left out of their fits.

    Attributes:
        resolvent: G of the samples, or a multiple of it.
        dual: α of them, times the same.
        has: Their labels.
        rates: n/n₊ or n/n₋ of each, by label.
    """

    resolvent: Float64[Tensor, "m m"]
    dual: Float64[Tensor, "m c"]
    has: Bool[Tensor, "m c"]
    rates: Float64[Tensor, "m c"]

    @classmethod
    def of(cls, fit: Fit, sum_ridge: float, has: Bool[Tensor, "n c"]) -> "_Triples":
        """Those of a fit, of `TRIPLES` of its samples."""
        resolvent, dual = fit.pairs(sum_ridge)
        chosen = paired(len(has), TRIPLES)
        places = torch.from_numpy(np.searchsorted(paired(len(has)), chosen)).to(dual.device)
        own, some = has[torch.from_numpy(chosen).to(has.device)], has.sum(dim=0)
        rates = len(has) / torch.where(own, some, len(has) - some)
        return cls(resolvent[places][:, places], dual[places], own, rates.to(dual.dtype))

    def changes(self, label: int) -> Float64[Tensor, "m m"]:
        """What is centred to η_ik, of a label."""
        side = self.has[:, label]
        positions = has, lacks = side.nonzero()[:, 0], (~side).nonzero()[:, 0]
        diagonal = self.resolvent.diagonal()
        crossed = self.resolvent[has][:, lacks]
        first, second = (
            _Side(self.dual[at, label], diagonal[at], diagonal[at]) for at in positions
        )
        whole = _in_order(crossed, first, second, 1)
        found = torch.zeros_like(self.resolvent)
        for third, row in enumerate(self.resolvent):
            eliminated = self.dual[third, label], diagonal[third]
            left = crossed - torch.outer(row[has], row[lacks] / diagonal[third])
            one, other = (
                part.without(row[at], *eliminated)
                for part, at in zip((first, second), positions, strict=True)
            )
            moved = _in_order(left, one, other, 1).sub_(whole)
            moved[has == third] = 0  # its own pairs are not looked at
            moved[:, lacks == third] = 0
            found[has, third] = moved.sum(dim=1) / max(1, len(lacks) - (not side[third]))
            found[lacks, third] = moved.sum(dim=0) / max(1, len(has) - int(side[third]))
        return found.mul_(self.rates[:, label, None]).fill_diagonal_(0).cpu()
