"""Planted failures: draws of clean samples, and what makes their risk something else.

Each failure changes a clean draw in one way, of a strength that its docstring states, and says
which samples it touched.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

Pool = tuple[np.ndarray, np.ndarray]
"""Features and class labels."""


@dataclass(frozen=True, eq=False)
class Draw:
    """n training samples, and tests after them.

    Attributes:
        features: (n + m, p).
        labels: Classes, (n + m,).
        n: Number of training samples.
        classes: Number of classes of the pool.
        values: Targets that take the place of the labels, (n + m,).
        single: Whether the Gram matrix is float32.
        ridge: λ over tr K/n.
        planted: Positions of the training samples that were touched.
        planted_tests: Of the test samples, from 0.
    """

    features: np.ndarray
    labels: np.ndarray
    n: int
    classes: int
    values: np.ndarray | None = None
    single: bool = False
    ridge: float = 1e-3
    planted: np.ndarray = field(default_factory=lambda: np.array([], int))
    planted_tests: np.ndarray = field(default_factory=lambda: np.array([], int))

    @property
    def targets(self):
        """One column per class less its share, or the values."""
        if self.values is not None:
            return self.values[:, None]
        return np.eye(self.classes)[self.labels] - 1 / self.classes

    def report(self, trust_report):
        """The trust report of the draw."""
        gram = self.features @ self.features[: self.n].T
        gram = gram.astype(np.float32) if self.single else gram
        return trust_report(
            gram[: self.n],
            self.targets[: self.n],
            ridge=self.ridge * float(np.trace(gram[: self.n])) / self.n,
            test_gram=gram[self.n :],
            test_targets=self.targets[self.n :],
        )

    def with_train(self, features):
        """The same with other training features."""
        return replace(self, features=np.vstack([features, self.features[self.n :]]))

    def with_tests(self, features):
        """The same with other test features."""
        return replace(self, features=np.vstack([self.features[: self.n], features]))


def clean(pool: Pool, n: int, m: int, rng: np.random.Generator) -> Draw:
    """A random draw without a failure."""
    features, labels = pool
    order = rng.permutation(len(features))[: n + m]
    return Draw(features[order].astype(float), labels[order], n, int(labels.max()) + 1)


def _train(draw, share, rng):
    return rng.permutation(draw.n)[: round(share * draw.n)]


def _spread(draw):
    return draw.features[: draw.n].std(axis=0)


def _signal(draw, rng):
    """A linear signal of variance 1 in the leading directions."""
    centred = draw.features - draw.features[: draw.n].mean(axis=0)
    left, _, right = np.linalg.svd(centred[: draw.n], full_matrices=False)
    del left
    signal = (centred @ right[:20].T) / (centred[: draw.n] @ right[:20].T).std(axis=0)
    signal = signal @ rng.standard_normal(signal.shape[1])
    return signal / signal[: draw.n].std()


def exact_duplicates(draw, rng):
    """5 % of the training samples replaced by copies of others, labels too."""
    order = rng.permutation(draw.n)
    count = round(0.05 * draw.n)
    copies, sources = order[:count], order[count : 2 * count]
    features, labels = draw.features.copy(), draw.labels.copy()
    features[copies], labels[copies] = features[sources], labels[sources]
    touched = np.concatenate([copies, sources])
    return replace(draw, features=features, labels=labels, planted=touched)


def near_duplicates(draw, rng):
    """15 % replaced by copies with noise of a tenth of the spread of the features."""
    order = rng.permutation(draw.n)
    count = round(0.15 * draw.n)
    copies, sources = order[:count], order[count : 2 * count]
    features, labels = draw.features.copy(), draw.labels.copy()
    noise = 0.1 * _spread(draw) * rng.standard_normal((count, features.shape[1]))
    features[copies], labels[copies] = features[sources] + noise, labels[sources]
    touched = np.concatenate([copies, sources])
    return replace(draw, features=features, labels=labels, planted=touched)


def leaked_tests(draw, rng):
    """10 % of the tests replaced by training samples."""
    m = len(draw.labels) - draw.n
    tests, sources = rng.permutation(m)[: m // 10], rng.integers(0, draw.n, m // 10)
    features, labels = draw.features.copy(), draw.labels.copy()
    features[draw.n + tests], labels[draw.n + tests] = features[sources], labels[sources]
    return replace(draw, features=features, labels=labels, planted_tests=tests)


def _mislabelled(draw, chosen, rng):
    labels = draw.labels.copy()
    labels[chosen] = (labels[chosen] + rng.integers(1, draw.classes, len(chosen))) % draw.classes
    return replace(draw, labels=labels)


def mislabelled_train(draw, rng):
    """20 % of the training labels wrong."""
    return _mislabelled(draw, _train(draw, 0.2, rng), rng)


def mislabelled_tests(draw, rng):
    """20 % of the test labels wrong."""
    m = len(draw.labels) - draw.n
    return _mislabelled(draw, draw.n + rng.permutation(m)[: m // 5], rng)


def class_prior(draw, rng):
    """Tests of half of the classes twice as often as of the others."""
    tests = np.arange(draw.n, len(draw.labels))
    rare = tests[draw.labels[tests] >= draw.classes // 2]
    kept = np.setdiff1d(tests, rng.permutation(rare)[: len(rare) // 2])
    return _subset(draw, np.concatenate([np.arange(draw.n), kept]), draw.n)


def _subset(draw, order, n):
    return replace(draw, features=draw.features[order], labels=draw.labels[order], n=n)


def missing_in_train(draw, rng):
    """One class in ten lacks its training samples."""
    absent = rng.permutation(draw.classes)[: max(draw.classes // 10, 1)]
    train = np.flatnonzero(~np.isin(draw.labels[: draw.n], absent))
    return _subset(draw, np.concatenate([train, np.arange(draw.n, len(draw.labels))]), len(train))


def missing_in_tests(draw, rng):
    """One class in ten lacks its tests."""
    absent = rng.permutation(draw.classes)[: max(draw.classes // 10, 1)]
    tests = draw.n + np.flatnonzero(~np.isin(draw.labels[draw.n :], absent))
    return _subset(draw, np.concatenate([np.arange(draw.n), tests]), draw.n)


def covariate_shift(draw, rng):
    """The features of the tests permuted."""
    return draw.with_tests(draw.features[draw.n :, rng.permutation(draw.features.shape[1])])


def leaked_label(draw, rng):
    """A feature that tells the label, among the training samples alone."""
    scale = np.square(_spread(draw)).sum() ** 0.5
    told = np.eye(draw.classes)[draw.labels] * scale
    told[draw.n :] = 0
    return replace(draw, features=np.hstack([draw.features, told]))


def outlier(draw, rng):
    """One training sample a hundred times as far from the mean."""
    chosen = rng.integers(0, draw.n, 1)
    mean, features = draw.features[: draw.n].mean(axis=0), draw.features.copy()
    features[chosen] = mean + 100 * (features[chosen] - mean)
    return replace(draw, features=features, planted=chosen)


def t3_features(draw, rng):
    """Every sample stretched about the mean as Student's t with three degrees of freedom."""
    mean = draw.features[: draw.n].mean(axis=0)
    stretch = 1 / np.sqrt(rng.chisquare(3, len(draw.labels)) / 3)
    return replace(draw, features=mean + stretch[:, None] * (draw.features - mean))


