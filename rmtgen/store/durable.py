"""Durable files: after a crash at any time, a file is complete under its name or does not exist.

Every result of rmtgen is written by `write_bytes` or `append_line`, so that the behaviour on a full
or read-only disk is defined in one place.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rmtgen.errors import BusyError, CorruptInputError, StorageError
from rmtgen.store import files

JOURNAL_SUFFIX = ".jsonl"
"""Suffix of a file that grows by `append_line`."""


def digest(data: bytes | memoryview) -> str:
    """The BLAKE2b-128 digest of `data` in hexadecimal, the checksum of all stored files."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Recorded(Protocol):
    """What was recorded of a file when it was written: its size in bytes and its `digest`."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    @property
    def blake2b(self) -> str:
        """The `digest` in hexadecimal."""


def file_digest(path: Path) -> str:
    """The `digest` of the content of a regular file, read in blocks of 4 MiB.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is no regular file.
    """
    with files.open_regular(path) as file:
        return _stream_digest(file)


def holds(path: Path, record: Recorded) -> bool:
    """Whether the content of a regular file is the recorded one; no byte is read at another size.

    Raises:
        MissingInputError, CorruptInputError: As `file_digest`.
    """
    with files.open_regular(path) as file:
        return files.size(file) == record.size and _stream_digest(file) == record.blake2b


@contextlib.contextmanager
def open_verified(path: Path, record: Recorded, remedy: str) -> Iterator[BinaryIO]:
    """Open a file, after its digest was compared: no byte of another content gets to a reader.

    Args:
        path: The file.
        record: What was recorded when it was written.
        remedy: What the error says to do.

    Yields:
        The open file at its start.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is no regular file, or its content is not what was written.
    """
    with files.open_regular(path) as file:
        if files.size(file) != record.size or _stream_digest(file) != record.blake2b:
            raise altered(path, record, remedy)
        file.seek(0)
        yield file


def read_verified(path: Path, record: Recorded, remedy: str) -> bytes:
    """The content of a file, after its digest was compared.

    Args:
        path: The file.
        record: What was recorded when it was written.
        remedy: What the error says to do.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: It is no regular file, or its content is not what was written.
    """
    with files.open_regular(path) as file:
        data = file.read() if files.size(file) == record.size else b""
    if digest(data) != record.blake2b:
        raise altered(path, record, remedy)
    return data


def altered(path: Path, record: Recorded, remedy: str) -> CorruptInputError:
    """The error for a file whose content is not what was written."""
    return CorruptInputError(
        f"{path} is not what was written: expected {record.size} bytes with BLAKE2b"
        f" {record.blake2b}, got {path.lstat().st_size} bytes{_found(path, record)}. {remedy}"
    )


def _found(path: Path, record: Recorded) -> str:
    same_size = path.lstat().st_size == record.size
    return f" with {file_digest(path)}" if same_size else ""


def _stream_digest(file: BinaryIO) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    while block := file.read(4 << 20):
        hasher.update(block)
    return hasher.hexdigest()


RESUMES = (
    "Earlier results are unchanged. Free space, or choose another place with output=DIR, and run"
    " the same command again: it resumes."
)
"""What a `StorageError` says to do about a file of results."""


@contextlib.contextmanager
def storage_errors(path: Path, remedy: str = RESUMES) -> Iterator[None]:
    """Turn an `OSError` on writing `path` into a `StorageError` that names the path.

    Args:
        path: The file.
        remedy: What the error says to do.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}. {remedy}") from error


def make_folder(path: Path, remedy: str = RESUMES) -> Path:
    """Create a folder and its parents.

    Args:
        path: The folder.
        remedy: What the error says to do.

    Raises:
        StorageError: The file system refuses.
    """
    with storage_errors(path, remedy):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes, writer: str | None = None) -> None:
    """Write a complete file by `write_pieces`."""
    write_pieces(path, [data], writer=writer)


