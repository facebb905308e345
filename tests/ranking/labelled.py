"""Samples with two values or labels, their probe, and the fit of some of them written plainly."""

import numpy as np

from rmtgen.ranking.probe import Probe
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.outputs import split_targets
from rmtgen.ridge.problem import Problem

P, RIDGES = 6, (1e-3, 0.03, 0.3, 3.0)
SCALE = np.arange(1, P + 1) ** -0.6
SLOPES = np.random.default_rng(7).standard_normal((P, 2))


def drawn(n, seed=0, noise=(1.0, 2.0)):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, P)) * SCALE
    values = features @ SLOPES + np.array(noise) * rng.standard_normal((n, 2))
    return features, np.array([1000.0, 1.0]) * values + np.array([2000.0, -3.0])


def probed(features, labels, task, *, gram=False, ridges=RIDGES):
    targets, _ = split_targets(labels, labels[:0], labels.shape[1], "intercept")
    kernel = (
        GramKernel.checked(features @ features.T, None)
        if gram
        else FeatureKernel.checked(features, None)
    )
    problem = Problem.checked(kernel, targets.values, None, loo=True, intercept=True)
    return Probe.of(problem, ridges, task=task)


def fitted(features, targets, ridge, count):
    """Predictions of the fit to some samples, at the sum ridge of `count`."""
    means = features.mean(axis=0), targets.mean(axis=0)
    x, y = features - means[0], targets - means[1]
    weights = np.linalg.solve(x.T @ x + count * ridge * np.eye(x.shape[1]), x.T @ y)
    return lambda points: (points - means[0]) @ weights + means[1]