def _noisy(draw, noise, rng, ridge=1e-2):
    return replace(draw, values=_signal(draw, rng) + noise, ridge=ridge)


def t3_noise(draw, rng):
    """Targets that are linear, with noise of t with three degrees of freedom, variance 1."""
    return _noisy(draw, rng.standard_t(3, len(draw.labels)) / 3**0.5, rng)


def cauchy_noise(draw, rng):
    """Targets that are linear, with a tenth of Cauchy noise."""
    return _noisy(draw, 0.1 * rng.standard_cauchy(len(draw.labels)), rng)


def heteroscedastic_noise(draw, rng):
    """Noise in proportion to the distance from the mean in another direction."""
    scale = np.abs(_signal(draw, rng))
    return _noisy(draw, scale * rng.standard_normal(len(scale)), rng)


def autoregressive_noise(draw, rng):
    """Noise of variance 1 that remembers .7 of the sample before."""
    noise = rng.standard_normal(len(draw.labels))
    for row in range(1, len(noise)):
        noise[row] = 0.7 * noise[row - 1] + (1 - 0.7**2) ** 0.5 * noise[row]
    return _noisy(draw, noise, rng)


def trend(draw, rng):
    """Targets that rise by two standard deviations of the noise along the training samples."""
    rise = np.concatenate([np.linspace(0, 2, draw.n), rng.uniform(0, 2, len(draw.labels) - draw.n)])
    return _noisy(draw, rise + rng.standard_normal(len(rise)), rng)


