"""One process at a time writes to a directory, on any file system."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal

import pytest

from rmtgen.errors import BusyError, CorruptInputError, StorageError
from rmtgen.runs import holder
from rmtgen.runs.lock import locked

NO_LOCKS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]


def refuse_flock(number=errno.ENOSYS):
    """Be a file system without locks."""

    def flock(_handle, _operation):
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock


@pytest.fixture(params=NO_LOCKS, ids=lambda number: errno.errorcode[number])
def no_flock(request, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # to be restored
    refuse_flock(request.param)


def test_without_locks_a_file_says_who_holds_the_directory(tmp_path, no_flock):
    with locked(tmp_path):
        held = json.loads((tmp_path / ".lock.holder").read_text())
        assert held["pid"] == os.getpid()
        with (
            pytest.raises(BusyError, match=rf"\(pid {os.getpid()} on .*remove .*\.lock\.holder"),
            locked(tmp_path),
        ):
            pass
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def _hold(path, ready):
    refuse_flock()
    with locked(path):
        ready.set()
        signal.pause()


def test_what_a_killed_process_has_left_is_taken_over(tmp_path, no_flock):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(BusyError, match=f"pid {process.pid} on"), locked(tmp_path):
        pass
    process.kill()
    process.join()
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock.holder").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "change",
    [
        {"host": "another"},
        {"place": "another boot"},
        {"pid": "text"},
        {"pid": None},
    ],
    ids=str,
)
def test_what_nothing_can_be_known_of_is_not_taken_over(tmp_path, no_flock, change):
    left = {**holder.this_process(), "pid": 2**22 + 1, "began": "1"}
    path = tmp_path / ".lock.holder"
    path.write_text(json.dumps({**left, **change}))
    with pytest.raises(BusyError, match=f"remove {path}"), locked(tmp_path):
        pass
    assert path.exists()
    assert not (tmp_path / ".lock.takeover").exists()
    path.write_text(json.dumps(left))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "\0"])
def test_a_holder_that_says_nothing_is_not_taken_over(tmp_path, no_flock, content):
    """As between its making and its writing."""
    (tmp_path / ".lock.holder").write_text(content)
    with pytest.raises(BusyError, match="pid unknown on unknown"), locked(tmp_path):
        pass


def test_a_number_that_another_process_has_now_is_no_holder(tmp_path, no_flock):
    (tmp_path / ".lock.holder").write_text(json.dumps({**holder.this_process(), "began": "1"}))
    with locked(tmp_path):
        pass


def test_two_never_take_over_at_once(tmp_path, no_flock):
    left = {**holder.this_process(), "pid": 2**22 + 1}
    (tmp_path / ".lock.holder").write_text(json.dumps(left))
    (tmp_path / ".lock.takeover").mkdir()
    with pytest.raises(BusyError, match="being taken over .* remove"), locked(tmp_path):
        pass
    assert json.loads((tmp_path / ".lock.holder").read_text()) == left


def test_a_forked_child_does_not_end_the_lock_of_its_parent(tmp_path, no_flock):
    held = holder.held_by_file(tmp_path)
    with held:
        child = os.fork()
        if child == 0:
            try:
                held.__exit__(None, None, None)  # as where a worker leaves the block
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / ".lock.holder").exists()


def test_another_refusal_of_the_lock_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)
    refuse_flock(errno.EIO)
    with pytest.raises(StorageError, match=r"cannot lock .*\.lock: Input/output error"):
        locked(tmp_path).__enter__()


@pytest.mark.parametrize("target", ["victim", "nowhere", "/dev/zero"])
@pytest.mark.parametrize("name", [".lock", ".lock.holder"])
def test_a_planted_link_is_not_followed(tmp_path, monkeypatch, name, target):
    if name == ".lock.holder":
        monkeypatch.setattr(fcntl, "flock", fcntl.flock)
        refuse_flock()
    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / target)
    with pytest.raises((CorruptInputError, BusyError), match=rf"{name}"), locked(folder):
        pass
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_that_is_another_file_too_is_not_written(tmp_path):
    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    os.link(tmp_path / "victim", folder / ".lock")
    with pytest.raises(StorageError, match="got 2 names of it. Remove it"), locked(folder):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(CorruptInputError, match="got a FIFO"), locked(tmp_path):
        pass


def test_an_error_of_the_work_is_not_taken_for_a_busy_directory(tmp_path):
    with pytest.raises(BlockingIOError), locked(tmp_path):
        raise BlockingIOError
