"""Seeded subsets: an order of the whole split, of which every subset is a head, so that subsets of
one seed are nested.
"""

import numpy as np

from rmtgen.datasets.images import LabelledImages
from rmtgen.errors import UsageError

SPLITS = ("train", "test")


def shuffled_order(data: LabelledImages, *, seed: int, stratify: bool) -> np.ndarray:
    """A seeded permutation of a split; the first n of it are the subset of size n.

    Different seeds and different splits use independent streams. With `stratify`, the class counts
    of every head differ by at most one, but for classes that are used up.

    Args:
        data: The full split, n images.
        seed: ≥ 0.
        stratify: Deal the classes out in turn.

    Returns:
        int64, (n,): positions in `data`.

    Raises:
        UsageError: `seed` is negative or no integer.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed must be an integer ≥ 0, got {seed!r}.")
    stream = np.random.SeedSequence(int(seed), spawn_key=(SPLITS.index(data.split),))
    rng = np.random.default_rng(stream)
    shuffle = rng.permutation(len(data))
    return shuffle[_dealt_in_turn(data.labels[shuffle], rng)] if stratify else shuffle


def _dealt_in_turn(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first image of every class, then the second of every class, and so on; in each round the
    classes in random order.
    """
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    first = np.cumsum(counts) - counts
    rounds = np.empty(len(labels), dtype=np.int64)
    rounds[by_class] = np.arange(len(labels)) - first[labels[by_class]]
    return np.lexsort((rng.permutation(len(labels)), rounds))


def check_size(size: int | None, data: LabelledImages) -> None:
    """Raises a `UsageError` unless `size` is None (all), or a count that the split can give."""
    if size is None:
        return
    if (
        isinstance(size, bool)
        or not isinstance(size, int | np.integer)
        or not 1 <= size <= len(data)
    ):
        raise UsageError(
            f"{data.split} size must be between 1 and the {len(data)} images of {data.name}"
            f" {data.split}, got {size!r}. Leave it out (None) for all of them."
        )


def check_every_class(subset: LabelledImages, full: LabelledImages) -> None:
    """Raises a `UsageError` if a class of the full training split has no image in its subset."""
    present = np.unique(full.labels)
    missing = [full.classes[label] for label in np.setdiff1d(present, subset.labels)]
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UsageError(
            f"every class needs a training image: {len(missing)} of the {len(present)} classes of"
            f" {full.name} have none among {len(subset)} ({shown}). Take more training images, or a"
            f" class-balanced subset: stratify=True with at least {len(present)}."
        )
