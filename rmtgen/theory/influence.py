"""Influence of each sample of a pool on a transported risk, without another eigensolve.

It gives standard errors and resampled curves. Take sample j out of the pool. At fixed δ the sums of
transport (S1, S2, E) change in closed form, since the inverse of a matrix without a row and a
column is a Schur complement. With u_i the
eigenvectors of K, w_i = δ/(s_i + δ) over all directions, g_k = Σ_i u_ij² w_i^k (g_1 = δG_jj),
residuals r = δGY and r' = δ²G²Y, the pool without j has

    S1 − g_2/g_1,      S2 − 2g_3/g_1 + (g_2/g_1)²,      E − 2 r_j·r'_j/g_1 + ‖r_j‖² g_2/g_1²,

exactly, the leverage of j included; with an intercept too, where P takes the place of G. Then δ
moves, to keep λ and n, by one Newton step. Spread over the samples, the changes of log R give the
jackknife's standard error; weighted by how often a sample is drawn, the bootstrap's curves.

The relative changes are smooth in log δ, so they are computed on a grid of δ and interpolated. So
is the ratio of leave-one-out, (1/N) Σ ‖r_j‖²/g_1², to GCV, N·E/S1². It is near 1 where samples are
alike. Where they are not, transport errs as GCV does, and the jackknife does not see it: the
transported risk times the ratio is the better guess, and their gap a part of the error.

References: Efron & Stein 1981 (jackknife); Efron & Tibshirani 1993, chapters 11 and 21.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import UsageError
from rmtgen.linalg.modes import TARGET_ROWS, Modes
from rmtgen.linalg.rows import Matrix
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.arguments import Values
from rmtgen.theory.loo_scores import LooScores, Split
from rmtgen.theory.transport import Transported, pool_sums

PER_DECADE = 4
"""Number of points per decade of the grid of δ."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Relative changes of S1, S2 and E when each of the N samples of a pool leaves.

    Attributes:
        pool: Spectrum of the pool.
        log_delta: Grid of log δ, ascending.
        s1: Relative changes of S1 at each δ, per sample; of all N, or of m that were chosen at
            random.
        s2: Relative changes of S2.
        energy: Relative changes of E.
        log_loo: log(LOO/GCV) of the pool at each δ.
        features: Number p of features that the kernel is made of; None where it is not known.
        scores: What leave-one-out scores are made from, where the targets encode classes.
    """

    pool: Spectrum
    log_delta: Float64[np.ndarray, " g"]
    s1: Float64[np.ndarray, "g m"]
    s2: Float64[np.ndarray, "g m"]
    energy: Float64[np.ndarray, "g m"]
    log_loo: Float64[np.ndarray, " g"]
    features: int | None = None
    scores: LooScores | None = None

    @classmethod
    def of(
        cls,
        pool: Spectrum,
        modes: Modes,
        targets: Matrix,
        deltas: Float64[np.ndarray, "..."],
        features: int | None = None,
        looked: Int64[np.ndarray, " m"] | None = None,
        split: Split | None = None,
    ) -> "Influence":
        """The influence over the range of the positive `deltas`; beyond it, its values at the end.

        Args:
            pool: Spectrum of the pool, from `modes` and `targets`.
            modes: Modes of the pool.
            targets: Y (N, c).
            deltas: Sum ridges.
            features: Number p of features of the kernel; None where it is not known.
            looked: Positions of m random samples, whose influence is computed; None: all.
            split: Coefficients and null part of the targets; None: they are computed.

        Raises:
            UsageError: No positive δ.
        """
        positive = deltas[deltas > 0]
        if not positive.size:
            raise UsageError(
                f"influences need a sum ridge > 0: got {len(deltas)} zeros. Add a positive ridge,"
                " or a smaller size."
            )
        low, high = np.log10(positive.min()), np.log10(positive.max())
        grid = np.logspace(low, high, max(2, int(np.ceil((high - low) * PER_DECADE)) + 1))
        sums = pool_sums(pool, grid)
        whole = (sums.s1, sums.s2, sums.energy)
        looked = np.arange(pool.n) if looked is None else looked
        coefficients = torch.from_numpy(pool.coefficients).to(modes.values)
        places = torch.from_numpy(looked)
        changes, (squared, norms) = _changes(modes, targets, coefficients, grid, places)
        relative = (
            part.cpu().numpy() / value[:, None] for part, value in zip(changes, whole, strict=True)
        )
        ratio = (squared / norms).cpu().numpy() * np.square(sums.s1 / pool.n)
        scores = LooScores.of(modes, targets, split)
        return cls(pool, np.log(grid), *relative, np.log(ratio), features, scores)

    def at(self, delta: float) -> tuple[Float64[np.ndarray, " n"], ...]:
        """The relative changes of S1, S2 and E at one δ."""
        place = np.interp(
            np.log(delta) if delta > 0 else -np.inf, self.log_delta, np.arange(len(self.log_delta))
        )
        low = min(int(place), len(self.log_delta) - 2)
        share = place - low
        return tuple(
            (1 - share) * part[low] + share * part[low + 1]
            for part in (self.s1, self.s2, self.energy)
        )

    def log_risk(self, ridge: float, n: float, delta: float) -> Float64[np.ndarray, " n"]:
        """Change of log R(n, λ) when each sample leaves, to first order in the move of δ."""
        pool, floor = self.pool, np.exp(self.log_delta[0])
        sums, missing = pool_sums(pool, np.array([max(delta, floor)])), pool.n - n
        s1, s2, energy = (
            value[0] * (1 + change)
            for value, change in zip(
                (sums.s1, sums.s2, sums.energy), self.at(max(delta, floor)), strict=True
            )
        )
        whole = sums.s1[0] ** 2 - missing * sums.s2[0], sums.energy[0]
        here = s1**2 - (missing - 1) * s2, energy
        step = np.zeros_like(s1)
        if delta > 0:
            left = missing - 1
            step = -(1 - left / s1 - n * ridge / delta) / (1 - left * s2 / s1**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = here[1] / whole[1] * whole[0] / here[0]
            return np.log(ratio) + self._slope(max(delta, floor), missing) * step

    def loo_ratios(self, delta: ArrayLike) -> Values:
        """LOO/GCV of the pool at sum ridges δ of any shape."""
        with np.errstate(divide="ignore"):
            return np.exp(np.interp(np.log(delta), self.log_delta, self.log_loo))

    def standard_errors(self, predicted: Transported, ridge: ArrayLike, n: ArrayLike) -> Values:
        """Relative standard error of each predicted risk: the jackknife's, and the gap to LOO.

        It is NaN where the risk is ∞.
        """
        gaps = np.log(self.loo_ratios(predicted.delta))
        return np.hypot(self.jackknife_errors(predicted, ridge, n), gaps)

    def jackknife_errors(self, predicted: Transported, ridge: ArrayLike, n: ArrayLike) -> Values:
        """Relative standard error of each predicted risk from the draw of the pool alone.

        It is NaN where the risk is ∞.
        """
        grids = (np.ravel(grid).astype(float) for grid in (ridge, n, predicted.delta))
        points = zip(*grids, strict=True)
        changes = (self.log_risk(*point) for point in points)
        factor = (self.pool.n - 1) ** 0.5
        errors = np.array([factor * change.std() for change in changes]).reshape(np.shape(n))
        return np.where(np.isfinite(predicted.risk), errors, np.nan)

    def _slope(self, delta: float, missing: float) -> float:
        """Slope dlog R/dlog δ of the whole pool."""
        pool = self.pool
        weights, sums = 1 / (1 + pool.eigenvalues / delta), pool_sums(pool, np.array([delta]))
        squares = np.square(weights) * (1 - weights)
        energy = 2 * (pool.power @ squares) / sums.energy[0]
        s1, s2 = sums.s1[0], sums.s2[0]
        return energy - 2 * (s1 * sums.between[0] - missing * squares.sum()) / (
            s1**2 - missing * s2
        )


def _changes(
    modes: Modes,
    targets: Matrix,
    coefficients: Float64[Tensor, "r c"],
    grid: Float64[np.ndarray, " g"],
    looked: Int64[Tensor, " m"],
) -> tuple[Float64[Tensor, "3 g m"], Float64[Tensor, "2 g"]]:
    """Changes of S1, S2 and E at each δ of a grid when each of some samples leaves.

    Beside them come, at each δ, the sums over these samples of the squared leave-one-out residuals
    and of the squared residuals. The samples are taken some at a time.
    """
    shrunk = torch.from_numpy(grid).to(modes.values)[:, None]
    weights = 1 / (1 + modes.values / shrunk)
    leverage, centre = modes.null_leverage(), modes.centre(targets)
    found, sums = [], modes.values.new_zeros(2, len(grid))
    for place in looked.to(leverage.device).split(TARGET_ROWS):
        null_part = modes.null_rows(place, targets[place] - centre, coefficients)
        vectors = modes.vectors[place].double()
        squares, null = vectors.square(), leverage[place]
        g1, g2, g3 = ((weights**power) @ squares.mT + null for power in (1, 2, 3))
        norms, products = _residuals(vectors, null_part, coefficients, weights)
        ratio = g2 / g1
        found.append(
            torch.stack([-ratio, ratio**2 - 2 * g3 / g1, (norms * ratio - 2 * products) / g1])
        )
        sums += torch.stack([(norms / g1**2).sum(dim=1), norms.sum(dim=1)])
    return torch.cat(found, dim=2), sums


def _residuals(
    vectors: Float64[Tensor, "b r"],
    null_part: Float64[Tensor, "b c"],
    coefficients: Float64[Tensor, "r c"],
    weights: Float64[Tensor, "g r"],
) -> tuple[Float64[Tensor, "g b"], Float64[Tensor, "g b"]]:
    """‖r_j‖² and r_j·r'_j of some samples at each δ.

    Of the residuals r = N + UwC and r' = N + Uw²C, C and N as `Modes.split` has them, only squares
    and products of rows are needed,

        r_j·r'_j = ‖N_j‖² + Σ_i (NCᵀ)_ji u_ji (w_i + w_i²) + Σ_i (UwCCᵀ)_ji u_ji w_i²,

    so that more than r/2 outputs cost no more than r/2.
    """
    rank, outputs = coefficients.shape
    square = coefficients @ coefficients.mT if rank < 2 * outputs else None
    energy = null_part.square().sum(dim=1)
    crossed = (null_part @ coefficients.mT).mul_(vectors) @ torch.cat([weights, weights**2]).mT
    once, twice = crossed.mT.split(len(weights))
    norms, products = energy + 2 * once, energy + once + twice
    for at, weight in enumerate(weights):
        weighted = vectors * weight
        spread = weighted @ square if square is not None else _through(weighted, coefficients)
        spread.mul_(weighted)
        norms[at] += spread.sum(dim=1)
        products[at] += spread @ weight
    return norms, products


def _through(
    rows: Float64[Tensor, "b r"], coefficients: Float64[Tensor, "r c"]
) -> Float64[Tensor, "b r"]:
    """Rows times CCᵀ, of few outputs."""
    return (rows @ coefficients) @ coefficients.mT
