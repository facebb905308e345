"""Pools for the tests of transport, and plain references."""

import numpy as np
import pytest
import reference
from cases import CASES
from scipy.optimize import brentq

from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def pool_of(case, intercept=False):
    return Spectrum.of(gram_modes(case.gram, intercept=intercept), case.targets)


def centred_rank(case, intercept):
    return np.linalg.matrix_rank(case.features - intercept * case.features.mean(axis=0), tol=1e-9)


def plain_transport(gram, targets, n, ridge, intercept):
    """The three steps at λ > 0, each from its definition: κ̂ and κ̂' of the pool at ℓ, df1, df2 and
    B + noise, and ℓ by brentq."""
    size = len(gram)

    def pool(log_aux):
        inverse = size * reference.resolvent(gram, size * np.exp(log_aux), intercept)
        kappa = size / np.trace(inverse)
        kappa_prime = size * (inverse**2).sum() / np.trace(inverse) ** 2
        floor = kappa**2 * ((inverse @ targets) ** 2).sum() / size / kappa_prime
        return kappa, size * (1 - np.exp(log_aux) / kappa), size * (1 - 1 / kappa_prime), floor

    def excess(log_aux):
        kappa, df1, _, _ = pool(log_aux)
        return np.log(kappa * (1 - df1 / n) / ridge) if df1 < n else -np.inf

    def bounded(log_aux):
        return np.clip(excess(log_aux), -50, 50)

    low, high = np.log(ridge), np.log(size * (ridge + np.trace(gram) / n))
    kappa, df1, df2, floor = pool(
        low if n == size else brentq(bounded, low, high, xtol=1e-14, rtol=1e-14)
    )
    return floor / (1 - df2 / n), kappa, df1 - intercept, df2 - intercept