def write_pieces(
    path: Path,
    pieces: Iterable[bytes | memoryview],
    remedy: str = RESUMES,
    writer: str | None = None,
) -> None:
    """Write pieces one after another under a temporary name, fsync it, and rename it to `path`.

    A link at `path` or at the temporary name is replaced, not followed.

    Args:
        path: The file.
        pieces: Its content.
        remedy: What the error says to do.
        writer: Name of the writer, where several may write the same file at once: it is a part of
            the temporary name.

    Raises:
        StorageError: The disk refuses. The temporary file is removed, and an earlier file at `path`
            is unchanged.
    """
    mark = "" if writer is None else f".{writer}"
    partial = path.with_name(f"{path.name}{mark}{files.PARTIAL_SUFFIX}")
    with storage_errors(path, remedy):
        try:
            with os.fdopen(_new(partial), "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def write_first(path: Path, data: bytes) -> bytes:
    """Write a file unless there is one, whoever else does so at the same time.

    Returns:
        What is there then: all that call this for one path get the same bytes.

    Raises:
        StorageError: The disk refuses.
        MissingInputError, CorruptInputError: What is there is no regular file.
    """
    if not files.is_there(path):
        mine = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        write_bytes(mine, data)
        with storage_errors(path):
            try:
                os.link(mine, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links, where two at a time are not told
                mine.replace(path)
            mine.unlink(missing_ok=True)
            _sync_folder(path.parent)
    return files.read_json_bytes(path)


@contextlib.contextmanager
def new_folder(path: Path, remedy: str, *, replace: bool = False) -> Iterator[Path]:
    """A context that fills a folder under a temporary name, which it has under its own at the end.

    Files in it must be written by functions of this module. An error leaves nothing. What a kill
    leaves is under the temporary name, and the next call removes it. What is replaced is moved away
    first, and removed when the new folder has its name.

    Args:
        path: The folder.
        remedy: What an error says to do.
        replace: Whether there may be a folder at `path`.

    Yields:
        The folder under its temporary name, empty.

    Raises:
        BusyError: Another process fills a folder of this name.
        StorageError: The disk refuses, or there is something at `path` that is not to be replaced.
    """
    partial = path.with_name(f"{path.name}{files.PARTIAL_SUFFIX}")
    old = path.with_name(f"{path.name}.old{files.PARTIAL_SUFFIX}")
    make_folder(path.parent, remedy)
    with _held_folder(partial, remedy):
        try:
            yield partial
            with storage_errors(path, remedy):
                _sync_folder(partial)
                if replace and files.is_there(path):
                    _remove(old)
                    path.rename(old)
                partial.rename(path)
                _sync_folder(path.parent)
                _remove(old)
        except BaseException:
            if files.is_there(old) and not files.is_there(path):
                old.rename(path)
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextlib.contextmanager
def _held_folder(path: Path, remedy: str) -> Iterator[None]:
    """Make a folder, empty, and hold it against other processes that do the same."""
    with storage_errors(path, remedy):
        _make_or_keep(path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"{path} is being filled by another process. Wait for it, or stop it."
                ) from None
        with storage_errors(path, remedy):
            for entry in path.iterdir():
                _remove(entry)
        yield
    finally:
        os.close(handle)


def _make_or_keep(path: Path) -> None:
    if path.is_symlink() or (files.is_there(path) and not path.is_dir()):
        path.unlink()
    path.mkdir(exist_ok=True)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder with all in it; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _new(path: Path) -> int:
    """A descriptor of a new file; what a kill or another has left under the name is removed."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers have left in a folder nobody writes to."""
    for path in folder.glob(f"*{files.PARTIAL_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text by `write_bytes` in UTF-8; bytes of names that are not UTF-8 are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def append_line(path: Path, line: str) -> None:
    """Append one line and fsync the file.

    A crash can leave an incomplete last line, which readers must ignore. A file that has a second
    name is copied first, so that what the other name shows stays as it is.

    Raises:
        StorageError: The disk refuses; an incomplete line is removed if possible.
        CorruptInputError: What is at `path` is no regular file.
    """
    if files.is_there(path) and path.lstat().st_nlink > 1:
        write_bytes(path, files.read_bytes(path))
    with storage_errors(path), _open_to_append(path) as file:
        end, rest = file.seek(0, os.SEEK_END), memoryview(line.encode() + b"\n")
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def _open_to_append(path: Path) -> io.FileIO:
    return io.FileIO(files.open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def link_or_copy(source: Path, target: Path) -> None:
    """Link a finished file to a second name, or copy it.

    A journal is copied because `append_line` may still extend it; any other file is copied if the
    file system has no hard links.

    Raises:
        MissingInputError, CorruptInputError: There is nothing at `source`, or no regular file.
        StorageError: The disk refuses.
    """
    if source.suffix == JOURNAL_SUFFIX:
        write_bytes(target, files.read_bytes(source))
        return
    try:
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:
        write_bytes(target, files.read_bytes(source))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without spaces, so that equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: fsync of the file does not cover its directory entry."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