def sorted_classes(draw, rng):
    """The training samples in the order of their classes."""
    order = np.argsort(draw.labels[: draw.n], kind="stable")
    return _subset(draw, np.concatenate([order, np.arange(draw.n, len(draw.labels))]), draw.n)


def constant_features(draw, rng):
    """All samples alike."""
    return replace(draw, features=np.ones_like(draw.features), planted=np.arange(draw.n))


def zero_rows(draw, rng):
    """5 % of the training samples without any feature."""
    chosen, features = _train(draw, 0.05, rng), draw.features.copy()
    features[chosen] = 0
    return replace(draw, features=features, planted=chosen)


def float32_rounding(draw, rng):
    """A float32 Gram matrix at a ridge of a hundred millionth."""
    return replace(draw, single=True, ridge=1e-8)


def batches(draw, rng):
    """Batches of 25 training samples, every second one scaled by 1.2."""
    features = draw.features.copy()
    features[: draw.n][np.arange(draw.n) // 25 % 2 == 1] *= 1.2
    return replace(draw, features=features)


def other_preprocessing(draw, rng):
    """The features of the tests scaled by 1.3."""
    return draw.with_tests(1.3 * draw.features[draw.n :])


def saturated(draw, rng):
    """2 % of the training samples with one feature at 65,504, the largest float16."""
    chosen, features = _train(draw, 0.02, rng), draw.features.copy()
    features[chosen, rng.integers(0, features.shape[1], len(chosen))] = 65504.0
    return replace(draw, features=features, planted=chosen)


def swapped_transforms(draw, rng):
    """The training features standardised by themselves, those of the tests not."""
    mean, spread = draw.features[: draw.n].mean(axis=0), _spread(draw)
    return draw.with_train((draw.features[: draw.n] - mean) / np.where(spread > 0, spread, 1))


def video_frames(draw, rng):
    """Scenes of five frames in turn, which differ by a third of the spread of the features."""
    scene = np.arange(draw.n) // 5 * 5
    noise = _spread(draw) * rng.standard_normal((draw.n, draw.features.shape[1])) / 3
    moved = draw.with_train(draw.features[scene] + noise)
    labels = np.concatenate([draw.labels[scene], draw.labels[draw.n :]])
    return replace(moved, labels=labels)


FAILURES: tuple[Callable[[Draw, np.random.Generator], Draw], ...] = (
    *(exact_duplicates, near_duplicates, leaked_tests, mislabelled_train, mislabelled_tests),
    *(class_prior, missing_in_train, missing_in_tests, covariate_shift, leaked_label),
    *(outlier, t3_features, t3_noise, cauchy_noise, heteroscedastic_noise),
    *(autoregressive_noise, trend, sorted_classes, video_frames, batches),
    *(constant_features, zero_rows, saturated, float32_rounding, other_preprocessing),
    swapped_transforms,
)
"""The planted failures."""
