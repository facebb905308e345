"""Populations and pools with known spectra."""

import numpy as np
from hypothesis import strategies as st

from rmtgen.linalg.spectrum import Spectrum

# γ = p/n, λ, R for isotropic features with signal 1 and noise 1/4
ISOTROPIC = [
    (0.5, 0, 0.5),
    (0.5, 0.5, 0.508883),
    (2, 0, 1.0),
    (2, 0.5, 0.890388),
    (4, 0, 1.083333),
    (4, 0.5, 1.062926),
]


def isotropic(p, signal=1.0):
    return np.ones(p), np.full(p, signal / p)


def power_law(p, a=1.5, b=1.8):
    i = np.arange(1, p + 1.0)
    return i**-a, i**-b


def power_pool(decay, alignment, *, n=800, modes=120, null_energy=0.0):
    """A pool whose plug-in population is a power law."""
    index = np.arange(1.0, modes + 1)
    null_dim = n - modes
    power = n * index**-alignment + null_energy / null_dim
    return Spectrum.of_power(n * index**-decay, power, null_energy, n)


def decades(low, high):
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


ridges = st.one_of(st.just(0.0), decades(-32, 3))
spectra = st.lists(decades(-30, 0), min_size=1, max_size=30).map(np.array)
moderate = st.lists(decades(-3, 0), min_size=3, max_size=30).map(np.array)
