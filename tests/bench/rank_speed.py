"""A ranking of 24 representations of 50,000 images: seconds, and fractions of the rate of products.

`make bench BENCH=rank_speed`. The widths are those of layers of the backbones that the
documentation ranks. Features are made, one representation after another, and are not timed, nor
their extraction: in a ranking they are cached. What is timed is the probe of each, from its
features in memory to all that `rmtgen rank` says of it, and the comparison of all with all.

A probe is also set against the parts that no exact leave-one-out of n > p samples does without,
XᵀX in float64, its eigenvectors, and the modes of all samples in float32, at their measured rates.
"""

import os
import time

import numpy as np
import torch

from rmtgen.ranking.ranked import RELATIVE_RIDGES, coded, probe_of
from rmtgen.ranking.table import ranking
from tests.bench.figures import record
from tests.bench.machine import describe

BENCH = "rank_speed"
IMAGES = int(os.environ.get("IMAGES", "50000"))
CLASSES = 100
WIDTHS = (64, 128, 256, 512) * 2 + (256, 512, 1024, 2048) * 2 + (112, 192, 320, 1280) * 2
"""Stages of a ResNet-18, of a ResNet-50, and blocks of an EfficientNet-Lite, each twice."""
SIDE = 2048
"""Side of the products whose rate is measured."""


def main() -> None:
    """Record the seconds of the ranking, of each width, and what part of them products are."""
    print(describe())
    labels = np.random.default_rng(0).integers(0, CLASSES, IMAGES)
    targets = coded(labels, CLASSES, "centered")
    widths = sorted(set(WIDTHS))
    probes, spent, tried = {}, {one: [] for one in widths}, {one: [] for one in widths}
    for number, width in enumerate(WIDTHS):
        name, features = f"{number}: {width} features", made(labels, width, seed=number)
        start = time.perf_counter()
        probes[name] = probe_of(name, features, targets, RELATIVE_RIDGES)
        spent[width].append(time.perf_counter() - start)
        tried[width].append(probes[name].path["loo"].notna().sum())
    start = time.perf_counter()
    ranking(probes, "accuracy")
    compared = time.perf_counter() - start
    total = compared + sum(map(sum, spent.values()))
    case = f"{len(WIDTHS)} representations, n = {IMAGES:,}, {CLASSES} classes"
    record(BENCH, case, "ranking", total, "s")
    record(BENCH, case, "comparisons", compared, "s")
    rates = {dtype: rate(dtype) for dtype in (torch.float32, torch.float64)}
    for width, times in spent.items():
        case, own = f"{width} features", min(times)
        record(BENCH, case, "probe", own, "s")
        record(BENCH, case, "part without which there is none", least(width, rates) / own, "")
        record(BENCH, case, "ridges tried", max(tried[width]), f"of {len(RELATIVE_RIDGES)}")


def made(labels, width, seed):
    """Features in float32, with variances k^−1.2 and a mean of every class."""
    rng = np.random.default_rng(seed)
    means = 0.3 * rng.standard_normal((CLASSES, width), dtype=np.float32)
    features = rng.standard_normal((len(labels), width), dtype=np.float32) + means[labels]
    features *= np.arange(1, width + 1, dtype=np.float32) ** -0.6
    return torch.from_numpy(features)


def rate(dtype):
    """Operations a second of a square product, the best of five."""
    matrix, best = torch.randn(SIDE, SIDE, dtype=dtype), np.inf
    for _ in range(6):
        start = time.perf_counter()
        _ = matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best


def least(width, rates):
    """Seconds of XᵀX, of its eigenvectors, and of the modes of all samples."""
    square = torch.randn(width, width, dtype=torch.float64)
    start = time.perf_counter()
    torch.linalg.eigh(square + square.mT)
    solved = time.perf_counter() - start
    products = IMAGES * width**2 * (1 / rates[torch.float64] + 2 / rates[torch.float32])
    return products + solved


if __name__ == "__main__":
    main()
