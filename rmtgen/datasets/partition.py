"""The division of a folder without train/ and test/: seeded, stratified, equal files together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from numbers import Real

import numpy as np

from rmtgen.datasets.images import StoredImages, content_digest
from rmtgen.errors import UsageError

SHARE = 0.2
"""Share of the images of each class that are for the test, where none is asked for."""


def check_share(share: float | None) -> float:
    """The share of test images; `SHARE` for None.

    Raises:
        UsageError: It is not a number between 0 and 1.
    """
    if share is None:
        return SHARE
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
        raise UsageError(
            f"split must be the share of test images, a number between 0 and 1, got {share!r}."
            " Leave it out for 0.2."
        )
    return float(share)


def test_counts(classes: np.ndarray, share: float) -> dict[str, int]:
    """The number of test images of each class: its share, at least one of two or more images."""
    names, counts = np.unique(classes, return_counts=True)
    return {
        name: min(max(1, round(share * count)), count - 1)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True)
    }


def divide(
    images: StoredImages,
    names: Sequence[str],
    classes: np.ndarray,
    *,
    share: float,
    seed: int,
) -> np.ndarray:
    """Which images are for the test.

    Files with equal bytes go to one side. Files of several classes with equal bytes, which are
    labelled against each other, go to training. The order in which a class gives images to the
    test is a hash of the seed and of their names, so that it depends on no other image.

    Args:
        images: n images.
        names: Their names, CLASS/IMAGE, whatever is around them.
        classes: Their classes.
        share: The share of test images in each class, between 0 and 1.
        seed: Seed ≥ 0.

    Returns:
        Booleans, (n,): at most `test_counts` are true in each class, and fewer only where equal
        files cannot be divided so.
    """
    groups = _equal_files(images)
    wanted = test_counts(classes, share)
    keys = [
        blake2b(f"{seed} ".encode() + name.encode(errors="surrogateescape"), digest_size=8).digest()
        for name in names
    ]
    is_test = np.zeros(len(names), dtype=bool)
    for members in sorted(groups, key=lambda members: min(keys[row] for row in members)):
        labels = {classes[row] for row in members}
        label = classes[members[0]]
        if len(labels) == 1 and len(members) <= wanted[label]:
            wanted[label] -= len(members)
            is_test[members] = True
    return is_test


def _equal_files(images: StoredImages) -> list[list[int]]:
    """The positions of all images, those with equal bytes in one list.

    Only files of one size are read.
    """
    _, inverse, counts = np.unique(images.file_sizes(), return_inverse=True, return_counts=True)
    suspected = np.flatnonzero(counts[inverse] > 1).tolist()
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda row: content_digest(images.read(row)), suspected)
        keys = dict(zip(suspected, digests, strict=True))
    groups: dict[object, list[int]] = {}
    for row in range(len(images)):
        groups.setdefault(keys.get(row, row), []).append(row)
    return list(groups.values())
