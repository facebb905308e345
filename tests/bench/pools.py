"""Labelled samples that pools are drawn from, and fits whose risk and error their tests measure.

Of features every sample can be in a pool, a fit or its tests; of a Gram matrix the test images of
its run alone can be tests.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from rmtgen import (
    encode_targets,
    feature_modes,
    gram_modes,
    pool_influence,
    ridge_path,
    ridge_path_features,
)
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramStore

SPLITS = ("train", "test")
QUANTILE = 1.959963984540054


def coded(labels, classes):
    """Centred targets."""
    return encode_targets(labels, classes, "centered").values[:].numpy()


@dataclass(frozen=True, eq=False)
class Features:
    """Samples by their features (n, p), with the class of each."""

    name: str
    values: np.ndarray
    labels: np.ndarray
    classes: int

    @classmethod
    def of_run(cls, run):
        """Those of both splits of a run."""
        store = FeatureStore.open(Path(run))
        values = np.concatenate([store.read(split) for split in SPLITS]).astype(float)
        labels = np.concatenate([store.layout.labels(split) for split in SPLITS])
        return cls(_title(run), values, labels, len(store.layout.classes))

    def __len__(self):
        return len(self.labels)

    @property
    def unit(self):
        """The scale of ridges, tr K/n."""
        return np.square(self.values).sum() / len(self)

    @cached_property
    def targets(self):
        """Centred targets of all samples."""
        return coded(self.labels, self.classes)

    def order(self, tests, seed):
        """A random order of the samples, in two parts: those to draw from, and so many tests."""
        order = np.random.default_rng(seed).permutation(len(self))
        return order[: len(order) - tests], order[len(order) - tests :]

    def influence(self, chosen):
        """The influence of the pool of some samples."""
        return pool_influence(feature_modes(self.values[chosen]), self.targets[chosen])

    def fits(self, chosen, tests, ridges):
        """The ridge path of a fit, with its test risk and error."""
        return ridge_path_features(
            self.values[chosen],
            self.targets[chosen],
            ridges=ridges,
            test_features=self.values[tests],
            test_targets=self.targets[tests],
            loo=False,
        )


@dataclass(frozen=True, eq=False)
class Kernel:
    """Samples by their Gram matrix, the training images first, then the test images."""

    name: str
    gram: np.ndarray
    labels: np.ndarray
    classes: int
    features: int

    @classmethod
    def of_run(cls, run):
        """That of a run, float64."""
        run, store = Path(run), FeatureStore.open(Path(run))
        labels = np.concatenate([store.layout.labels(split) for split in SPLITS])
        features = json.loads((run / "gram.json").read_text())["details"]["features"]
        gram = GramStore.open(run).read().astype(float)
        return cls(_title(run), gram, labels, len(store.layout.classes), features)

    def __len__(self):
        return len(self.gram)

    @property
    def unit(self):
        """The scale of ridges, tr K/n."""
        return np.trace(self.gram) / self.gram.shape[1]

    @cached_property
    def targets(self):
        """Centred targets of all samples."""
        return coded(self.labels, self.classes)

    def order(self, tests, seed):  # noqa: ARG002 - the tests are those of the run
        """A random order of the training images, and the test images."""
        size = self.gram.shape[1]
        return np.random.default_rng(seed).permutation(size), np.arange(size, len(self))

    def influence(self, chosen):
        """The influence of the pool of some samples."""
        modes = gram_modes(self.gram[np.ix_(chosen, chosen)])
        return pool_influence(modes, self.targets[chosen], features=self.features)

    def fits(self, chosen, tests, ridges):
        """The ridge path of a fit, with its test risk and error."""
        return ridge_path(
            self.gram[np.ix_(chosen, chosen)],
            self.targets[chosen],
            ridges=ridges,
            test_gram=self.gram[np.ix_(tests, chosen)],
            test_targets=self.targets[tests],
            loo=False,
        )


def digits(width):
    """The 1,797 digits of scikit-learn: their 64 pixels, or random rectified features of them."""
    images, labels = load_digits(return_X_y=True)
    values, name = images / 16 - 0.3, "digits, pixels"
    if width:
        random = np.random.default_rng(0).standard_normal((values.shape[1], width))
        values, name = np.maximum(values @ random / 8, 0), f"digits, {width:,} ReLU"
    return Features(name, values, labels, 10)


def named(variable, kind):
    """Those of the runs that an environment variable names, with commas between."""
    return [kind.of_run(run) for run in os.environ.get(variable, "").split(",") if run]


def _title(run):
    return Path(run).name.rsplit("-", 1)[0]


def held(known, predicted, low, high, error):
    """Whether intervals hold what is known up to a standard error: both errors in quadrature."""
    allowed = QUANTILE * error
    below, above = np.hypot(predicted - low, allowed), np.hypot(high - predicted, allowed)
    return (predicted - below <= known) & (known <= predicted + above)
