"""Files of a result directory, opened as what they must be: regular files of that directory itself.

A directory of results may come from elsewhere. A link in it would lead a reader or a writer to any
file of the user, and a FIFO or a device would hang it: none is followed or opened.
"""

import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn

from rmtgen.errors import CorruptInputError, MissingInputError

LARGEST_JSON = 256 << 20
"""Bytes of the largest JSON file that is read; the manifest of a million images takes 30 MB."""

PARTIAL_SUFFIX = ".partial"
"""Suffix of a file that is being written."""
PARTS_SUFFIX = ".parts"
"""Suffix of a folder of the finished parts of a stage that is not finished."""

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ABSENT = (FileNotFoundError, NotADirectoryError)


def is_there(path: Path) -> bool:
    """Whether there is anything under a name, a link that leads nowhere included."""
    return os.path.lexists(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a link is not followed.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is a link, a folder, a FIFO, a socket or a device.
    """
    return os.fdopen(open_own(path, os.O_RDONLY), "rb")


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a regular file, which may be made by `os.O_CREAT`; a link is not followed.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is a link, a folder, a FIFO, a socket or a device.
        OSError: The file system refuses.
    """
    try:
        # looked at first, because the opening of a device alone can change it
        if is_there(path):
            _require_regular(path, path.lstat().st_mode)
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except _ABSENT:
        raise MissingInputError(f"{path} is not there any more.") from None
    try:
        _require_regular(path, os.fstat(handle).st_mode)
    except CorruptInputError:
        os.close(handle)
        raise
    return handle


def size(file: BinaryIO) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        MissingInputError, CorruptInputError: As `open_regular`.
    """
    with open_regular(path) as file:
        return file.read()


def read_json_bytes(path: Path) -> bytes:
    """The content of a regular file of at most `LARGEST_JSON` bytes.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is no regular file, or a larger one.
    """
    with open_regular(path) as file:
        if size(file) > LARGEST_JSON:
            raise CorruptInputError(
                f"{path} must be a file of at most {LARGEST_JSON:,} bytes: got {size(file):,}. It"
                " is none of rmtgen: move it away."
            )
        return file.read(LARGEST_JSON)


def parse_json(data: bytes) -> Any:
    """The value that JSON in UTF-8 states.

    Raises:
        ValueError: It is not JSON, names a key twice, holds NaN or an infinity, or is nested deeper
            than Python reads.
    """
    try:
        return json.loads(data.decode(), parse_constant=_no_number, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deep") from None


def check_name(name: object) -> str:
    """The name of a file below a directory, relative to it, with `/` between its parts.

    Raises:
        ValueError: It is absolute, leads out of the directory, names a hidden file or a file that
            is being written, or is not written as `os.path` would.
    """
    if not isinstance(name, str) or not name.isprintable() or "\\" in name:
        raise ValueError(f"{name!r} is no name of a file")
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or parts[0] == "/":
        raise ValueError(f"{name!r} is no name of a file below the directory")
    if any(part.startswith(".") or part.endswith((PARTIAL_SUFFIX, PARTS_SUFFIX)) for part in parts):
        raise ValueError(f"{name!r} is no name of a result")
    return name


def member(folder: Path, name: str) -> Path:
    """The path of a file below a directory, no part of which is a link.

    Args:
        folder: The directory, which may itself be reached through a link.
        name: A name that `check_name` lets pass.

    Raises:
        CorruptInputError: The name leads elsewhere, or a part of the path is a link.
    """
    try:
        parts = PurePosixPath(check_name(name)).parts
    except ValueError as error:
        raise CorruptInputError(
            f"{folder} must hold results under names within it: {error}. Move the directory away."
        ) from None
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            refuse(path, "a link")
    return path


def require_folder(path: Path) -> Path:
    """Check that what is under a name, if anything, is a folder and no link to one.

    Raises:
        CorruptInputError: It is something else.
    """
    if is_there(path):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            refuse(path, _kind(mode), "a folder")
    return path


def refuse(path: Path, found: str, expected: str = "a file") -> NoReturn:
    """Raise the error for what is not what it must be."""
    raise CorruptInputError(
        f"{path} must be {expected} of its directory: got {found}, which is not followed. Remove"
        " it, and run the command again."
    )


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        refuse(path, _kind(mode))


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is named twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
