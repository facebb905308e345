"""Reading of files and of members of archives: bounded, tried twice, every failure by its name."""

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from rmtgen.errors import (
    CapacityError,
    CorruptInputError,
    MissingInputError,
    RmtgenError,
    StorageError,
    UsageError,
)
from rmtgen.names import printable

T = TypeVar("T")


def read_file(path: str, most_bytes: int) -> bytes:
    """The content of an image file, which must be a plain file: a pipe would be waited for.

    Args:
        path: The file.
        most_bytes: The largest size that can hold an image.

    Raises:
        MissingInputError: There is no such file any more.
        StorageError: The disk or the permissions refuse.
        CapacityError: It does not fit into memory.
        CorruptInputError: It is no plain file.
        UsageError: It is larger than `most_bytes`.
    """
    where = printable(path)
    return patiently(lambda: _plain_content(path, most_bytes, where), where)


def _plain_content(path: str, most_bytes: int, where: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CorruptInputError(
                f"{where} must be a plain file, got a folder, a pipe or a device. Remove it."
            )
        _check_bytes(status.st_size, most_bytes, where)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def read_member(
    read: Callable[[int, int], bytes], place: tuple[int, int], most_bytes: int, where: str
) -> bytes:
    """The content of a member of an archive.

    Args:
        read: Function from a size and an offset to bytes of the archive, as `os.pread`.
        place: Offset and size of the member.
        most_bytes: As for `read_file`.
        where: Its name, for messages.

    Raises:
        RmtgenError: As `read_file`.
        CorruptInputError: The archive ends before the member does.
    """
    offset, size = place
    _check_bytes(size, most_bytes, where)
    content = patiently(lambda: read(size, offset), where)
    if len(content) != size:
        raise CorruptInputError(
            f"{where} must hold {size} bytes, got {len(content)}: the archive"
            " was truncated. Copy or pack it again."
        )
    return content


def _check_bytes(size: int, most_bytes: int, where: str) -> None:
    if size > most_bytes:
        raise UsageError(
            f"the file of a picture of max_pixels pixels has at most {most_bytes:,} bytes: {where}"
            f" has {size:,}. Set max_pixels higher if it can be trusted, or leave it out."
        )


_PASSING = (errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM)
"""Errors of a read that network file systems and busy machines give once."""


def patiently(read: Callable[[], T], where: str) -> T:
    """What `read` returns, at the second try if the first fails in passing."""
    for last in (False, True):
        try:
            return read()
        except FileNotFoundError as error:
            raise MissingInputError(
                f"{where} cannot be read: {error.strerror}. The data changed while they were read:"
                " put it back, or start again."
            ) from error
        except OSError as error:
            if last or error.errno not in _PASSING:
                raise _refused(error, where) from error
        except MemoryError as error:
            if last:
                raise CapacityError(f"{where} does not fit into memory. Free some.") from error
    raise AssertionError  # the last try returns or raises


def _refused(error: OSError, where: str) -> RmtgenError:
    """The error of a read that the machine refuses; it says nothing about the image."""
    if error.errno == errno.ENOMEM:
        return CapacityError(f"{where} does not fit into memory. Free some.")
    remedy = {
        errno.EACCES: "Make it readable",
        errno.EPERM: "Make it readable",
        errno.EMFILE: "Raise the limit of open files (ulimit -n), or lower workers",
        errno.ENFILE: "Raise the limit of open files (ulimit -n), or lower workers",
    }.get(error.errno or 0, "Check the disk, then run again")
    return StorageError(f"{where} cannot be read: {error.strerror}. {remedy}.")
