"""Pools of a known population, for the tests of scaling laws."""

import numpy as np
import torch

from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.forecast import deltas
from rmtgen.theory.influence import Influence
from rmtgen.theory.scaling import (
    scaling_laws,
)

A, B = 1.5, 1.8
SIZE, MODES = 640, 6400
SIGMA = np.arange(1, MODES + 1.0) ** -A
POWER = np.arange(1, MODES + 1.0) ** -B / (np.arange(1, MODES + 1.0) ** -B).sum()
ORDER = [
    *("noise", "decay", "alignment", "power"),
    *("kappa", "ridgeless", "best_ridge", "fixed_sum_ridge", "fixed_ridge"),
]


def drawn(noise, seed=0):
    """A Gaussian pool of a = 1.5, b = 1.8: its Gram matrix and targets."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((SIZE, MODES)) * np.sqrt(SIGMA)
    weights = rng.choice([-1.0, 1.0], MODES) * np.sqrt(POWER / SIGMA)
    return (
        features @ features.T,
        (features @ weights + np.sqrt(noise) * rng.standard_normal(SIZE))[:, None],
    )


def laws_of(gram, targets):
    modes = gram_modes(gram)
    pool = Spectrum.of(modes, targets)
    return scaling_laws(
        Influence.of(pool, modes, torch.from_numpy(targets), deltas(pool))
    ).set_index("quantity")
