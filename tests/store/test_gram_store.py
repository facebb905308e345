"""GramStore: one matrix to any HDF5 reader, one half computed, bad tiles refused."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtgen
from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, UsageError
from rmtgen.store.gram_store import GramLayout, GramStore
from rmtgen.store.gram_view import view_of
from rmtgen.store.shards import Piece, View, hdf5_image


def kernel(n_train, n_test):
    features = np.random.default_rng(0).normal(size=(n_train + n_test, 3))
    return features @ features[:n_train].T


def fill(store, matrix, skip=()):
    for tile in store.pending():
        if tile.name not in skip:
            store.write(
                tile, matrix[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop]
            )


@given(n_train=st.integers(1, 40), n_test=st.integers(0, 20), tile=st.integers(1, 17))
def test_tiles_and_their_mirrors_cover_every_entry_once(n_train, n_test, tile):
    layout = GramLayout(n_train, n_test, "float64", tile)
    count = np.zeros(layout.shape, dtype=int)
    for one in layout.tiles():
        rows, columns = slice(one.row_start, one.row_stop), slice(one.column_start, one.column_stop)
        count[rows, columns] += 1
        if one.mirrored:
            count[columns, rows] += 1
    assert (count == 1).all()
    blocks = -(-n_train // tile)
    assert (
        len([one for one in layout.tiles() if one.row_start < n_train])
        == blocks * (blocks + 1) // 2
    )


@pytest.mark.parametrize(
    ("n_train", "n_test", "tile"), [(25, 12, 8), (7, 0, 16), (16, 16, 16), (5, 3, 2)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_reader_sees_the_matrix(tmp_path, monkeypatch, n_train, n_test, tile, dtype):
    matrix = kernel(n_train, n_test).astype(dtype)
    fill(GramStore.create(tmp_path, GramLayout(n_train, n_test, dtype, tile)), matrix)
    monkeypatch.chdir("/")  # the view finds its shards from anywhere
    store = rmtgen.GramStore.open(tmp_path / "gram.h5")
    assert store.layout == GramLayout(n_train, n_test, dtype, tile)
    np.testing.assert_array_equal(store.read(), matrix)
    np.testing.assert_array_equal(store.as_dataset()[()], matrix)
    with h5py.File(tmp_path / "gram.h5") as file:
        assert file["gram"].dtype == dtype
        np.testing.assert_array_equal(file["gram"][3:, :2], matrix[3:, :2])
    assert store.verify() == len(store.layout.tiles())


def test_a_moved_store_still_reads(tmp_path):
    matrix = kernel(9, 4)
    (tmp_path / "old").mkdir()
    fill(GramStore.create(tmp_path / "old", GramLayout(9, 4, "float64", 4)), matrix)
    (tmp_path / "old").rename(tmp_path / "new")
    np.testing.assert_array_equal(GramStore.open(tmp_path / "new").as_dataset()[()], matrix)


@settings(max_examples=30)
@given(data=st.data())
def test_read_equals_numpy_indexing(tmp_path_factory, data):
    store = _shared_store(tmp_path_factory)
    rows = np.array(data.draw(st.lists(st.integers(0, 32), max_size=40)), dtype=np.int64)
    columns = np.array(data.draw(st.lists(st.integers(0, 20), max_size=30)), dtype=np.int64)
    np.testing.assert_array_equal(store.read(rows, columns), kernel(21, 12)[np.ix_(rows, columns)])
    np.testing.assert_array_equal(
        store.read(slice(2, 30, 5), columns), kernel(21, 12)[2:30:5][:, columns]
    )


_stores = {}


def _shared_store(factory):
    if not _stores:
        _stores["one"] = GramStore.create(factory.mktemp("gram"), GramLayout(21, 12, "float64", 6))
        fill(_stores["one"], kernel(21, 12))
    return _stores["one"]


def test_missing_tiles_read_as_nan_for_others_and_are_refused_by_name_for_us(tmp_path):
    matrix, layout = kernel(20, 5), GramLayout(20, 5, "float64", 8)
    skipped = layout.tiles()[1]
    fill(GramStore.create(tmp_path, layout), matrix, skip=[skipped.name])
    store = GramStore.open(tmp_path)
    seen = store.as_dataset()[()]
    assert np.isnan(seen).sum() == 2 * 8 * 8
    assert np.isnan(
        seen[skipped.row_start : skipped.row_stop, skipped.column_start : skipped.column_stop]
    ).all()
    with pytest.raises(MissingInputError, match=skipped.name):
        store.read()
    with pytest.raises(MissingInputError, match=skipped.name):
        store.verify()
    np.testing.assert_array_equal(
        store.read(slice(16, 25), slice(None)), matrix[16:25]
    )  # what is there can be read
    assert store.pending() == [skipped]


def test_a_flipped_byte_is_found_and_named(tmp_path):
    store = GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8))
    fill(store, kernel(20, 5))
    victim = store.shards.path(store.layout.tiles()[2].name)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 64
    victim.write_bytes(data)
    with pytest.raises(CorruptInputError, match=rf"{victim.name} is not what was written"):
        GramStore.open(tmp_path).read()
    with pytest.raises(CorruptInputError, match=rf"{victim.name} is not what was written"):
        GramStore.open(tmp_path).verify()


def test_what_is_not_a_store_or_another_store_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no Gram matrix at .*rmtgen gram"):
        GramStore.open(tmp_path)
    GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8))
    with pytest.raises(
        CorruptInputError, match="holds GramLayout.*n_train=20.*expected GramLayout.*n_train=21"
    ):
        GramStore.create(tmp_path, GramLayout(21, 5, "float64", 8))
    (tmp_path / "gram.h5").write_bytes(b"not HDF5")
    with pytest.raises(CorruptInputError, match="not a Gram store"):
        GramStore.open(tmp_path)


def test_tiles_of_another_matrix_are_not_mixed_in(tmp_path):
    layout = GramLayout(20, 5, "float64", 8)
    fill(GramStore.create(tmp_path, layout, "features one"), kernel(20, 5))
    with pytest.raises(StaleInputError, match="made from other inputs"):
        GramStore.create(tmp_path, layout, "features two")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([25]), r"row indices .* in \[0, 25\), got int64 .* from 25 to 25"),
        (np.array([-1]), "from -1 to -1"),
        (np.array([0.5]), "got float64"),
        (np.array([[1]]), r"shape \(1, 1\)"),
    ],
)
def test_bad_indices_are_refused(tmp_path, rows, message):
    store = GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8))
    with pytest.raises(UsageError, match=message):
        store.read(rows)


def test_bad_layouts_and_blocks_are_refused(tmp_path):
    with pytest.raises(
        UsageError, match="n_train of a Gram layout must be a whole number >= 1: got 0"
    ):
        GramLayout(0, 1)
    with pytest.raises(
        UsageError, match="dtype of a Gram layout must be a known one: got 'float16'"
    ):
        GramLayout(3, 1, "float16")
    store = GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8))
    with pytest.raises(UsageError, match=r"needs a block of shape \(8, 8\), got \(8, 7\)"):
        store.write(store.pending()[0], np.zeros((8, 7)))


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_flipped_bit_of_the_view_is_found_before_hdf5_sees_it(tmp_path, share):
    store = GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8), "basis")
    fill(store, kernel(20, 5))
    assert GramStore.open(tmp_path).verify() == 9
    view = tmp_path / "gram.h5"
    flip(view, int(share * (view.stat().st_size - 1)))
    for use in (GramStore.open, lambda path: GramStore.create(path, store.layout, "basis")):
        with pytest.raises(CorruptInputError, match=r"gram\.h5 is not what was written"):
            use(tmp_path)
    for use in (store.verify, store.as_dataset):
        with pytest.raises(CorruptInputError, match=r"gram\.h5 is not what was written"):
            use()
    view.unlink()
    again = GramStore.create(tmp_path, store.layout, "basis")
    assert not again.pending()
    np.testing.assert_array_equal(GramStore.open(tmp_path).read(), kernel(20, 5))


def test_a_view_that_reads_other_tiles_is_refused(tmp_path):
    """As of a store of version 0.1.0, whose journal has no record of the view."""
    layout = GramLayout(20, 5, "float64", 8)
    fill(GramStore.create(tmp_path, layout), kernel(20, 5))
    pieces = view_of(layout).pieces
    swapped = [Piece(pieces[0].place, pieces[-1].shard, "tile", pieces[0].shape), *pieces[1:]]
    view = View(layout.shape, layout.dtype, "gram", swapped)
    (tmp_path / "gram.h5").write_bytes(hdf5_image({}, {"gram": view}, layout.__dict__))
    journal = tmp_path / "gram" / "journal.jsonl"
    _, *rest = journal.read_text().splitlines()
    journal.write_text("\n".join(['{"basis": null}', *rest]) + "\n")
    store = GramStore.open(tmp_path)
    np.testing.assert_array_equal(store.read(), kernel(20, 5))  # it goes by the journal
    for use in (store.verify, store.as_dataset):
        with pytest.raises(CorruptInputError, match="reads other tiles than its layout has"):
            use()


@pytest.mark.parametrize(
    "attributes",
    [
        {"n_train": 2**60, "n_test": 5, "dtype": "float64", "tile": 8},
        {"n_train": 2**60, "n_test": 5, "dtype": "float64", "tile": 2**60},
        {"n_train": 20, "n_test": 2**60, "dtype": "float64", "tile": 8},
        {"n_train": 0, "n_test": 5, "dtype": "float64", "tile": 8},
        {"n_train": 20, "n_test": 5, "dtype": "object", "tile": 8},
        {"n_train": 20.0, "n_test": 5, "dtype": "float64", "tile": 8},
        {"n_train": "20", "n_test": 5, "dtype": "float64", "tile": 8},
        {"n_train": 20, "n_test": 5, "dtype": "float64", "tile": 4},
        {"n_train": 20, "n_test": 5, "dtype": "float32", "tile": 8},
    ],
    ids=str,
)
def test_a_view_of_another_layout_than_its_attributes_say_is_refused(tmp_path, attributes):
    image = hdf5_image({}, {"gram": view_of(GramLayout(20, 5, "float64", 8))}, attributes)
    (tmp_path / "gram.h5").write_bytes(image)
    with pytest.raises(CorruptInputError, match=r"gram\.h5 is not a Gram store of rmtgen"):
        GramStore.open(tmp_path)


def test_a_file_in_the_place_of_an_unfinished_tile_is_not_read_through_the_view(tmp_path):
    layout = GramLayout(20, 5, "float64", 8)
    store = GramStore.create(tmp_path, layout)
    fill(store, kernel(20, 5), skip=[layout.tiles()[1].name])
    planted = store.shards.path(layout.tiles()[1].name)
    planted.write_bytes(store.shards.path(layout.tiles()[0].name).read_bytes())
    with pytest.raises(CorruptInputError, match=f"{planted.name} must be listed in"):
        store.as_dataset()


def test_a_tile_of_another_shape_is_refused(tmp_path):
    store = GramStore.create(tmp_path, GramLayout(20, 5, "float64", 8))
    fill(store, kernel(20, 5))
    store.shards.write(store.tiles()[2].name, {"tile": np.zeros((9, 9))})
    for read in (GramStore.open(tmp_path).read, lambda: store.tile(store.tiles()[2])):
        with pytest.raises(CorruptInputError, match=r"must hold float64 numbers of shape \(8, 8\)"):
            read()
    store.shards.write(store.tiles()[2].name, {"other": np.zeros((9, 9))})
    with pytest.raises(CorruptInputError, match="must hold float64 numbers|is not a shard"):
        GramStore.open(tmp_path).read()


def test_a_layout_that_no_tile_can_hold_takes_no_memory(tmp_path):
    layout = GramLayout(2**20, 0, "float64", 2**20)
    store = GramStore.create(tmp_path, layout)
    with pytest.raises(MissingInputError, match="tile-00000000-00000000"):
        store.read()
    store.shards.write(store.tiles()[0].name, {"tile": np.zeros((1, 1))})
    with pytest.raises(CorruptInputError, match=r"of shape \(1048576, 1048576\), and does not"):
        store.read()
