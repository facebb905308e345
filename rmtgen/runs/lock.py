"""The lock of a directory: one process at a time writes to it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rmtgen.errors import BusyError
from rmtgen.store import durable

LOCK = ".lock"
"""Name of the lock file, which holds the number of the process."""

_held: set[int] = set()  # descriptors of the locks of this process


def _close_inherited_locks() -> None:
    """Close the copies of the locks in a forked child.

    A worker that outlives a killed stage would go on holding its run.
    """
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_inherited_locks)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a directory against other processes; it is made if absent.

    The lock goes with the process, however that ends.

    Raises:
        BusyError: Another process holds it.
        StorageError: The directory cannot be made or written.
    """
    durable.make_folder(folder)
    with durable.storage_errors(folder / LOCK):
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _held.add(handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    except BlockingIOError:
        holder = os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
        raise BusyError(
            f"{folder} is held by another process (pid {holder}). Wait for it, or stop it, and run"
            " again."
        ) from None
    finally:
        if handle in _held:  # not so in a child forked meanwhile
            _held.remove(handle)
            os.close(handle)
