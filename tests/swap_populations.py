"""Pairs of Gaussian representations whose shares of spectrum and alignment are known."""

import numpy as np

from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.effective_ridge import omniscient_risk


def gaussian_pools(decays, falls, noise, seed, n=400, p=1200):
    """Two Gaussian representations: their populations σ, v², and a pool of each."""
    rng, k = np.random.default_rng(seed), np.arange(1, p + 1.0)
    populations, pools = [], []
    for place, (decay, fall) in enumerate(zip(decays, falls, strict=True)):
        sigma, power = k**-decay, k**-fall / (k**-fall).sum()
        features = rng.standard_normal((n, p)) * np.sqrt(sigma)
        signs = np.random.default_rng(place).choice([-1, 1], p)
        targets = features @ (signs * np.sqrt(power / sigma))
        targets += noise**0.5 * rng.standard_normal(n)
        values, vectors = np.linalg.eigh(features @ features.T)
        energies = (vectors.T @ targets) ** 2
        pools.append(Spectrum.of_power(values[::-1].copy(), energies[::-1].copy(), 0.0, n))
        populations.append((sigma, power))
    return populations, pools


def true_shares(populations, noise, n):
    """Shares of the known populations, over a fine grid of ridges."""
    risk = np.array(
        [
            [
                omniscient_risk(
                    sigma, power, sigma.sum() * np.geomspace(1e-9, 10, 200), n, noise
                ).min()
                for _, power in populations
            ]
            for sigma, _ in populations
        ]
    )
    logs = np.log(risk)
    return (logs[0] - logs[1]).mean(), (logs[:, 0] - logs[:, 1]).mean()
