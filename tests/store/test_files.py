"""Files are opened as what they must be, and names lead nowhere else."""

import os
import socket

import pytest

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.store import files


def plant(kind, path, target):
    """Put something that is no file under a name."""
    match kind:
        case "link":
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target.with_name("nowhere"))
        case "folder":
            path.mkdir()
        case "FIFO":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
        case "device":
            path.symlink_to("/dev/zero")


KINDS = ("link", "dangling link", "folder", "FIFO", "socket", "device")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_and_nothing_hangs(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = tmp_path / "file"
    plant(kind, path if kind != "socket" else type(path)("file"), secret)
    for read in (files.read_bytes, files.read_json_bytes, files.open_regular):
        with pytest.raises(CorruptInputError, match=r"file must be a file of its directory: got a"):
            read(path)
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_APPEND | os.O_CREAT):
        with pytest.raises(CorruptInputError, match="must be a file"):
            files.open_own(path, flags)
    assert secret.read_text() == "secret"


def test_what_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match="nothing is not there"):
        files.read_bytes(tmp_path / "nothing")
    with pytest.raises(MissingInputError):
        files.read_bytes(tmp_path / "nothing" / "below")


@pytest.mark.parametrize("name", ["risk.csv", "gram/tile-00000000-00000000.h5", "a/b/c", "ü x.csv"])
def test_a_name_within_the_directory_is_let_pass(tmp_path, name):
    assert files.member(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "/etc/passwd", "//etc/passwd", "../x", "a/../x", "a/..", "./x"),
        *("a//b", "a/", "a/./b", "a\\b", "..\\x", "a\0b", "a\nb", "\x1b[2J", "\ud800", "C:\\x"),
        *(".lock", ".ssh/id", "a/.b", "x.partial", "theory.parts/journal.jsonl", "~/../x"),
        *(None, 7, ["a"], True),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(CorruptInputError, match="must hold results under names within it"):
        files.member(tmp_path, name)


def test_a_name_that_passes_a_link_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "gram").symlink_to(tmp_path)
    with pytest.raises(CorruptInputError, match="run/gram must be a file .*got a link"):
        files.member(tmp_path / "run", "gram/tile.h5")
    (tmp_path / "alias").symlink_to(tmp_path / "run")  # the directory itself may be reached so
    assert files.member(tmp_path / "alias", "risk.csv") == tmp_path / "alias" / "risk.csv"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a": NaN}',
        b"[Infinity]",
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b"1" * 5000,
        b"",
        b"{",
        b'{"a": "\x00"}',
    ],
    ids=lambda data: data[:8].hex(),
)
def test_what_is_no_plain_json_is_a_value_error(data):
    with pytest.raises(ValueError, match="."):
        files.parse_json(data)


def test_a_file_too_large_for_json_is_not_read(tmp_path):
    path = tmp_path / "risk.json"
    with path.open("wb") as file:
        file.truncate(files.LARGEST_JSON + 1)  # sparse
    with pytest.raises(CorruptInputError, match=r"at most 268,435,456 bytes: got 268,435,457"):
        files.read_json_bytes(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_a_folder_is_no_link(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "parts"
    assert files.require_folder(path) == path
    plant(kind, path if kind != "socket" else type(path)("parts"), tmp_path)
    with pytest.raises(CorruptInputError, match="parts must be a folder of its directory"):
        files.require_folder(path)
