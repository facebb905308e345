"""The walk over a folder: each folder once, links followed, nothing opened."""

import os
import socket

import pytest

from rmtgen.store.tree import FileList, entries


def found(folder):
    return {entry.name: entry.kind for entry in entries(folder)}


def test_every_entry_has_its_kind(tmp_path):
    (tmp_path / "a/deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("a/x", "a/deep/y", "a/.z", ".git/w"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "file").symlink_to("a/x")
    assert found(tmp_path) == {
        "a/x": "file",
        "a/deep/y": "file",
        "file": "file",
        "a/.z": "hidden",
        ".git": "hidden",
        "empty": "empty folder",
        "pipe": "special file",
        "s": "special file",
        "device": "special file",
        "lost": "broken link",
        "round": "broken link",
    }


def test_a_folder_of_many_names_is_entered_under_its_own(tmp_path):
    inside, outside = tmp_path / "set", tmp_path / "elsewhere"
    (inside / "b").mkdir(parents=True)
    outside.mkdir()
    (inside / "b/x").touch()
    (outside / "y").touch()
    (inside / "a").symlink_to("b")
    (inside / "b/loop").symlink_to("..")
    (inside / "b/root").symlink_to("/")
    (inside / "c").symlink_to(outside)
    (inside / "d").symlink_to(outside)
    assert found(inside) == {
        "b/x": "file",
        "c/y": "file",
        "a": "folder met before",
        "d": "folder met before",
        "b/loop": "folder met before",
        "b/root": "folder met before",
    }


def test_many_loops_cost_no_more_than_the_folders(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(f"../{other}")
    listing = found(tmp_path)
    assert sum(kind == "file" for kind in listing.values()) == 8
    assert sum(kind == "folder met before" for kind in listing.values()) == 64


def test_a_folder_reached_through_a_link_is_listed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").touch()
    (tmp_path / "link").symlink_to("real")
    assert found(tmp_path / "link") == {"x": "file"}


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(PermissionError):
        found(tmp_path)


def test_listed_files_are_seen_wherever_they_lie(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("three")
    (tmp_path / "a" / "link").symlink_to("../b")
    names = ("../b", str(tmp_path / "b"), "link", "no", "x" * 5000, "nul\0")
    listed = FileList(tmp_path / "a", names)
    found = dict(listed.statuses())
    assert [found[name] and found[name].st_size for name in names] == [5, 5, 5, None, None, None]
    assert listed.exists()
    assert not FileList(tmp_path / "a", names[3:]).exists()
    assert str(listed) == f"6 files listed from {tmp_path}/a"
