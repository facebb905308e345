"""Seeded subsets: the first n images of a seeded order, so that subsets of one seed are nested."""

import numpy as np

from rmtgen.datasets.images import LabelledImages
from rmtgen.errors import UsageError
from rmtgen.tasks import require_varying, task_of

SPLITS = ("train", "test")
"""Names of the two splits."""


def subset_order(data: LabelledImages, *, seed: int, stratify: bool, shuffle: bool) -> np.ndarray:
    """The order of a split whose first n entries are the subset of size n.

    Args:
        data: The full split, n images.
        seed: As for `shuffled_order`.
        stratify: As for `shuffled_order`.
        shuffle: False: the order of the source.

    Returns:
        int64, (n,): positions in `data`.

    Raises:
        UsageError: As for `shuffled_order`; or `stratify` is given without `shuffle`, or without
            classes.
    """
    if stratify and task_of(data.labels) != "classes":
        raise UsageError(
            f"stratify balances classes: the images of {data.name} have"
            f" {task_of(data.labels)}. Leave it out."
        )
    if shuffle:
        return shuffled_order(data, seed=seed, stratify=stratify)
    if stratify:
        raise UsageError(
            "stratify draws the subset, got shuffle=False with it. Leave one of them out."
        )
    return np.arange(len(data))


def shuffled_order(data: LabelledImages, *, seed: int, stratify: bool) -> np.ndarray:
    """A seeded permutation of a split; its first n entries are the subset of size n.

    Each seed and each split has its own random stream. With `stratify`, the class counts of every
    such subset differ by at most one, except for classes that are exhausted.

    Args:
        data: The full split, n images.
        seed: ≥ 0.
        stratify: Take one image of each class in turn.

    Returns:
        int64, (n,): positions in `data`.

    Raises:
        UsageError: `seed` is negative or not an integer.
    """
    check_seed(seed)
    stream = np.random.SeedSequence(int(seed), spawn_key=(SPLITS.index(data.split),))
    rng = np.random.default_rng(stream)
    shuffle = rng.permutation(len(data))
    return shuffle[_dealt_in_turn(data.labels[shuffle], rng)] if stratify else shuffle


def check_seed(seed: int) -> None:
    """Require an integer ≥ 0.

    Raises:
        UsageError: It is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed must be an integer ≥ 0, got {seed!r}.")


def _dealt_in_turn(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of rounds: each round has the next image of every class, in random order.

    Image j of its class, counted from 0, belongs to round j.
    """
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    first = np.cumsum(counts) - counts
    rounds = np.empty(len(labels), dtype=np.int64)
    rounds[by_class] = np.arange(len(labels)) - first[labels[by_class]]
    return np.lexsort((rng.permutation(len(labels)), rounds))


def check_size(size: int | None, data: LabelledImages) -> None:
    """Require that `size` is None (all images) or at most the number of images.

    Raises:
        UsageError: It is not.
    """
    if size is None:
        return
    if (
        isinstance(size, bool)
        or not isinstance(size, int | np.integer)
        or not 1 <= size <= len(data)
    ):
        raise UsageError(
            f"{data.split} size must be between 1 and the {len(data)} images of {data.name}"
            f" {data.split}, got {size!r}. Ask for {len(data)} at most."
        )


def check_learnable(subset: LabelledImages, full: LabelledImages) -> None:
    """Require that a training subset has what there is to learn in the full split.

    Raises:
        UsageError: A class has no image in it, a value is the same in all of its images, or every
            label is in all of them or in none.
    """
    if task_of(subset.labels) == "classes":
        _check_every_class(subset, full)
        return
    require_varying(subset.labels, full.classes, full.name)


def _check_every_class(subset: LabelledImages, full: LabelledImages) -> None:
    present = np.unique(full.labels)
    missing = [full.classes[label] for label in np.setdiff1d(present, subset.labels)]
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UsageError(
            f"every class needs a training image: {len(missing)} of the {len(present)} classes of"
            f" {full.name} have none among {len(subset)} ({shown}). Take more training images, or a"
            f" class-balanced subset: stratify=True with at least {len(present)}."
        )
