"""How near the 0-1 error predicted from one pool is to that of fits, within the pool and beyond.

`make bench BENCH=accuracy_of_fits`: pools of classes with noisy linear scores, and of the features
and Gram matrices of the runs that `FEATURES=RUN,…` and `GRAM=RUN,…` name. Each of `REPLICATES`
pools (6) of `POOL` samples (500) predicts the error at sizes and ridges within it, and at the best
ridge at 2, 4 and 8 times its size. Fits to other subsets, of that size, are measured on samples
that no fit or pool has; the standard error of those adds to the interval in quadrature. Nominal is
.95. The last column is the median half-width.
"""

import os

import numpy as np

from rmtgen import predicted_error
from rmtgen.tables import Table
from tests.bench.pools import Features, Kernel, held, named

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""Sizes within the pool, relative to it."""
RELATIVE = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ over the mean squared norm of the features."""
HORIZONS = (2, 4, 8)
"""Sizes beyond the pool, relative to it."""
REFITS = 4
"""Fits of each size within the pool, whose mean error is compared."""
HELD_OUT = 10_000
"""Largest number of samples that measure an error."""
HEADINGS = ("pools", "size", "fits", "error", "median |off|", "largest", "mean off", "covered")
HEADINGS += ("half-width",)


def drawn(count, classes=10, width=600):
    """Features with a power law and labels of their noisy linear scores."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, width)) * np.arange(1, width + 1) ** -0.6
    scores = features @ rng.standard_normal((width, classes))
    labels = (scores + rng.standard_normal(scores.shape)).argmax(axis=1)
    return Features("linear scores", features, labels, classes)


def one_pool(samples, size, seed):
    """Rows (horizon, predicted, low, high, measured, its standard error) of one pool."""
    count = min(HELD_OUT, len(samples) - HORIZONS[-1] * size)
    rest, tests = samples.order(count, [4, seed])
    ridges, influence = np.array(RELATIVE) * samples.unit, samples.influence(rest[:size])

    def errors(chosen, at):
        return samples.fits(chosen, tests, at)["test_error"].to_numpy()

    sizes = [round(size * share) for share in SHARES]
    within, known = predicted_error(influence, sizes, ridges=ridges), []
    for n in sizes:
        rngs = [np.random.default_rng([5, seed, n, number]) for number in range(REFITS)]
        known += list(np.mean([errors(rng.permutation(rest)[:n], ridges) for rng in rngs], axis=0))
    horizons = [1] * len(within) + list(HORIZONS)
    beyond = predicted_error(influence, [size * horizon for horizon in HORIZONS])
    known += [errors(rest[: row.n], [row.ridge])[0] for row in beyond.itertuples()]
    for horizon, row, error in zip(
        horizons, [*within.itertuples(), *beyond.itertuples()], known, strict=True
    ):
        spread = (error * (1 - error) / len(tests)) ** 0.5
        yield horizon, row.predicted_error, row.low, row.high, error, spread


def rows(samples, size, replicates):
    """Rows of the table."""
    pools = [row for seed in range(replicates) for row in one_pool(samples, size, seed)]
    horizons, *columns = np.transpose(pools)
    for horizon in (1, *HORIZONS):
        predicted, low, high, error, spread = (values[horizons == horizon] for values in columns)
        off, inside = predicted - error, held(error, predicted, low, high, spread)
        numbers = (error.mean(), np.median(abs(off)), abs(off).max(), off.mean(), inside.mean())
        yield (
            samples.name,
            "n <= N" if horizon == 1 else f"{horizon} N",
            str(len(off)),
            *(f"{number:.3f}" for number in (*numbers, np.median(high - low) / 2)),
        )


def main() -> None:
    """Print the table."""
    size, replicates = (
        int(os.environ.get(name, n)) for name, n in (("POOL", 500), ("REPLICATES", 6))
    )
    sources = [*named("FEATURES", Features), *named("GRAM", Kernel)]
    sources.append(drawn(HORIZONS[-1] * size + HELD_OUT))
    for samples in sources:
        found = tuple(rows(samples, size, replicates))
        print(f"{Table(HEADINGS, found, '<<' + '>' * 7).text()}\n", flush=True)
