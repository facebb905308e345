"""How often the interval of the leave-one-out error covers the error of the fit.

`make bench BENCH=coverage_errors`: `REPLICATES` draws (100) of each population, whose error 3,000
other samples measure, and of scikit-learn's digits, whose others do. Nominal is .95; naive is
Wilson's interval of so many independent samples. Both may be off by the error of the measurement.
"""

import os
import warnings

import numpy as np
from sklearn.datasets import load_digits

from rmtgen import KernelRidgeGCVClassifier
from rmtgen.errors import RmtgenWarning
from rmtgen.ridge.shares import wilson
from rmtgen.tables import Table

TESTS = 3000
QUANTILE = 1.959963984540054
RIDGES = (1e-4, 1e-1, None)
"""λ over tr K/n; None: that which GCV chooses."""


def linear(classes, p, noise, threshold=0.0):
    """Samples whose class is that of the largest of some noisy linear scores."""

    def draw(n, rng):
        weights = np.random.default_rng(0).standard_normal((p, classes)) / p**0.5
        features = rng.standard_normal((n + TESTS, p))
        scores = features @ weights + noise * rng.standard_normal((n + TESTS, classes))
        scores[:, 0] += threshold
        return features, scores.argmax(axis=1)

    return draw


def digits(n, rng):
    """The pixels of digits in a random order."""
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    return images[order] / 16, labels[order]


HEADINGS = ("population", "n", "λ n/tr K", "error", "LOO", "naive", "covered", "width")
CASES = {
    "two classes, p = n/4": (100, linear(2, 25, 1.0)),
    "two classes, p = 2n": (100, linear(2, 200, 0.3)),
    "a class of one in thirteen, p = n/4": (200, linear(2, 50, 0.7, 2.3)),
    "five classes, p = n/2": (200, linear(5, 100, 0.5)),
    "digits, n = 60": (60, digits),
    "digits, n = 300": (300, digits),
}


def main() -> None:
    """One row per population and ridge."""
    warnings.simplefilter("ignore", RmtgenWarning)
    rows = [
        (name, str(n), f"{relative:g}" if relative else "GCV", *figures(n, draw, relative))
        for name, (n, draw) in CASES.items()
        for relative in RIDGES
    ]
    print(Table(HEADINGS, tuple(rows)).text())


def figures(n, draw, relative):
    """The mean error and that of leave-one-out, both coverages, and the median width."""
    rows = []
    for number in range(int(os.environ.get("REPLICATES", "100"))):
        features, labels = draw(n, np.random.default_rng([2, number]))
        own = features[:n] - features[:n].mean(axis=0)
        ridges = None if relative is None else [relative * np.square(own).sum() / n]
        model = KernelRidgeGCVClassifier(ridges).fit(features[:n], labels[:n])
        error = 1 - model.score(features[n:], labels[n:])
        allowed = QUANTILE * (error * (1 - error) / (len(labels) - n)) ** 0.5
        left_out = model.loo_error_
        naive = wilson(left_out, (left_out * (1 - left_out) / n) ** 0.5, n)
        hits = [
            held(error, left_out, *ends, allowed) for ends in (naive, model.loo_error_interval_)
        ]
        rows.append((error, left_out, *hits, np.ptp(model.loo_error_interval_)))
    *means, width = np.mean(rows, axis=0)
    return [f"{mean:.3f}" for mean in means[:2]] + [f"{mean:.2f}" for mean in (*means[2:], width)]


def held(known, middle, low, high, allowed):
    """Whether an interval holds what is known up to `allowed`, both in quadrature."""
    below, above = np.hypot(middle - low, allowed), np.hypot(high - middle, allowed)
    return middle - below <= known <= middle + above


if __name__ == "__main__":
    main()
