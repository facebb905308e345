"""Curves of a population: df1, df2 and B + noise at every effective ridge κ, which predict every n.

At one effective ridge the omniscient risk of n samples is [B(κ) + noise]/(1 − df2(κ)/n) at λ =
κ(1 − df1(κ)/n), for n of any size. A pool of N samples estimates the curves for κ ≥ κ̂_N(0)
(`transport`). That is the whole range where the pool resolves every mode (rank < N, so κ̂_N(0) =
0). Otherwise they are measured down to the κ at which df1 = N/2, since beyond it fewer than half of
the pool's directions determine the rest, and what lies below is extrapolated: from power laws
(`tails`), or within the number of features (`atoms`). With an intercept n samples fit n − 1
directions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64
from scipy.integrate import cumulative_trapezoid

from rmtgen.errors import NumericalError
from rmtgen.linalg.spectrum import Spectrum

TRUSTED = 1 / 2
"""Largest df1 of the trusted range, relative to the pool's directions."""
POINTS = 1_500
"""Number of points of a curve in κ."""
BEYOND = 1e-6
"""Smallest κ of an extrapolation, relative to the smallest κ of the trusted range."""
LEAST = 1e-14
"""Smallest df1 and df2, relative to the pool's directions."""
FEWEST_FITTED = 10
"""Smallest number of points that an extrapolation is fitted to."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Quantities of the population at effective ridges κ, ascending: g points.

    Attributes:
        kappa: κ.
        df1: df1(κ), descending.
        df2: df2(κ).
        floor: B(κ) + noise.
        trusted: Smallest κ of the trusted range; below it the tail is extrapolated. 0 where every
            mode was resolved.
        taken: Number of directions that an intercept takes of n samples, 0 or 1.
    """

    kappa: Float64[np.ndarray, " g"]
    df1: Float64[np.ndarray, " g"]
    df2: Float64[np.ndarray, " g"]
    floor: Float64[np.ndarray, " g"]
    trusted: float
    taken: int

    @cached_property
    def learnt(self) -> Float64[np.ndarray, " g"]:
        """What the mean fit has in common with the targets: P − mean of B + noise over 1/κ."""
        inverse, missing = 1 / self.kappa[::-1], self.floor[-1] - self.floor[::-1]
        return (cumulative_trapezoid(missing, inverse, initial=0) / inverse)[::-1]

    def surface(
        self, n: float
    ) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """λ, R(n, λ) and κ at every point that n samples reach, λ ascending.

        The first is λ = 0 where df1 crosses n on the curves.
        """
        fitted = n - self.taken
        first = int(np.argmax(self.df1 < fitted)) if self.df1[-1] < fitted else len(self.df1)
        kappa, df1, df2, floor = (
            values[first:] for values in (self.kappa, self.df1, self.df2, self.floor)
        )
        if 0 < first < len(self.df1):
            share = (self.df1[first - 1] - fitted) / (self.df1[first - 1] - self.df1[first])
            crossing = (
                np.exp((1 - share) * np.log(values[first - 1]) + share * np.log(values[first]))
                for values in (self.kappa, self.df2, self.floor)
            )
            at_zero = next(crossing), fitted, *crossing
            kappa, df1, df2, floor = (
                np.append(new, values)
                for new, values in zip(at_zero, (kappa, df1, df2, floor), strict=True)
            )
        return kappa * (fitted - df1) / n, n * floor / (fitted - df2), kappa

    def best(self, n: float) -> tuple[float, float, float]:
        """λ, R and κ at the smallest risk of n samples.

        Raises:
            NumericalError: n samples reach no point of the curves.
        """
        ridge, risk, kappa = self._reached(n)
        place = int(np.argmin(risk))
        return ridge[place], risk[place], kappa[place]

    def fit(self, n: float, ridge: float | None) -> tuple[float, float, float]:
        """λ, R and κ of n samples at a ridge, or at the best one.

        R is log-linear between the points. Below the smallest λ it is its limit where every mode
        was resolved, else NaN.

        Raises:
            NumericalError: As `best`, which it is for None.
        """
        if ridge is None:
            return self.best(n)
        ridges, risks, kappas = self._reached(n)
        left = None if self.trusted == 0 else np.nan
        risk = np.exp(np.interp(ridge, ridges, np.log(risks), left=left))
        return ridge, float(risk), float(np.interp(ridge, ridges, kappas))

    def _reached(self, n: float) -> tuple[Float64[np.ndarray, " k"], ...]:
        found = self.surface(n)
        if not found[0].size:
            raise NumericalError(
                f"a forecast needs df1 < n somewhere on the curve: got n = {n:g}, df1 >="
                f" {self.df1.min():.4g}."
            )
        return found

    def trusted_from(self, directions: int) -> int:
        """Place of the first point of the trusted range of a pool with so many directions."""
        return int(np.argmax(self.df1 <= TRUSTED * directions))

    def between(self, least: float, most: float, directions: int) -> Bool[np.ndarray, " g"]:
        """Which points an extrapolation is fitted to: those with df1 from `least` to `most`.

        Raises:
            NumericalError: They are fewer than `FEWEST_FITTED`, or those of no population, as
                resampled curves may be.
        """
        chosen = (self.df1 >= least) & (self.df1 <= most)
        if np.count_nonzero(chosen) < FEWEST_FITTED:
            raise NumericalError(
                f"a forecast is fitted to points with df1 from {least:.3g} to {most:.3g}: got"
                f" {np.count_nonzero(chosen)} of them at N = {directions}. Take a larger pool."
            )
        least = LEAST * directions
        impossible = chosen & ~((self.df2 > least) & (self.df1 > self.df2))
        if impossible.any():
            place = np.flatnonzero(impossible)[0]
            raise NumericalError(
                "a forecast is fitted to curves with 0 < df2 < df1: got df2 ="
                f" {self.df2[place]:.3g} and df1 = {self.df1[place]:.3g} at N = {directions}. Take"
                " a larger pool."
            )
        return chosen

    def joined(self, below: "Below", directions: int) -> "Curves":
        """The trusted range of a pool with so many directions, with an extrapolation below it."""
        first = self.trusted_from(directions)
        parts = (
            (below.kappa, self.kappa),
            (below.df1, self.df1),
            (below.df2, self.df2),
            (below.floor, self.floor),
        )
        return Curves(
            *(np.concatenate([new, old[first:]]) for new, old in parts),
            trusted=self.kappa[first],
            taken=self.taken,
        )


