"""The lock of a directory on a file system without locks, as Lustre, NFS or FUSE may be mounted.

A file that only one process can make says which one holds the directory: its machine, its number
and when it began. What a process of this machine has left that is no more is removed; of another
machine nothing can be known, and the error says which file to remove. Processes that hold the
directory together have a file each.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmtgen.errors import BusyError, RmtgenError, StorageError
from rmtgen.store import durable, files

HOLDER = ".lock.holder"
"""Name of the file that says which process holds the directory."""
SUFFIX = ".holder"
"""Suffix of that file, and of those of processes that hold the directory together."""
TAKEOVER = ".takeover"
"""Suffix of a folder that is there while a process removes what one that is no more has left."""


@contextlib.contextmanager
def held_by_file(folder: Path, writer: str | None = None) -> Iterator[None]:
    """Hold a directory by a file.

    Args:
        folder: The directory.
        writer: Name of this process among several that hold it together; None to hold it alone.

    Raises:
        BusyError: Another process holds it, or may hold it.
        StorageError: The directory cannot be written.
    """
    path, owner = folder / (f".lock.{writer}{SUFFIX}" if writer else HOLDER), os.getpid()
    if not _made(path):
        _remove_left_over(path)
        if not _made(path):
            raise _busy(path, _read(path))
    try:
        # after its own file is there: of two that come at once, one or both see the other
        for other in folder.glob(f".lock.*{SUFFIX}") if writer is None else [folder / HOLDER]:
            if files.is_there(other):
                _remove_left_over(other)
        yield
    finally:
        if os.getpid() == owner:  # not so in a child forked meanwhile
            path.unlink(missing_ok=True)


def _made(path: Path) -> bool:
    """Make the file, if there is none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with durable.storage_errors(path):
        try:
            handle = os.open(path, flags, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(this_process()).encode())
            file.flush()
            os.fsync(file.fileno())
    return True


def _remove_left_over(path: Path) -> None:
    """Remove the file of a process of this machine that is no more.

    Of two processes that find it at once, only the one that can make a folder beside it removes it:
    the other might remove what the first has made since.

    Raises:
        BusyError: The process is still there, or cannot be asked about.
    """
    turn = path.with_suffix(TAKEOVER)
    try:
        turn.mkdir()
    except FileExistsError:
        raise BusyError(
            f"{path.parent} is being taken over by another process. Run again; if this stays, no"
            f" process is left: remove {turn} and {path}."
        ) from None
    except OSError as error:
        raise StorageError(f"cannot write {turn}: {error.strerror}.") from error
    try:
        found = _read(path)
        if not _is_over(found):
            raise _busy(path, found)
        path.unlink(missing_ok=True)
    finally:
        turn.rmdir()


def _busy(path: Path, found: dict[str, Any]) -> BusyError:
    pid, host = found.get("pid", "unknown"), found.get("host", "unknown")
    return BusyError(
        f"{path.parent} is held by another process (pid {pid} on {host}). Wait for it, or stop it,"
        f" and run again. If it is not there any more, remove {path}: this file system cannot lock"
        " files, and only that file says who holds the directory."
    )


def _read(path: Path) -> dict[str, Any]:
    """What the file says; empty where it is gone or says nothing."""
    try:
        found = files.parse_json(files.read_json_bytes(path))
    except (RmtgenError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_over(found: dict[str, Any]) -> bool:
    """Whether a process of this machine is known to be no more."""
    me, pid = this_process(), found.get("pid")
    if any(found.get(key) != me[key] for key in ("host", "place")) or type(pid) is not int:
        return False
    began = _began(pid)
    return not _is_alive(pid) or (began is not None and began != found.get("began"))


def this_process() -> dict[str, Any]:
    """What the file says of the process that makes it."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "place": _place(), "pid": pid, "began": _began(pid)}


def _place() -> str:
    """What tells the numbers of processes apart: this start of the machine, and the container."""
    told = []
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(told)


def _began(pid: int) -> str | None:
    """When a process began, as its system counts; None where it does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True
