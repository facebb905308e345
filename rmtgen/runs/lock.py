"""The lock of a directory: one process at a time writes to it, or several that divide its work.

It is that of the operating system on the file `.lock`, which goes with the process: exclusive, or
shared by processes that each hold `.lock.WRITER` besides. Where a file system has no locks, files
say who holds the directory, see `holder`.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rmtgen.errors import BusyError, StorageError
from rmtgen.runs.holder import SUFFIX, TAKEOVER, held_by_file
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
def locked(folder: Path, writer: str | None = None) -> Iterator[None]:
    """Hold a directory against other processes; it is made if absent.

    The lock goes with the process, however that ends.

    Args:
        folder: The directory.
        writer: Name of this process among several that hold the directory together; None to hold
            it alone.

    Raises:
        BusyError: Another process holds it, alone, or under the same name.
        CorruptInputError: What is at its place is no regular file.
        StorageError: The directory cannot be made or written, or the lock file has a second name.
    """
    durable.make_folder(folder)
    with contextlib.ExitStack() as stack:
        if writer is None:
            with_file = stack.enter_context(_flocked(folder / LOCK, fcntl.LOCK_EX))
        else:
            with_file = stack.enter_context(_flocked(folder / LOCK, fcntl.LOCK_SH))
            stack.enter_context(_flocked(folder / f"{LOCK}.{writer}", fcntl.LOCK_EX))
        if not with_file:
            stack.enter_context(held_by_file(folder, writer))
        if writer is None:
            _remove_locks_of_writers(folder)
        yield


def _remove_locks_of_writers(folder: Path) -> None:
    """Remove what writers that are no more have left; the directory is held alone."""
    for path in folder.glob(f"{LOCK}.*"):
        if path.suffix not in (SUFFIX, TAKEOVER):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _flocked(path: Path, kind: int) -> Iterator[bool]:
    """Hold the lock of the operating system on a file; whether the file system has locks."""
    handle = _opened(path)
    _held.add(handle)
    try:
        has_locks = _flock(path, handle, kind)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield has_locks
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


def _flock(path: Path, handle: int, kind: int) -> bool:
    """Take the lock, which goes with the descriptor; False where the file system has none."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 64, 0).decode(errors="replace").strip()
        number = holder if holder.isdigit() else "unknown"
        raise BusyError(
            f"{path.parent} is held by another process (pid {number}). Wait for it, or stop it, and"
            " run again."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StorageError(f"cannot lock {path}: {error.strerror}.") from error
        return False
    return True