@dataclass(frozen=True, eq=False)
class Below:
    """An extrapolation of curves to effective ridges below their trusted range, ascending.

    Attributes:
        kappa: κ.
        df1: df1(κ).
        df2: df2(κ).
        floor: B(κ) + noise.
    """

    kappa: Float64[np.ndarray, " b"]
    df1: Float64[np.ndarray, " b"]
    df2: Float64[np.ndarray, " b"]
    floor: Float64[np.ndarray, " b"]


def below(start: float) -> Float64[np.ndarray, " b"]:
    """Effective ridges of an extrapolation below the κ at which the trusted range starts."""
    return np.geomspace(BEYOND, 1, POINTS // 2, endpoint=False) * start


def measured(
    pool: Spectrum,
    delta: Float64[np.ndarray, " g"],
    s1: Float64[np.ndarray, " g"],
    s2: Float64[np.ndarray, " g"],
    energy: Float64[np.ndarray, " g"],
) -> Curves:
    """Curves from S1, S2 and E at sum ridges δ, of the pool itself or of a resampled one.

    Sums that are resampled to first order may leave 0 < df2 ≤ df1, which is put right.
    """
    least = LEAST * pool.directions
    df1 = np.maximum(pool.directions - s1, least)
    return Curves(
        kappa=delta / s1,
        df1=df1,
        df2=np.clip(pool.directions - np.square(s1) / s2, least, df1),
        floor=energy / s2,
        trusted=0.0,
        taken=pool.n - pool.directions,
    )


def deltas(pool: Spectrum) -> Float64[np.ndarray, " g"]:
    """Grid of the pool's auxiliary sum ridge, from no shrinkage to full shrinkage."""
    return np.geomspace(pool.eigenvalues[-1] * 1e-3, pool.eigenvalues[0] * 1e4, POINTS)
