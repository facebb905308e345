"""Problems with planted spectra: features X = U diag(σ) Vᵀ with orthonormal U, V, so that rank and
eigenvalues are known."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    features: np.ndarray  # (n, p)
    targets: np.ndarray  # (n, c), one-hot
    test_features: np.ndarray  # (m, p)
    test_targets: np.ndarray  # (m, c), one-hot
    singular: np.ndarray  # (r,), descending

    @property
    def gram(self):
        return self.features @ self.features.T

    @property
    def test_gram(self):
        return self.test_features @ self.features.T

    @property
    def rank(self):
        return len(self.singular)

    def ridges(self, relative=(1e-4, 1e-2, 1.0, 1e2)):
        return np.asarray(relative) * np.trace(self.gram) / len(self.features)


def orthonormal(rows, columns, rng):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def onehot(labels, classes):
    return np.eye(classes)[labels]


def plant(name, n, p, singular, *, seed=0, m=15, classes=3):
    """Test samples are random combinations of the same modes, so that they lie in the span of the
    features."""
    rng = np.random.default_rng(seed)
    singular = np.sort(np.asarray(singular, dtype=float))[::-1]
    right = orthonormal(p, len(singular), rng)
    features = orthonormal(n, len(singular), rng) * singular @ right.T
    test_features = rng.standard_normal((m, len(singular))) * singular @ right.T / np.sqrt(n)
    scores = rng.standard_normal((p, classes))
    labels, test_labels = (
        np.argmax(x @ scores + 0.1 * rng.standard_normal((len(x), classes)), 1)
        for x in (features, test_features)
    )
    return Case(
        name,
        features,
        onehot(labels, classes),
        test_features,
        onehot(test_labels, classes),
        singular,
    )


TALL = plant("tall", n=24, p=9, singular=np.geomspace(1, 3, 9))
WIDE = plant("wide", n=16, p=40, singular=np.geomspace(0.3, 3, 16))
SQUARE = plant("square", n=14, p=14, singular=np.geomspace(0.3, 2, 14))
DEFICIENT_WIDE = plant("deficient-wide", n=20, p=33, singular=np.geomspace(0.2, 2, 11))
DEFICIENT_TALL = plant("deficient-tall", n=20, p=12, singular=np.geomspace(0.2, 2, 7))
REPEATED = plant("repeated", n=18, p=30, singular=np.repeat([2.0, 1.0, 0.5], 6))
POWER_LAW = plant("power-law", n=22, p=60, singular=np.arange(1, 23) ** -0.75)
CASES = (TALL, WIDE, SQUARE, DEFICIENT_WIDE, DEFICIENT_TALL, REPEATED, POWER_LAW)
DEFICIENT = (TALL, DEFICIENT_WIDE, DEFICIENT_TALL)


def lonely_sample():
    """Rank-deficient, and sample 0 alone owns a feature: its null leverage is exactly 0, so its
    ridgeless LOO is 0/0."""
    rng = np.random.default_rng(5)
    features = np.zeros((12, 5))
    features[0, 4] = 2.0
    features[1:, :4] = rng.standard_normal((11, 4))
    features[0, :4] = rng.standard_normal(4)
    return features, rng.standard_normal((12, 2))
