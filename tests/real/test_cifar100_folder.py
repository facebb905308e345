"""Real CIFAR-100, read in place from a tar of 60,000 lossless pictures."""

from pathlib import Path

import numpy as np
import pytest

from rmtgen.datasets import load_dataset, load_split

ARCHIVE = Path(__file__).parents[2] / "../shared/data/cifar100.tar"
NAME = f"folder:{ARCHIVE}"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs real CIFAR-100 at {ARCHIVE}")


@pytest.fixture(scope="module")
def train():
    return load_dataset(NAME, seed=7)


@pytest.fixture(scope="module")
def held_out():
    return load_dataset(NAME, split="test", seed=7)


@pytest.fixture(scope="module")
def split():
    return load_split(NAME, train=2000, test=1000, seed=7)


def test_it_is_cifar100(train, held_out):
    assert (len(train), len(held_out), len(train.classes)) == (50_000, 10_000, 100)
    assert train.classes == held_out.classes
    assert train.classes[:3] == ("apple", "aquarium_fish", "baby")
    assert np.array_equal(np.bincount(train.labels), np.full(100, 500))
    assert np.array_equal(np.bincount(held_out.labels), np.full(100, 100))


def test_the_training_mean_is_the_published_one(train):
    means = np.stack(
        [
            np.asarray(picture).mean(axis=(0, 1)) / 255
            for picture in train.subset(slice(2000)).images
        ]
    )
    standard_error = means.std(axis=0) / np.sqrt(len(means))
    assert np.all(np.abs(means.mean(axis=0) - [0.5071, 0.4865, 0.4409]) < 4 * standard_error)
    assert np.all(standard_error < 0.006)


def test_a_split_shares_no_image(split, train):
    assert (len(split.train), len(split.test), split.skipped) == (2000, 1000, ())
    train_pixels, test_pixels = (
        {picture.tobytes() for picture in data.images} for data in (split.train, split.test)
    )
    assert len(test_pixels) > 990
    assert not train_pixels & test_pixels
    assert set(split.train.indices) <= set(train.indices[: 2000 + len(split.duplicates)])


def test_ten_training_images_are_also_test_images(train, held_out):
    """The data set's own flaw: `load_split` has something to leave out."""
    test_digests = set(held_out.digests())
    assert sum(digest in test_digests for digest in train.digests()) == 10


def test_a_stratified_split_is_balanced():
    split = load_split(NAME, train=500, test=200, seed=7, stratify=True)
    counts = np.bincount(split.train.labels, minlength=100)
    assert counts.max() - counts.min() <= len(
        split.duplicates
    )  # one that is left out is made up for by the next class
    assert np.array_equal(np.bincount(split.test.labels), np.full(100, 2))
