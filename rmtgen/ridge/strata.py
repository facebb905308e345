"""Means in which every class counts the same, whatever the number of its samples.

With n_c of n samples in class c of C, the weights w_i = n/(C n_c) have the mean 1, and the mean of
w_i v_i is the mean over classes of the mean of v in each. The numbers n_c are taken as given: new
samples are as likely of one class as of another, whoever chose how many there are here. Then it is
the mean of C independent means, each of independent samples, of variance

    (1/C²) Σ_c var_c(v)/n_c = (1/n²) Σ_c n_c var_c(wv),

and what differs between classes is no part of it. When sample i leaves, it changes by
−(v_i − v̄_c)/(C (n_c − 1)). Of changes Δ_i of any estimate when each sample leaves, the jackknife
makes the variance Σ_c (1 − 1/n_c) Σ_{i in c} (Δ_i − Δ̄_c)².

One class of all samples is the plain mean, with its variance and its jackknife.

References: Cochran 1977, Sampling Techniques, chapter 5 (strata); Kish 1965, Survey Sampling (the
effective number of samples).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from rmtgen.errors import UsageError

LEAST = 2
"""Smallest number of samples of a class: without one of a single, nothing is known of its class."""
_MOST_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Strata:
    """Samples in classes that count the same.

    Attributes:
        places: The class of each sample, from 0, without gaps.
    """

    places: Int64[np.ndarray, " n"]

    @classmethod
    def one(cls, n: int) -> "Strata":
        """All of n samples as one class."""
        return cls(np.zeros(n, dtype=np.int64))

    @classmethod
    def of(cls, labels: ArrayLike) -> "Strata":
        """Those of labels (n,); classes without a sample are none."""
        return cls(np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64))

    @cached_property
    def counts(self) -> Int64[np.ndarray, " C"]:
        """n_c."""
        return np.bincount(self.places)

    @cached_property
    def weights(self) -> Float64[np.ndarray, " n"]:
        """w_i."""
        n, classes = len(self.places), len(self.counts)
        return n / (classes * self.counts[self.places])

    @property
    def effective(self) -> float:
        """Number of samples whose plain mean is as sure, where v varies alike in all classes."""
        return float(len(self.counts) ** 2 / (1 / self.counts).sum())

    def mean(self, values: Float64[np.ndarray, " n"]) -> float:
        """The mean of wv."""
        return float((self.weights * values).mean())

    def variance(self, weighted: Float64[np.ndarray, " n"]) -> float:
        """The variance of the mean of wv, from wv; NaN where a class has a single sample."""
        squares = np.bincount(self.places, np.square(weighted - self._means(weighted)[self.places]))
        with np.errstate(invalid="ignore"):
            parts = squares * self.counts / (self.counts - 1)
        return float(parts.sum() / len(weighted) ** 2)

    def moves(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Changes of the mean of wv when each sample leaves; NaN where it is the only one."""
        own = self.counts[self.places]
        with np.errstate(invalid="ignore"):
            return (self._means(values)[self.places] - values) / (len(self.counts) * (own - 1))

    def spread(self, moves: Float64[np.ndarray, " n"]) -> float:
        """The standard error of an estimate from its changes when each sample leaves."""
        centred = moves - self._means(moves)[self.places]
        return float(np.sqrt(((1 - 1 / self.counts[self.places]) * np.square(centred)).sum()))

    def _means(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " C"]:
        return np.bincount(self.places, values) / self.counts


def require_pairs(labels: Int64[np.ndarray, " n"], names: Sequence[str] | None = None) -> None:
    """Require two samples of every class that has one.

    Args:
        labels: Classes, from 0.
        names: Their names; None: their numbers.

    Raises:
        UsageError: A class has a single sample.
    """
    alone = np.flatnonzero(np.bincount(labels) == 1).tolist()
    if not alone:
        return
    shown = ", ".join(
        str(place if names is None else names[place]) for place in alone[:_MOST_SHOWN]
    )
    more = f" and {len(alone) - _MOST_SHOWN} more" if len(alone) > _MOST_SHOWN else ""
    raise UsageError(
        f"where every class counts the same, each needs at least {LEAST} images: got 1 of class"
        f" {shown}{more}, among {len(labels):,} images. Left out, it leaves nothing to know its"
        " class by. Add images of it, or leave the class out."
    )
