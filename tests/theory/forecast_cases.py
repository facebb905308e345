"""Gaussian pools with a power law, for the tests of the forecast."""

import numpy as np
import torch

from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.curves import deltas
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.influence import Influence

NOISE = 0.1


def population(p, a=1.5, b=1.8):
    i = np.arange(1, p + 1.0)
    return i**-a, i**-b / (i**-b).sum()


def drawn(size, p, seed, noise=NOISE):
    """A Gaussian pool of σ_i = i^−1.5 and v_i² ∝ i^−1.8, of sum 1: its Gram matrix and targets."""
    (sigma, power), rng = population(p), np.random.default_rng(seed)
    features = rng.standard_normal((size, p)) * np.sqrt(sigma)
    weights = rng.choice([-1.0, 1.0], p) * np.sqrt(power / sigma)
    return (
        features @ features.T,
        (features @ weights + np.sqrt(noise) * rng.standard_normal(size))[:, None],
    )


def influence_of(size, p, seed, noise=NOISE, intercept=False):
    gram, targets = drawn(size, p, seed, noise)
    modes = gram_modes(gram, intercept=intercept)
    pool = Spectrum.of(modes, targets)
    return Influence.of(pool, modes, torch.from_numpy(targets), deltas(pool))


def best_risk(p, sizes, noise=NOISE):
    """The omniscient risk at the best of 300 ridges."""
    ridges = np.concatenate([[0.0], np.geomspace(1e-8, 10, 300)])
    return omniscient_risk(*population(p), ridges[:, None], np.asarray(sizes, float), noise).min(
        axis=0
    )
