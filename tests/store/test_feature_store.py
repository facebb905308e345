"""FeatureStore: both splits behind one file, batch by batch, missing and damaged ones refused."""

import h5py
import numpy as np
import pytest

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.store.batched_rows import FeatureLayout
from rmtgen.store.feature_store import FeatureStore

RNG = np.random.default_rng(0)
FEATURES = {
    "train": RNG.normal(size=(11, 3)).astype(np.float32),
    "test": RNG.normal(size=(5, 3)).astype(np.float32),
}
LAYOUT = FeatureLayout(np.arange(11) % 2, np.arange(5) % 2, ("ash", "oak<"), dim=3, batch_size=4)


def fill(store, skip=()):
    for split in ("train", "test"):
        for batch in store.pending(split):
            if (split, batch) not in skip:
                store.write(split, batch, FEATURES[split][store.layout.span(split, batch)])


def test_features_and_labels_come_back(tmp_path):
    fill(FeatureStore.create(tmp_path, LAYOUT, "fingerprint"))
    store = FeatureStore.open(tmp_path)
    with h5py.File(tmp_path / "features.h5") as file:
        for split in ("train", "test"):
            np.testing.assert_array_equal(store.read(split), FEATURES[split])
            np.testing.assert_array_equal(file[split], FEATURES[split])
            np.testing.assert_array_equal(store.layout.labels(split), LAYOUT.labels(split))
    assert store.layout.classes == ("ash", "oak<")
    assert all(path.exists() for path in store.files())
    assert len(store.files()) == 3 + 2 + 2


def test_an_unfinished_store_resumes_at_its_batch_and_is_not_read(tmp_path):
    fill(FeatureStore.create(tmp_path, LAYOUT, "fingerprint"), skip=[("train", 1)])
    store = FeatureStore.create(tmp_path, LAYOUT, "fingerprint")
    assert (store.pending("train"), store.pending("test")) == ([1], [])
    with pytest.raises(MissingInputError, match=r"train-000001\.h5"):
        store.read("train")
    with h5py.File(tmp_path / "features.h5") as file:
        assert np.isnan(file["train"][()]).any(axis=1).tolist() == [
            4 <= row < 8 for row in range(11)
        ]
    np.testing.assert_array_equal(store.read("test"), FEATURES["test"])


def test_the_first_images_are_read_where_later_ones_are_lacking(tmp_path):
    fill(FeatureStore.create(tmp_path, LAYOUT, "fingerprint"), skip=[("train", 2)])
    store = FeatureStore.open(tmp_path)
    for rows in (1, 4, 5, 8):
        np.testing.assert_array_equal(store.first("train", rows), FEATURES["train"][:rows])
    with pytest.raises(MissingInputError, match=r"train-000002\.h5"):
        store.first("train", 9)


def test_a_flipped_byte_is_named(tmp_path):
    store = FeatureStore.create(tmp_path, LAYOUT, "fingerprint")
    fill(store)
    victim = store.shards.path("test-000001")
    data = bytearray(victim.read_bytes())
    data[-5] ^= 8
    victim.write_bytes(data)
    with pytest.raises(CorruptInputError, match=r"test-000001\.h5 is not what was written"):
        FeatureStore.open(tmp_path).read("test")


def test_features_of_other_images_are_not_mixed(tmp_path):
    fill(FeatureStore.create(tmp_path, LAYOUT, "fingerprint"))
    with pytest.raises(StaleInputError, match="made from other inputs"):
        FeatureStore.create(tmp_path, LAYOUT, "other")


def test_what_is_not_a_store_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no features at .*rmtgen extract"):
        FeatureStore.open(tmp_path)
    (tmp_path / "features.h5").write_bytes(b"x")
    with pytest.raises(CorruptInputError, match="not a feature store"):
        FeatureStore.open(tmp_path)
