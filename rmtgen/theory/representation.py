"""Tables that describe one representation, to compare it with another.

Notation: K of a pool of N samples with eigenvalues s_i, σ_i = s_i/N, c_i² the power of the targets
in mode i, κ the effective ridge.
"""

import numpy as np
import pandas as pd
from torch import Tensor

from rmtgen.linalg.rows import Rows
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.alignment import (
    bias_against_df,
    cumulative_power,
    effective_ranks,
    kernel_target_alignment,
    learnability,
    participation_ratio,
)
from rmtgen.theory.curves import deltas
from rmtgen.theory.extrapolation import curves
from rmtgen.theory.swaps import Population

CURVE_POINTS = 200
"""Approximate number of points of the table of curves."""
MATCHED = (1e-1, 1e-3, 1e-5)
"""Effective ridges κ, relative to tr Σ, at which representations are compared."""
MODES = 300
"""Largest number of rows of the table of modes, spread over the logarithm of the index."""


def curve_table(pool: Spectrum) -> pd.DataFrame:
    """κ, df1, df2 and B + noise of a pool (`alignment.bias_against_df`)."""
    grid = deltas(pool)
    return bias_against_df(pool, grid[:: max(1, len(grid) // CURVE_POINTS)])


def summary_table(pool: Spectrum, targets: np.ndarray | Tensor | Rows) -> pd.DataFrame:
    """Numbers without a unit that describe a representation: `quantity value`.

    `participation_ratio` (tr K)²/‖K‖_F², `effective_rank` tr K/‖K‖, `kernel_target_alignment`, and
    at effective ridges κ of 10⁻¹, 10⁻³ and 10⁻⁵ tr Σ the degrees of freedom `df1`, the share of the
    targets' power that is `unlearnt` there, (B + noise)/E‖y‖², and the `learnability` of what the
    modes explain.

    Args:
        pool: Spectrum of the pool.
        targets: Targets (N, c) that it was made with.
    """
    curve = curve_table(pool).sort_values("relative_kappa")
    population = Population.of(pool)
    rows = {
        "participation_ratio": participation_ratio(pool.eigenvalues),
        "effective_rank": effective_ranks(pool.eigenvalues)[0][0],
        "kernel_target_alignment": kernel_target_alignment(pool, targets),
    }
    for level in MATCHED:
        at = {
            name: np.interp(np.log(level), np.log(curve["relative_kappa"]), curve[name])
            for name in ("df1", "floor")
        }
        kappa = level * population.eigenvalues.sum()
        rows |= {
            f"df1 at {level:g}": at["df1"],
            f"unlearnt at {level:g}": at["floor"] / (pool.energy / pool.n),
            f"learnability at {level:g}": learnability(
                population.eigenvalues, population.power, kappa
            ),
        }
    return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})


def mode_table(pool: Spectrum) -> pd.DataFrame:
    """At most `MODES` of a pool's modes, from the first to the last.

    Returns:
        One row per mode: `mode eigenvalue power cumulative_power r R learnability`. `mode` counts
        from 1; eigenvalue σ_i = s_i/N; power c_i²/N; r and R the effective ranks of the modes from
        this one on; learnability σ_i/(σ_i + κ) at the best ridge of all N samples.
    """
    place = np.unique(np.geomspace(1, pool.rank, MODES).astype(int)) - 1
    sums, spreads = effective_ranks(pool.eigenvalues)
    _, _, kappa = curves(pool).best(pool.n)
    sigma = pool.eigenvalues / pool.n
    columns = {
        "eigenvalue": sigma,
        "power": pool.power / pool.n,
        "cumulative_power": cumulative_power(pool.power, pool.null_energy),
        "r": sums,
        "R": spreads,
        "learnability": sigma / (sigma + kappa),
    }
    return pd.DataFrame(
        {"mode": place + 1} | {name: values[place] for name, values in columns.items()}
    )
