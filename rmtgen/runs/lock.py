"""The lock of a directory: one process at a time writes to it.

It is that of the operating system on the file `.lock`, which goes with the process. Where a file
system has none, it is a file `.lock.holder` that only one process can make, see `holder`.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rmtgen.errors import BusyError, StorageError
from rmtgen.runs.holder import held_by_file
from rmtgen.store import durable, files

LOCK = ".lock"
"""Name of the lock file, which holds the number of the process."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""Numbers of the errors of a file system that cannot lock files."""

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
        CorruptInputError: What is at its place is no regular file.
        StorageError: The directory cannot be made or written, or the lock file has a second name.
    """
    durable.make_folder(folder)
    handle = _opened(folder / LOCK)
    _held.add(handle)
    try:
        with _locked(folder, handle):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
    finally:
        if handle in _held:  # not so in a child forked meanwhile
            _held.remove(handle)
            os.close(handle)


def _opened(path: Path) -> int:
    with durable.storage_errors(path):
        handle = files.open_own(path, os.O_RDWR | os.O_CREAT)
        links = os.fstat(handle).st_nlink
    if links > 1:  # what is written to it would be written to another file
        os.close(handle)
        raise StorageError(f"{path} must be a file of its own: got {links} names of it. Remove it.")
    return handle


def _locked(folder: Path, handle: int) -> contextlib.AbstractContextManager[None]:
    """The lock of the operating system, which goes with the descriptor, or that by a file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 64, 0).decode(errors="replace").strip()
        number = holder if holder.isdigit() else "unknown"
        raise BusyError(
            f"{folder} is held by another process (pid {number}). Wait for it, or stop it, and run"
            " again."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StorageError(f"cannot lock {folder / LOCK}: {error.strerror}.") from error
        return held_by_file(folder)
    return contextlib.nullcontext()
