"""Arrays in files: what is read is what was written, or an error says why not."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, StorageError
from rmtgen.store import spill as module
from rmtgen.store.spill import Spill

SOURCE = "source"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 16)


def arrays(seed=0, lengths=(40, 0, 3, 16)):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, length, dtype=np.uint8) for length in lengths]


def views(found):
    return [memoryview(own) for own in found if len(own)]


def blank(found):
    return [np.zeros_like(own) for own in found]


def same(found, expected):
    return all(map(np.array_equal, found, expected))


@pytest.fixture
def written(tmp_path):
    spill = Spill(tmp_path, "identity", threads=2)
    spill.write("one", SOURCE, views(arrays()))
    return spill


def test_what_was_written_is_read(written, tmp_path):
    assert "one" in written
    assert "two" not in written
    found = blank(arrays())
    Spill(tmp_path, "identity").read("one", SOURCE, views(found))
    assert same(found, arrays())
    written.write("one", SOURCE, views(arrays(1)))
    written.read("one", SOURCE, views(found))
    assert same(found, arrays(1))


@given(st.data())
def test_any_changed_byte_is_found(tmp_path_factory, data):
    spill = Spill(tmp_path_factory.mktemp("spill"), "identity")
    spill.write("one", SOURCE, views(arrays()))
    content = bytearray(spill.path("one").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    spill.path("one").write_bytes(content)
    with pytest.raises((CorruptInputError, StaleInputError)):
        spill.read("one", SOURCE, views(blank(arrays())))


def test_any_other_length_is_found(written):
    content = written.path("one").read_bytes()
    for length in range(len(content)):
        written.path("one").write_bytes(content[:length])
        with pytest.raises(CorruptInputError, match="one.spill is not what was written"):
            written.read("one", SOURCE, views(blank(arrays())))
    written.path("one").write_bytes(content + b"\0")
    with pytest.raises(CorruptInputError, match="bytes expected"):
        written.read("one", SOURCE, views(blank(arrays())))


def test_pieces_that_changed_places_are_found(written):
    content = written.path("one").read_bytes()
    written.path("one").write_bytes(content[:-32] + content[-16:] + content[-32:-16])
    with pytest.raises(CorruptInputError, match="digests"):
        written.read("one", SOURCE, views(blank(arrays())))


def test_arrays_of_others_are_not_read(written, tmp_path):
    found = blank(arrays())
    with pytest.raises(StaleInputError):
        written.read("one", "other source", views(found))
    with pytest.raises(StaleInputError):
        written.read("one", SOURCE, views(blank(arrays(lengths=(41, 0, 3, 15)))))
    other = Spill(tmp_path, "other")
    with pytest.raises(MissingInputError):
        other.read("one", SOURCE, views(found))
    other.path("one").write_bytes(written.path("one").read_bytes())
    with pytest.raises(StaleInputError):
        other.read("one", SOURCE, views(found))
    written.path("two").write_bytes(written.path("one").read_bytes())
    with pytest.raises(StaleInputError):
        written.read("two", SOURCE, views(found))
    assert not any(own.any() for own in found)


def test_a_link_is_not_followed(written, tmp_path):
    target = tmp_path / "elsewhere"
    written.path("one").rename(target)
    written.path("one").symlink_to(target)
    with pytest.raises(CorruptInputError, match="a link"):
        written.read("one", SOURCE, views(blank(arrays())))
    written.write("one", SOURCE, views(arrays(1)))
    found = blank(arrays())
    written.read("one", SOURCE, views(found))
    assert same(found, arrays(1))


def test_a_disk_that_cannot_read_is_named(written, monkeypatch):
    def failing(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(CorruptInputError, match="Input/output error"):
        written.read("one", SOURCE, views(blank(arrays())))


def test_a_full_disk_leaves_what_was_there(written, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError) as error:
        patch.setattr(os, "fsync", full)
        written.write("one", SOURCE, views(arrays(1)))
    assert str(error.value) == (
        f"cannot write {written.path('one')}: No space left on device. Free space there, or choose"
        " another folder with spill=DIR."
    )
    found = blank(arrays())
    written.read("one", SOURCE, views(found))
    assert same(found, arrays())
    assert [path.name for path in written.folder.iterdir()] == ["one.spill"]


def test_a_place_that_is_no_folder_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Spill(tmp_path / "file", "identity")
    (tmp_path / "identity").write_text("")
    with pytest.raises(CorruptInputError, match="must be a folder"):
        Spill(tmp_path, "identity")


def test_only_its_own_files_are_removed(written, tmp_path):
    (written.folder / "two.spill.partial").write_text("of a process that was killed")
    (written.folder / "notes").write_text("")
    other = Spill(tmp_path, "other")
    other.write("one", SOURCE, views(arrays()))
    written.clear()
    assert [path.name for path in written.folder.iterdir()] == ["notes"]
    assert "one" in other
    other.clear()
    assert not other.folder.exists()
