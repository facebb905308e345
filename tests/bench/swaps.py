"""How often the interval of a swap covers the spectrum's share, and the alignment's.

`make bench BENCH=swaps`: pairs of Gaussian representations of 400 samples with σ_k ∝ k^(−a) and
v_k² ∝ k^(−b), `REPLICATES` (100) draws of each. Nominal is .95, with the distance to the plug-in
share on top.
"""

import os

import numpy as np

from rmtgen.tables import Table
from rmtgen.theory.swaps import swap
from tests.swap_populations import gaussian_pools, true_shares

PAIRS = (
    ((1.5, 1.1), (1.8, 1.3), 0.1),
    ((2.5, 1.02), (1.6, 1.6), 0.05),
    ((1.6, 1.2), (2.0, 1.4), 0.0),
    ((0.0, 1.3), (0.0, 1.5), 0.25),
)
"""Decays a, falls b, and the noise, of a signal of 1."""
SIZES = (25, 50, 100)
"""N/16, N/8 and N/4."""


def rows(decays, falls, noise, replicates):
    """One row per size and share."""
    drawn = [gaussian_pools(decays, falls, noise, seed) for seed in range(replicates)]
    for n in SIZES:
        known = true_shares(drawn[0][0], noise, n)
        found = [swap(*pools, n) for _, pools in drawn]
        for name, truth in zip(("spectrum", "alignment"), known, strict=True):
            shares = np.array([getattr(one, f"{name}_share") for one in found])
            ends = np.array([getattr(one, f"{name}_interval") for one in found])
            covered = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
            numbers = (truth, shares.mean(), shares.std(ddof=1), np.ptp(ends, axis=1).mean() / 2)
            pair = f"a {decays[0]:g}, {decays[1]:g}; b {falls[0]:g}, {falls[1]:g}"
            yield (pair, str(n), name, *(f"{x:.3f}" for x in (*numbers, covered.mean())))


def main() -> None:
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", 100))
    found = [row for pair in PAIRS for row in rows(*pair, replicates)]
    headings = ("pair", "n", "share", "true", "mean", "s.d.", "half width", "covered")
    print(Table(headings, tuple(found), "<>" + "<" + ">" * 5).text())
