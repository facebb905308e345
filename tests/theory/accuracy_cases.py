"""Populations of classes whose error is measured by fits to fresh draws."""

from dataclasses import dataclass

import numpy as np
import torch

import rmtgen
from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge.targets import encode_targets

TESTS = 4000


@dataclass(frozen=True)
class Labelled:
    """Labels of noisy linear scores of features with a power law."""

    classes: int
    width: int
    noise: float = 0.5

    def sample(self, count, rng):
        mix = np.random.default_rng(9).standard_normal((self.width, self.classes))
        features = rng.standard_normal((count, self.width)) * np.arange(1, self.width + 1) ** -0.5
        spread = self.noise * rng.standard_normal((count, self.classes))
        return features, np.argmax(features @ mix + spread, axis=1)

    def coded(self, labels):
        return np.eye(self.classes)[labels] - 1 / self.classes

    def influence(self, count, rng):
        features, labels = self.sample(count, rng)
        return influence_of(features, labels, self.classes)

    def errors(self, size, ridge, draws, rng, top=1):
        """Test error of each of several fits to fresh samples."""
        tests, known = self.sample(TESTS, rng)
        found = []
        for _ in range(draws):
            features, labels = self.sample(size, rng)
            gram = features.T @ features + size * ridge * np.eye(self.width)
            scores = tests @ np.linalg.solve(gram, features.T @ self.coded(labels))
            own = np.take_along_axis(scores, known[:, None], 1)
            found.append(((scores > own).sum(1) >= top).mean())
        return np.array(found)


def influence_of(features, labels, classes, coding="centered"):
    targets = encode_targets(torch.from_numpy(labels), classes, coding)
    modes = gram_modes(features @ features.T, intercept=targets.intercept)
    return rmtgen.pool_influence(modes, targets.values)
