"""Power laws that curves of a population go on with below what a pool measures.

    df1 ∝ κ^(−1/a),      B + noise = floor + c·df1^(−s).

Here 1/a = 1 − df2/df1, because dlog df1/dlog κ = −(1 − df2/df1), and df2 = (1 − 1/a)·df1 below; s
is fitted over N/16 ≤ df1 ≤ N/2. Nothing bounds df1: where the number of features is known, `atoms`
takes the place of this.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from rmtgen.theory.curves import TRUSTED, Below, Curves, below
from rmtgen.theory.line_fit import PowerLaw

FITTED = 1 / 16
"""Smallest df1 that the tail is fitted to, relative to the pool's directions: three doublings."""
EXPONENTS = np.geomspace(0.05, 4, 200)
"""Candidate exponents s of a tail."""


def power_tail(whole: Curves, directions: int) -> Below:
    """The tail of a pool with so many directions.

    Raises:
        NumericalError: Too few points to fit it to.
    """
    fitted = whole.between(FITTED * directions, TRUSTED * directions, directions)
    _, factor, exponent = floor_law(whole.df1[fitted], whole.floor[fitted])
    first = whole.trusted_from(directions)
    start, df1, df2, floor = (
        values[first] for values in (whole.kappa, whole.df1, whole.df2, whole.floor)
    )
    kappa = below(start)
    tail = df1 * (kappa / start) ** -(1 - df2 / df1)
    constant = floor - factor * df1**-exponent
    risks = (
        constant + factor * tail**-exponent if constant > 0 else floor * (tail / df1) ** -exponent
    )
    return Below(kappa, tail, df2 / df1 * tail, risks)


def noiseless_tail(whole: Curves, directions: int) -> Below:
    """As `power_tail`, of targets without noise: B + noise falls as one power law for ever."""
    tail = power_tail(whole, directions)
    fitted = whole.between(FITTED * directions, TRUSTED * directions, directions)
    law = PowerLaw.of(whole.df1[fitted][::-1], whole.floor[fitted][::-1])
    first = whole.trusted_from(directions)
    falling = np.power(tail.df1 / whole.df1[first], min(law.slope, 0.0))
    return replace(tail, floor=whole.floor[first] * falling)


def floor_law(
    df1: Float64[np.ndarray, " k"], floor: Float64[np.ndarray, " k"]
) -> tuple[float, float, float]:
    """(T, c, s) of floor = T + c·df1^(−s), T and c ≥ 0, by least squares in the ratio to floor.

    For each s of `EXPONENTS` the two coefficients follow from the normal equations: both, where
    both come out positive, else the better one alone.
    """
    flat, falling = 1 / floor, np.power(df1, -EXPONENTS[:, None]) / floor
    aa, bb, ab = flat @ flat, np.square(falling).sum(axis=1), falling @ flat
    a, b, determinant = flat.sum(), falling.sum(axis=1), aa * bb - ab**2
    none = np.zeros_like(bb)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.stack([(a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant])
    tries = np.stack(
        [np.where((both >= 0).all(axis=0), both, np.inf), [none + a / aa, none], [none, b / bb]]
    )
    with np.errstate(invalid="ignore"):
        misfits = np.square(tries[:, 0, :, None] * flat + tries[:, 1, :, None] * falling - 1).sum(
            axis=2
        )
    which, place = np.unravel_index(np.nanargmin(misfits), misfits.shape)
    return float(tries[which, 0, place]), float(tries[which, 1, place]), float(EXPONENTS[place])
