"""Forecasts of the risk beyond pools against fits: error, and how often the intervals hold it.

`make bench BENCH=forecast`: `REPLICATES` random pools (10) of each population of
`tests/populations.py`, N = 300, and of the digits of scikit-learn. `FEATURES=RUN,…` adds pools of
the features of runs, `GRAM=RUN,…` those of their Gram matrices. Each predicts the risk at the best
ridge at larger sizes. It is measured by fits to other samples, by the mean of `FITS` of them, and
held if it lies within the interval and its own standard error, in quadrature. Nominal is .95.
"""

import os

import numpy as np

from rmtgen import feature_modes, forecast, pool_influence, ridge_path_features
from rmtgen.tables import Table
from tests.bench.pools import Features, Kernel, digits, held, named
from tests.populations import populations

N, BEYOND = 300, (2, 4, 16)
"""Size of a pool of a population, and sizes that it predicts, over N."""
SIZES = (200, 400, 1000)
"""Sizes of pools of labelled samples."""
HORIZONS = (2, 4, 8, 16)
"""Sizes that they predict, over theirs."""
BEST = np.geomspace(1e-7, 10, 33)
"""λ over tr Σ among which the best is looked for."""
FITS, TESTS = 4, 10_000
"""Number of fits whose mean risk is the truth, and largest number of samples that measure it."""
FEWEST_TESTS = 300
HEADINGS = ("pools", "N", "n", "measured", "predicted", "interval", "error %", "rms %", "covered")
HEADINGS += ("width %", "bracket")
ALIGNED = "<" + ">" * 10


def scored(name, size, frames, known):
    """One row for each size predicted, from one table of each pool and the risks, with errors."""
    for place, (n, (risk, error)) in enumerate(zip(frames[0]["n"], known, strict=True)):
        columns = ["predicted_risk", "low", "high", "at_least", "at_most"]
        predicted, low, high, least, most = np.log(
            np.array([frame[columns].to_numpy()[place] for frame in frames]).T
        )
        truth, off = np.log(risk), predicted - np.log(risk)
        shares = [
            held(truth, predicted, *ends, error / risk).mean()
            for ends in ((low, high), (least, most))
        ]
        middle, start, end = np.exp([np.median(values) for values in (predicted, low, high)])
        yield (
            name,
            f"{size:,}",
            f"{n:,.0f}",
            f"{risk:.4f}",
            f"{middle:.4f}",
            f"{start:.3f}–{end:.3f}",
            f"{100 * np.expm1(np.median(off)):+.1f}",
            f"{100 * np.sqrt(np.mean(off**2)):.1f}",
            f"{shares[0]:.2f}",
            f"{100 * np.median(np.exp(high) - np.exp(low)) / risk:.0f}",
            f"{shares[1]:.2f}",
        )


def best(paths, noise=0.0):
    """The smallest mean risk of some fits over ridges, with its standard error."""
    risks = np.array([path["test_risk"] + noise for path in paths])
    place = int(risks.mean(axis=0).argmin())
    tested = np.mean([path["test_risk_se"][place] for path in paths])
    return risks.mean(axis=0)[place], np.hypot(tested, risks[:, place].std() / len(risks) ** 0.5)


def of_population(name, population, replicates):
    """Rows of pools of a population."""
    ridges = population.trace * BEST

    def fit(n, number):
        features, targets = population.sample(n, np.random.default_rng([5, n, number]))
        return ridge_path_features(
            features,
            targets,
            ridges=ridges,
            test_features=population.tests[0],
            test_targets=population.tests[1],
            loo=False,
            intercept=population.intercept,
        )

    sizes, known, frames = [N * factor for factor in BEYOND], [], []
    for n in sizes:
        risk, error = best([fit(n, number) for number in range(FITS)], population.noise)
        known.append((risk, 0.0 if population.noise else error))
    for number in range(replicates):
        features, targets = population.sample(N, np.random.default_rng([6, number]))
        modes = feature_modes(features, intercept=population.intercept)
        frames.append(forecast(pool_influence(modes, targets), sizes))
    return scored(name, N, frames, known)


def of_samples(samples, replicates):
    """Rows of pools of labelled samples."""
    most = len(samples.order(FEWEST_TESTS, 0)[0])

    def truth(n):
        paths = []
        for number in range(FITS):
            rest, tests = samples.order(min(TESTS, len(samples) - n), [7, number])
            paths.append(samples.fits(rest[:n], tests, samples.unit * BEST))
        return best(paths)

    known = {}
    for size in SIZES:
        sizes = [size * factor for factor in HORIZONS if size * factor <= most]
        known |= {n: truth(n) for n in sizes if n not in known}
        if sizes:
            frames = []
            for number in range(replicates):
                rest, _ = samples.order(FEWEST_TESTS, [8, number])
                frames.append(forecast(samples.influence(rest[:size]), sizes))
            yield from scored(samples.name, size, frames, [known[n] for n in sizes])


def main() -> None:
    """Print the table."""
    replicates = int(os.environ.get("REPLICATES", 10))
    found = [row for one in populations().items() for row in of_population(*one, replicates)]
    print(Table(HEADINGS, tuple(found), ALIGNED).text(), flush=True)
    sources = [digits(0), digits(2000), *named("FEATURES", Features), *named("GRAM", Kernel)]
    for samples in sources:
        print(
            f"\n{Table(HEADINGS, tuple(of_samples(samples, replicates)), ALIGNED).text()}",
            flush=True,
        )
