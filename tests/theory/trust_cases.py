"""Draws of samples, and short forms of what a trust report says of them."""

import numpy as np
import pytest
import torch

from rmtgen.theory.diagnostics import trust_report
from rmtgen.theory.resolvent import resolvents

N, TESTS = 220, 220
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def gaussian(count, rng, decay=0.0, p=2 * N):
    return rng.standard_normal((count, p)) * np.arange(1, p + 1.0) ** (-decay / 2)


def power_law(count, rng):
    return gaussian(count, rng, 1.5)


def slow_decay(count, rng):
    return gaussian(count, rng, 0.7)


def uniform(count, rng):
    return rng.uniform(-1, 1, (count, 2 * N))


def relu(count, rng):
    return np.maximum(rng.standard_normal((count, 30)) @ rng.standard_normal((30, 600)), 0)


def large_mean(count, rng):
    return gaussian(count, rng, 0.7) + 10


def one_dimension(count, rng):
    return rng.standard_normal((count, 1))


def mixture(count, rng):
    return 2 * rng.standard_normal((10, 2 * N))[rng.integers(0, 10, count)] + gaussian(
        count, rng, 0.7
    )


CONTROLS = (gaussian, power_law, slow_decay, uniform, relu, large_mean, one_dimension, mixture)
controls = pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)


def linear(features, rng, noise=0.3):
    signal = features @ rng.standard_normal(features.shape[1])
    return (signal - signal.mean()) / signal.std() + noise * rng.standard_normal(len(features))


def report(features, targets, relative=1e-3, n=N, *, labelled=False, **options):
    """Of the first n rows, tested on the others, with their targets where they are `labelled`."""
    gram = features @ features[:n].T
    ridge = relative * np.trace(gram[:n]) / n
    tests = {"test_gram": gram[n:]} if len(gram) > n else {}
    tests |= {"test_targets": targets[n:]} if labelled else {}
    return trust_report(gram[:n], targets[:n], ridge=ridge, **tests, **options)


def tripped(found):
    return {finding.detector for finding in found.findings if finding.tripped}


def value(found, detector):
    return {finding.detector: finding.value for finding in found.findings}[detector]


def values(found):
    return np.array([finding.value for finding in found.findings])


def both(gram, sum_ridge):
    return resolvents(torch.from_numpy(gram), sum_ridge)


def small(n=14, p=9, m=4, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n + m, p)) + 2
    return features[:n], features[n:], rng.standard_normal((n, 2))


def elliptical(rng, decay=0.0):
    features = gaussian(N, rng, decay) / np.sqrt(rng.chisquare(3, N) / 3)[:, None]
    return features, linear(features, rng)
