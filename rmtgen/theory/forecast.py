"""Forecast: the risk at sample sizes beyond the pool, and the labels that a risk needs.

The curves of a pool (`curves`) predict every n, within the range that the pool measures and below
it (`extrapolation`).

Intervals are quantiles over resampled pools: weights of the samples are drawn, every curve changes
by its first-order influence (`influence`), extrapolations are fitted anew. They do not know whether
the form of an extrapolation is right. A bracket does: it reaches from targets without noise, all of
which more labels would explain, to targets of which nothing is learnt below the measured range; and
it takes B + noise from GCV as well as from leave-one-out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import real_array, real_number, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Matrix, Rows
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.scalars import instance, whole_number
from rmtgen.theory.curves import Curves, deltas
from rmtgen.theory.extrapolation import (
    Bracket,
    bracket,
    likely_curves,
    resampled_curves,
)
from rmtgen.theory.extrapolation import (
    curves as curves,
)
from rmtgen.theory.influence import Influence
from rmtgen.theory.loo_scores import Split
from rmtgen.theory.transport import require_power

QUANTILES = (0.025, 0.975)
"""Ends of an interval."""
FEWEST = 2
"""Smallest sample that a forecast is made for."""
PRECISION = 1e-3
"""Relative precision of the number of labels."""

_CURE = "Compute it: pool_influence."


@public
def pool_influence(
    modes: Modes, targets: np.ndarray | Tensor | Rows, *, features: int | None = None
) -> Influence:
    """Influence of every sample of a pool over the whole grid of its sum ridge, for forecasts.

    Args:
        modes: Modes of the pool, from `gram_modes` or `feature_modes`.
        targets: (n,) or (n, c), of the same samples.
        features: Number p of features that the kernel is made of, for an eNTK its parameters;
            default that of `feature_modes`. Forecasts beyond the pool then keep df1 ≤ p. Where it
            is not known they rest on power laws.

    Raises:
        UsageError: Another number of targets than of samples; fewer features than modes.
        NumericalError: A pool without any mode, or targets without any power.
    """
    modes = instance(modes, Modes, "modes", "Compute it: gram_modes or feature_modes.")
    if not isinstance(targets, Rows):
        targets = target_matrix(targets).to(modes.vectors.device)
    return influence_of(Spectrum.of(modes, targets), modes, targets, features)


def influence_of(
    pool: Spectrum,
    modes: Modes,
    targets: Matrix,
    features: int | None,
    *,
    looked: Int64[np.ndarray, " m"] | None = None,
    least: float = 0.0,
    split: Split | None = None,
) -> Influence:
    """`pool_influence` of checked arguments, with the spectrum of the modes and targets.

    Args:
        pool: The spectrum.
        modes: As there.
        targets: As there, (n, c).
        features: As there.
        looked: Positions of random samples whose influence is computed; None: all.
        least: Smallest sum ridge of the grid; below it influences are those at it.
        split: As of `Influence.of`.
    """
    pool = require_power(pool)
    if features is None and modes.feature_vectors is not None:
        features = len(modes.feature_vectors)
    if features is not None:
        features = whole_number(
            features, "features", least=pool.rank, cure="Each mode takes one; None is not known."
        )
    grid = deltas(pool)
    return Influence.of(pool, modes, targets, grid[grid >= least], features, looked, split)


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What a forecast reads its numbers from.

    Attributes:
        point: The likely curves.
        draws: Curves of resampled pools.
        bracket: Curves on either side of the likely ones.
    """

    point: Curves
    draws: list[Curves]
    bracket: Bracket

    @classmethod
    def of(cls, influence: Influence) -> "Forecasts":
        """Those of a pool.

        Raises:
            UsageError: Not an influence.
            NumericalError: A pool too small to fit an extrapolation to.
        """
        influence = instance(influence, Influence, "influence", _CURE)
        return cls(likely_curves(influence), resampled_curves(influence), bracket(influence))

    def table(self, pairs: Sequence[tuple[float, float | None]]) -> pd.DataFrame:
        """The rows of `forecast` at pairs of `sizes_and_ridges`."""
        return pd.DataFrame([self.row(*pair) for pair in pairs])

    def row(self, n: float, ridge: float | None) -> dict[str, float]:
        """The row of n samples at a ridge, or at the best one."""

        def risk_of(one: Curves) -> float:
            return one.fit(n, ridge)[1]

        chosen, risk, kappa = self.point.fit(n, ridge)
        risks = np.array([risk_of(draw) for draw in self.draws])
        finite = risks[np.isfinite(risks)]
        enough = finite.size > len(risks) / 2
        low, high = np.quantile(finite, QUANTILES) if enough else (np.nan, np.nan)
        least = min([risk, *map(risk_of, self.bracket.least)])
        most = max([risk, *map(risk_of, self.bracket.most)])
        return {
            "n": int(n),
            "ridge": chosen,
            "predicted_risk": risk,
            "low": low,
            "high": high,
            "at_least": least * low / risk,
            "at_most": most * high / risk,
            "extrapolated": bool(kappa < self.point.trusted),
        }


