"""Clouds of features around class means, for the tests of the rivals."""

import numpy as np


def clouds(n, p, *, classes=3, apart=1.0, seed=0):
    """Features (n, p) and labels (n,): class means `apart` noises from the origin; every class
    occurs."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    means = apart * rng.standard_normal((classes, p)) / np.sqrt(p)
    return means[labels] + rng.standard_normal((n, p)) / np.sqrt(p), labels


def source_probabilities(n, sources, *, classes=3, apart=1.0, seed=0):
    """Softmax of clouds: probabilities (n, sources) and labels (n,)."""
    logits, labels = clouds(n, sources, classes=classes, apart=apart, seed=seed)
    weights = np.exp(3 * logits)
    return weights / weights.sum(axis=1, keepdims=True), labels
