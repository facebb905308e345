"""Populations whose risk of a fit is known: features, targets, and a test set that measures it.

A test set of p rows √p Σ^½ e_k with targets from the same weights has the mean loss
(b − β)ᵀΣ(b − β): the risk of a fit without its noise, exactly. Populations that are not linear have
one of many samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TESTS = 8000
"""Number of test samples where the risk is no closed form."""


@dataclass(frozen=True, eq=False)
class Population:
    """Where samples come from.

    Attributes:
        sample: From n and a generator, features (n, p) and targets (n, c).
        tests: Features and targets whose mean loss is the risk less `noise`.
        noise: Variance of the targets that no fit explains.
        trace: tr Σ, the scale of ridges.
        intercept: Whether fits have an intercept.
    """

    sample: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    tests: tuple[np.ndarray, np.ndarray]
    noise: float
    trace: float
    intercept: bool = False


def linear(root, weights, noise, features=None, errors=None, stretch=1.0):
    """y = xᵀβ + ε with x of covariance `stretch`·root·rootᵀ.

    Args:
        root: (p, p), or (p,) for a diagonal one.
        weights: β (p,).
        noise: Variance of ε.
        features: From n, p and a generator, uncorrelated features of variance `stretch`; Gaussian.
        errors: From n and a generator, ε of variance 1; Gaussian.
        stretch: Variance of `features`.
    """
    root = np.diag(root) if root.ndim == 1 else root
    features = features or (lambda n, p, rng: rng.standard_normal((n, p)))
    errors = errors or (lambda n, rng: rng.standard_normal(n))

    def sample(n, rng):
        drawn = features(n, len(root), rng) @ root.T
        return drawn, (drawn @ weights + noise**0.5 * errors(n, rng))[:, None]

    rows = (stretch * len(root)) ** 0.5 * root.T
    return Population(sample, (rows, (rows @ weights)[:, None]), noise, stretch * (root**2).sum())


def sampled(sample, *, intercept=False):
    """A population of which only samples are known."""
    tests = sample(TESTS, np.random.default_rng(999))
    centred = tests[0] - intercept * tests[0].mean(axis=0)
    return Population(sample, tests, 0.0, (centred**2).sum(axis=1).mean(), intercept)


def _unit(p, seed=0):
    return np.random.default_rng(seed).standard_normal(p) / p**0.5


def _elliptical(n, p, rng):
    """Student's t with three degrees of freedom, the features of a sample stretched together."""
    return rng.standard_normal((n, p)) / np.sqrt(rng.chisquare(3, n) / 3)[:, None]


def _power_law(p, decay=1.5, fall=1.8):
    k = np.arange(1, p + 1.0)
    signs = np.random.default_rng(0).choice([-1, 1], p)
    power = k**-fall
    return k ** (-decay / 2), np.sqrt(power / k**-decay) * signs, power.sum()


def _correlated(p=200, near=0.95):
    places = np.arange(p)
    root = np.linalg.cholesky(near ** np.abs(places[:, None] - places))
    weights = np.zeros(p)
    weights[::10] = _unit(20)
    return root, weights


def _rectified():
    rng = np.random.default_rng(0)
    weights, bias = rng.standard_normal((10, 400)) / 10**0.5, 0.3 * rng.standard_normal(400)

    def sample(n, rng):
        inputs = rng.standard_normal((n, 10))
        targets = np.sin(inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] / 2
        return np.maximum(inputs @ weights + bias, 0), (targets + 0.3 * rng.standard_normal(n))[
            :, None
        ]

    return sample


def _imbalanced():
    rng = np.random.default_rng(0)
    centres, weights = rng.standard_normal((4, 20)), rng.standard_normal((20, 200)) / 20**0.5

    def sample(n, rng):
        labels = rng.choice(4, n, p=[0.9, 0.06, 0.03, 0.01])
        inputs = rng.standard_normal((n, 20)) + centres[labels]
        return np.maximum(inputs @ weights, 0), np.eye(4)[labels]

    return sample


def populations():
    """The populations of the coverage table, by name."""
    root, weights, power = _power_law(600)
    decaying = np.arange(1, 151.0) ** -0.35
    slow = np.arange(1, 201.0) ** -0.25
    return {
        "isotropic, p = n/2": linear(np.ones(150), _unit(150), 0.25),
        "isotropic, p = 2n": linear(np.ones(600), _unit(600), 0.25),
        "power law": linear(root, weights, 0.1 * power),
        "correlated": linear(*_correlated(), 0.25),
        "ReLU": sampled(_rectified()),
        "imbalanced classes": sampled(_imbalanced(), intercept=True),
        "t3 features": linear(decaying, _unit(150), 0.25, features=_elliptical, stretch=3.0),
        "t3 noise": linear(
            slow,
            _unit(200),
            0.75,
            errors=lambda n, rng: rng.standard_t(3, n) / 3**0.5,
        ),
    }