@public
def forecast(
    influence: Influence, sizes: ArrayLike, *, ridges: ArrayLike | None = None
) -> pd.DataFrame:
    """Test risk at sizes of any magnitude, with 95 % intervals over pools.

    Args:
        influence: Influence of the pool, from `pool_influence`.
        sizes: Sample sizes n ≥ 2.
        ridges: λ ≥ 0, or None for the ridge of smallest risk at each size.

    Returns:
        One row per (n, λ): `n ridge predicted_risk low high at_least at_most extrapolated`. `low`
        and `high` are the interval, if the extrapolation is of the right form; `at_least` and
        `at_most` bracket the risk whatever that form, with the interval at either end;
        `extrapolated` marks rows that rest on it. NaN where the curves do not reach λ.

    Raises:
        UsageError: n < 2, or a negative ridge.
        NumericalError: A pool too small to fit an extrapolation to.
    """
    pairs = sizes_and_ridges(sizes, ridges)
    return Forecasts.of(influence).table(pairs)


def sizes_and_ridges(
    sizes: ArrayLike, ridges: ArrayLike | None
) -> list[tuple[float, float | None]]:
    """Pairs of every size and every ridge, sizes outer; None is the best ridge of a size.

    Raises:
        UsageError: n < 2, or a negative ridge.
    """
    sizes = np.atleast_1d(real_array(sizes, "sizes")).ravel()
    wrong = ~((sizes >= FEWEST) & np.isfinite(sizes))
    if wrong.any():
        raise UsageError(f"sizes must be finite and >= {FEWEST}: got {sizes[wrong][0]:g}.")
    if ridges is None:
        return [(n, None) for n in sizes]
    ridges = np.atleast_1d(real_array(ridges, "ridges")).ravel()
    if not (ridges >= 0).all():
        raise UsageError(f"ridges must be >= 0: got {ridges[~(ridges >= 0)][0]:.4g}.")
    return [(n, ridge) for n in sizes for ridge in ridges]


def labels_for_risks(influence: Influence, risks: ArrayLike, most: float) -> pd.DataFrame:
    """Number of labels that a risk needs: the smallest n whose best ridge reaches it.

    Args:
        influence: Influence of the pool, from `pool_influence`.
        risks: Wanted test risks, in the squared unit of the targets.
        most: Largest number of the search.

    Returns:
        One row per risk: `risk labels low high at_least at_most extrapolated`, labels to a
        thousandth, ∞ where n = `most` does not reach it, with a 95 % interval over pools and the
        bracket of `forecast`; `extrapolated` marks numbers beyond the pool.

    Raises:
        UsageError: No risk, one that is not positive, or a search without an end.
        NumericalError: A pool too small to fit an extrapolation to.
    """
    risks = np.atleast_1d(real_array(risks, "risks")).ravel()
    most = real_number(most, "most")
    if not risks.size or not (risks > 0).all():
        seen = risks[~(risks > 0)][0] if risks.size else "none"
        raise UsageError(
            f"risks must be positive: got {seen}. They are squared errors, noise included."
        )
    if not FEWEST <= most < np.inf:
        raise UsageError(
            f"most must be finite and >= {FEWEST}: got {most}. Where it is not enough, the labels"
            " are ∞."
        )
    found = Forecasts.of(influence)
    rows = pd.DataFrame([_labels_row(found, risk, most) for risk in risks])
    return rows.assign(extrapolated=rows["labels"] > influence.pool.n)


def _labels_row(found: Forecasts, risk: float, most: float) -> dict[str, float]:
    """The labels of one risk; the fewest are those of the smallest risks."""
    labels, drawn, fewest, largest = (
        [_first_size(one, risk, most) for one in group]
        for group in ([found.point], found.draws, found.bracket.least, found.bracket.most)
    )
    low, high = np.quantile(drawn, QUANTILES, method="nearest")
    ends = {"at_least": min(low, *fewest), "at_most": max(high, *largest)}
    return {"risk": risk, "labels": labels[0], "low": low, "high": high} | ends


def _first_size(one: Curves, risk: float, most: float) -> float:
    """Bisection over whole n: the best risk falls with n."""
    low, high = FEWEST - 1, int(most)
    if one.best(high)[1] > risk:
        return np.inf
    while high - low > max(1, PRECISION * low):
        middle = int(np.sqrt(low * high)) if high > 4 * low else (low + high) // 2
        low, high = (low, middle) if one.best(max(middle, FEWEST))[1] <= risk else (middle, high)
    return float(high)
