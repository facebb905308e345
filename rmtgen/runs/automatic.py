"""The numbers that a configuration leaves to be chosen: of images, and of samples."""

from typing import TYPE_CHECKING

from rmtgen.runs.parsers import parse_grid

if TYPE_CHECKING:
    from rmtgen.runs.config import Config

MOST_TRAIN = 10_000
"""Training images that are taken by default from a data set that has more."""
MOST_TEST = 2_000
"""Test images likewise."""


def image_counts(config: "Config") -> dict[str, int]:
    """As many images as the data set has, of each split for which no number is given."""
    if "auto" not in (config.train, config.test):
        return {}
    # here, because it imports NumPy and Pillow, which `--help` does without
    from rmtgen.datasets.catalogue import default_sizes

    caps = MOST_TRAIN, MOST_TEST if config.test else 0
    skip, labelling = config.on_corrupt == "skip", config.labelling
    sizes = default_sizes(config.dataset, config.split, *caps, skip=skip, labelling=labelling)
    found = dict(zip(("train", "test"), sizes, strict=True))
    return {name: size for name, size in found.items() if getattr(config, name) == "auto"}


def geometric_sizes(train: int) -> tuple[int, ...]:
    """Sample sizes in geometric steps up to the pool."""
    low = max(2, min(100, train // 8))
    if train <= low:
        return (train,)
    return tuple(map(int, parse_grid(f"{low}:{train}:8", integers=True)))
