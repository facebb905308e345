"""Durable writes: complete or absent, and a refusal of the disk is one named error."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rmtgen.errors import CorruptInputError, StorageError
from rmtgen.store import durable
from rmtgen.store.shards import ShardRecord


def test_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.bin"
    durable.write_bytes(path, b"first, and longer")
    durable.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


def test_a_refused_write_keeps_the_earlier_file_and_names_it(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"earlier")
    code = (
        "import resource, pathlib\nfrom rmtgen import errors; from rmtgen.store import"
        " durable\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\npath ="
        f" pathlib.Path({str(path)!r})\nfor write in (lambda: durable.write_bytes(path,"
        " bytes(1000)), lambda: durable.append_line(path, 'x' * 1000)):\n    try: write()\n   "
        " except errors.StorageError as error: print(error)\n"
    )
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.startswith(f"cannot write {path}: File too large.") for line in lines] == [
        True,
        True,
    ]
    assert path.read_bytes() == b"earlier"
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write .*file/below: "):
        durable.make_folder(tmp_path / "file" / "below")


def test_link_or_copy_gives_the_same_content_and_replaces_the_target(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    target.write_bytes(b"old")
    durable.link_or_copy(source, target)
    assert target.read_bytes() == b"content"
    assert target.samefile(source)


def test_link_or_copy_copies_where_links_are_refused(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"content")
    monkeypatch.setattr(
        os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link"))
    )
    durable.link_or_copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"content"
    assert not (tmp_path / "target").samefile(source)


def test_canonical_json_does_not_depend_on_order_and_refuses_nan():
    assert durable.canonical_json({"b": 1, "a": (2, 3)}) == '{"a":[2,3],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.canonical_json(float("nan"))


@pytest.fixture
def victim(tmp_path):
    """A file of the user outside of the results."""
    path = tmp_path / "victim"
    path.write_text("mine")
    return path


def test_a_planted_link_is_replaced_and_not_followed(tmp_path, victim):
    path = tmp_path / "risk.csv"
    for planted in (path, path.with_name("risk.csv.partial")):
        planted.symlink_to(victim)
        durable.write_bytes(path, b"result")
        assert path.read_bytes() == b"result"
        assert not path.is_symlink()
        assert victim.read_text() == "mine"
        path.unlink()
    os.link(victim, path.with_name("risk.csv.partial"))
    os.mkfifo(path)
    durable.write_bytes(path, b"result")
    assert (path.read_bytes(), victim.read_text()) == (b"result", "mine")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["risk.csv", "victim"]


def test_a_folder_in_the_place_of_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "a.csv.partial").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*a\.csv"):
        durable.write_bytes(tmp_path / "a.csv", b"x")


def test_nothing_is_appended_through_a_link(tmp_path, victim):
    journal = tmp_path / "journal.jsonl"
    journal.symlink_to(victim)
    with pytest.raises(CorruptInputError, match=r"journal\.jsonl must be a file .*got a link"):
        durable.append_line(journal, "line")
    journal.unlink()
    os.link(victim, journal)
    durable.append_line(journal, " line")
    assert (victim.read_text(), journal.read_text()) == ("mine", "mine line\n")


def test_a_file_is_verified_before_it_is_read(tmp_path):
    path, data = tmp_path / "a", bytes(range(256)) * 40
    path.write_bytes(data)
    record = ShardRecord.of("a", data)
    assert durable.read_verified(path, record, "") == data
    assert durable.holds(path, record)
    with durable.open_verified(path, record, "") as file:
        assert file.read() == data
    for changed in (data[:-1], data + b"x", b"", data[:100] + b"\1" + data[101:]):
        path.write_bytes(changed)
        assert not durable.holds(path, record)
        with pytest.raises(CorruptInputError, match=f"got {len(changed)} bytes.*Delete it"):
            durable.read_verified(path, record, "Delete it.")
        with (
            pytest.raises(CorruptInputError, match="expected 10240 bytes"),
            durable.open_verified(path, record, "Delete it."),
        ):
            pass
    huge = ShardRecord("a", 2**60, "0" * 32)  # no memory is taken for what is only declared
    with pytest.raises(CorruptInputError, match=f"expected {2**60} bytes"):
        durable.read_verified(path, huge, "")


def test_of_all_who_write_a_file_first_one_does(tmp_path, monkeypatch):
    path, barrier = tmp_path / "note", threading.Barrier(8)

    def write(number):
        barrier.wait()
        return durable.write_first(path, b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(write, range(8)))
    assert found == {path.read_bytes()}
    assert durable.write_first(path, b"late") == path.read_bytes()

    def no_links(*_):
        raise PermissionError("no hard links")

    monkeypatch.setattr(os, "link", no_links)
    assert durable.write_first(tmp_path / "other", b"alone") == b"alone"
    assert {one.name for one in tmp_path.iterdir()} == {"note", "other"}
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(CorruptInputError, match="got a link"):
        durable.write_first(tmp_path / "link", b"x")
    with pytest.raises(StorageError, match="cannot write .*missing"):
        durable.write_first(tmp_path / "missing" / "note", b"x")
