"""Rows of several stores as one: against stacks of arrays, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.store.batched_rows import BatchedRows, FeatureLayout
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.side_by_side import SideBySide


class Arrays(BatchedRows):
    """Rows in memory, which count how often a batch is read."""

    def __init__(self, train, test, batch_size=4, classes=("x", "y")):
        labels = (np.arange(len(rows)) % 2 for rows in (train, test))
        self.layout = FeatureLayout(*labels, classes, train.shape[1], batch_size)
        self.rows, self.reads = {"train": train, "test": test}, 0

    def check_batch(self, split, batch):
        if not np.isfinite(self.rows[split][self.layout.span(split, batch)]).all():
            raise MissingInputError(f"no batch {batch}")

    def read_batch(self, split, batch):
        self.reads += 1
        return self.rows[split][self.layout.span(split, batch)]


def arrays(seed, n, m, dims):
    rng = np.random.default_rng(seed)
    return [
        tuple(rng.standard_normal((count, dim)).astype(np.float32) for count in (n, m))
        for dim in dims
    ]


@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 13),
    m=st.integers(0, 6),
    dims=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    first=st.integers(1, 13),
)
def test_rows_are_those_of_the_scaled_arrays_side_by_side(
    tmp_path_factory, seed, n, m, dims, first
):
    given_, scales = arrays(seed, n, m, dims), [0.5 + place for place in range(len(dims))]
    both = SideBySide([Arrays(*pair) for pair in given_], scales)
    for place, split in enumerate(("train", "test")):
        pairs = zip(given_, scales, strict=True)
        expected = np.hstack([pair[place] / scale for pair, scale in pairs])
        found = both.read(split)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert found == pytest.approx(expected, rel=1e-6)
        if len(expected):
            mapped = both.mapped(split, tmp_path_factory.getbasetemp())
            assert np.array_equal(mapped, found)
    rows = min(first, n)
    assert np.array_equal(both.first("train", rows), both.read("train")[:rows])
    assert both.layout.dim == sum(dims)


def test_labels_are_those_of_the_member_that_is_said():
    pairs = arrays(0, 5, 2, (2, 3))
    members = [
        Arrays(*pair, classes=names) for pair, names in zip(pairs, ("ab", "cd"), strict=True)
    ]
    assert SideBySide(members, [1, 1], labelled=1).layout.classes == "cd"
    assert SideBySide(members, [1, 1]).layout.classes == "ab"


def test_nothing_is_read_before_every_member_has_all_that_is_asked_for():
    (first, test), (second, other) = arrays(0, 9, 0, (2, 3))
    second[6] = np.nan
    members = [Arrays(first, test), Arrays(second, other)]
    both = SideBySide(members, [1, 1])
    with pytest.raises(MissingInputError, match="no batch 1"):
        both.read("train")
    assert not any(member.reads for member in members)
    assert both.first("train", 4).shape == (4, 5)


@pytest.mark.parametrize(("n", "batch_size"), [(8, 4), (9, 3)])
def test_other_images_or_batches_are_no_rows_side_by_side(n, batch_size):
    ((first, test),) = arrays(0, 9, 2, (2,))
    ((other, test_other),) = arrays(0, n, 2, (3,))
    members = [Arrays(first, test), Arrays(other, test_other, batch_size)]
    message = rf"got 9 \+ 2 in batches of 4, {n} \+ 2 in batches of {batch_size}\. Extract them"
    with pytest.raises(CorruptInputError, match=message):
        SideBySide(members, [1, 1])


def test_stores_on_disk_are_verified_as_they_are_read(tmp_path):
    ((train, test),) = arrays(0, 6, 2, (3,))
    stores = []
    for name in ("a", "b"):
        layout = FeatureLayout(np.arange(6) % 2, np.arange(2), ("x", "y"), 3, 4)
        store = FeatureStore.create(tmp_path / name, layout, "f")
        for split, rows in (("train", train), ("test", test)):
            for batch in layout.batches(split):
                store.write(split, batch, rows[layout.span(split, batch)])
        store.shards.seal()
        stores.append(FeatureStore.open(tmp_path / name))
    both = SideBySide(stores, [1.0, 2.0])
    assert np.array_equal(both.read("train"), np.hstack([train, train / 2]))
    path = next((tmp_path / "b" / "features").glob("train-000001*"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptInputError, match="b/features/train-000001"):
        SideBySide([FeatureStore.open(tmp_path / name) for name in "ab"], [1, 1]).read("train")
