"""`durable.new_folder`: whole under its name, or not there."""

import os
import signal
import subprocess
import sys

import pytest

from rmtgen.errors import BusyError, StorageError
from rmtgen.store import durable

REMEDY = "Choose another place."


def fill(path, text="new", **options):
    with durable.new_folder(path, REMEDY, **options) as partial:
        durable.write_text(partial / "file", text)


def content(path):
    return {file.name: file.read_text() for file in path.iterdir()}


def test_it_has_its_name_when_it_is_whole(tmp_path):
    with durable.new_folder(tmp_path / "deep" / "one", REMEDY) as partial:
        assert partial == tmp_path / "deep" / "one.partial" and not list(partial.iterdir())
        durable.write_text(partial / "file", "new")
        assert not (tmp_path / "deep" / "one").exists()
    assert content(tmp_path / "deep" / "one") == {"file": "new"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_and_what_was_there(error, tmp_path):
    fill(tmp_path / "one", "old")
    with (
        pytest.raises(error),
        durable.new_folder(tmp_path / "one", REMEDY, replace=True) as partial,
    ):
        durable.write_text(partial / "file", "new")
        raise error
    assert content(tmp_path / "one") == {"file": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_is_there_is_replaced_only_if_asked(tmp_path):
    fill(tmp_path / "one", "old")
    with pytest.raises(StorageError, match="cannot write .*one: .*Choose another place"):
        fill(tmp_path / "one")
    assert content(tmp_path / "one") == {"file": "old"}
    fill(tmp_path / "one", replace=True)
    assert content(tmp_path / "one") == {"file": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_a_kill_has_left_is_cleared(kind, tmp_path):
    left = tmp_path / "one.partial"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").write_text("kept")
    if kind == "folder":
        (left / "deep").mkdir(parents=True)
        (left / "link").symlink_to(tmp_path / "other")
    elif kind == "file":
        left.write_text("half")
    else:
        left.symlink_to(tmp_path / "other")
    fill(tmp_path / "one")
    assert content(tmp_path / "one") == {"file": "new"}
    assert content(tmp_path / "other") == {"kept": "kept"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_a_failed_exchange_puts_the_old_folder_back(tmp_path, monkeypatch):
    fill(tmp_path / "one", "old")
    rename = type(tmp_path).rename

    def refuse(path, target):
        if path.name == "one.partial":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with pytest.raises(StorageError, match="No space left"):
        fill(tmp_path / "one", replace=True)
    assert content(tmp_path / "one") == {"file": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_another_process_that_fills_it_is_not_disturbed(tmp_path):
    program = (
        "import sys, signal; from pathlib import Path; from rmtgen.store import durable\n"
        "with durable.new_folder(Path(sys.argv[1]), '') as partial:\n"
        "    durable.write_text(partial / 'file', 'theirs')\n"
        "    print('filling', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "one")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"filling\n"
        with pytest.raises(BusyError, match="one.partial is being filled by another process"):
            fill(tmp_path / "one")
        assert content(tmp_path / "one.partial") == {"file": "theirs"}
        os.kill(other.pid, signal.SIGKILL)
    fill(tmp_path / "one")
    assert content(tmp_path / "one") == {"file": "new"}
