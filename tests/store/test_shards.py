"""Shards: those in the journal are complete, damage is named, a torn journal loses one shard."""

import json

import h5py
import numpy as np
import pytest

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.store.shards import ShardSet, hdf5_image


@pytest.fixture
def shards(tmp_path):
    shards = ShardSet(tmp_path / "parts", "fingerprint")
    for name in ("a", "b", "c"):
        shards.write(name, {"x": np.arange(6.0).reshape(2, 3) + ord(name), "count": np.array(7)})
    return shards


def test_arrays_come_back_and_plain_hdf5_reads_them(shards):
    reopened = ShardSet(shards.folder, "fingerprint")
    np.testing.assert_array_equal(reopened.read("b")["x"], np.arange(6.0).reshape(2, 3) + ord("b"))
    assert reopened.read("b")["count"] == 7
    assert reopened.verify() == 3
    with h5py.File(shards.path("b")) as file:
        assert file["x"].fletcher32
        np.testing.assert_array_equal(file["x"], reopened.read("b")["x"])


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_bit_is_found_and_named(shards, position):
    data = bytearray(shards.path("b").read_bytes())
    data[position] ^= 1
    shards.path("b").write_bytes(data)
    with pytest.raises(
        CorruptInputError,
        match=r"b\.h5 is not what was written: expected \d+ bytes with BLAKE2b .*Delete the file",
    ):
        ShardSet(shards.folder).read("b")
    with pytest.raises(CorruptInputError, match=r"b\.h5 is not what was written"):
        ShardSet(shards.folder).verify()
    assert ShardSet(shards.folder).read("a")["count"] == 7


def test_a_deleted_shard_is_unfinished_again(shards):
    shards.path("b").unlink()
    reopened = ShardSet(shards.folder)
    assert [name in reopened for name in "abc"] == [True, False, True]
    with pytest.raises(MissingInputError, match=r"b\.h5 is not there or was never finished"):
        reopened.read("b")


@pytest.mark.parametrize("torn", [1, 5, 20])
def test_a_torn_last_line_loses_one_shard_and_the_journal_goes_on(shards, torn):
    shards.journal.write_bytes(shards.journal.read_bytes()[:-torn])
    reopened = ShardSet(shards.folder, "fingerprint")
    assert [name in reopened for name in "abc"] == [True, True, False]
    reopened.write("c", {"x": np.ones(2)})
    again = ShardSet(shards.folder, "fingerprint")
    assert [name in again for name in "abc"] == [True, True, True]


def test_a_journal_damaged_in_the_middle_is_refused(shards):
    lines = shards.journal.read_text().splitlines()
    lines[2] = lines[2][:10]
    shards.journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(CorruptInputError, match=r"journal\.jsonl is damaged .*Delete the folder"):
        ShardSet(shards.folder)


def test_shards_of_another_fingerprint_are_not_mixed(shards):
    with pytest.raises(
        StaleInputError, match=r"made from other inputs \(fingerprint fingerprint, expected other\)"
    ):
        ShardSet(shards.folder, "other")
    assert ShardSet(shards.folder).fingerprint == "fingerprint"


def test_a_file_that_is_not_in_the_journal_is_not_there(shards):
    shards.path("d").write_bytes(hdf5_image({"x": np.ones(1)}))
    assert "d" not in ShardSet(shards.folder)


def test_equal_arrays_give_equal_bytes():
    arrays = {"x": np.random.default_rng(0).normal(size=(40, 30)), "y": np.array(3)}
    assert hdf5_image(arrays) == hdf5_image(dict(arrays))
    assert hdf5_image(arrays) != hdf5_image({**arrays, "y": np.array(4)})


def test_journal_lines_are_plain_json(shards):
    head, *entries = [json.loads(line) for line in shards.journal.read_text().splitlines()]
    assert head == {"basis": "fingerprint"}
    assert [entry["name"] for entry in entries] == ["a", "b", "c"]


def test_a_sealed_journal_does_not_depend_on_how_often_a_shard_was_made(shards):
    before = shards.journal.read_bytes()
    shards.seal()
    assert shards.journal.read_bytes() == before
    content = shards.path("a").read_bytes()
    shards.path("a").unlink()
    again = ShardSet(shards.folder, "fingerprint")
    again.write("a", {"x": np.arange(6.0).reshape(2, 3) + ord("a"), "count": np.array(7)})
    assert again.journal.read_bytes() != before
    again.seal()
    assert again.journal.read_bytes() == before
    assert again.path("a").read_bytes() == content


def test_an_empty_journal_is_a_new_one(tmp_path):
    """What a kill between the opening and the first write leaves."""
    (tmp_path / "journal.jsonl").touch()
    shards = ShardSet(tmp_path, "fingerprint")
    shards.write("a", {"x": np.ones(1)})
    assert ShardSet(tmp_path).fingerprint == "fingerprint"
    assert "a" in ShardSet(tmp_path, "fingerprint")
    with pytest.raises(StaleInputError):
        ShardSet(tmp_path, "other")
