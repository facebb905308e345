"""Durable files: after a crash at any time, a file is complete under its name or does not exist.

Every result of rmtgen is written by `write_bytes` or `append_line`, so that the behaviour on a full
or read-only disk is defined in one place.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmtgen.errors import CorruptInputError, StorageError

PARTIAL_SUFFIX = ".partial"
"""Suffix of a file that is being written."""

JOURNAL_SUFFIX = ".jsonl"
"""Suffix of a file that grows by `append_line`."""


def digest(data: bytes) -> str:
    """The BLAKE2b-128 digest of `data` in hexadecimal, the checksum of all stored files."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The `digest` of the content of a file, read in blocks of 4 MiB."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(4 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def read_verified(path: Path, size: int, blake2b: str, remedy: str) -> bytes:
    """The content of a file, after its digest was compared.

    Args:
        path: The file.
        size: Its size in bytes when it was written.
        blake2b: Its `digest` when it was written.
        remedy: What the error says to do.

    Raises:
        CorruptInputError: The content is not what was written.
    """
    data = path.read_bytes()
    if digest(data) != blake2b:
        raise altered(path, size, blake2b, remedy)
    return data


def altered(path: Path, size: int, blake2b: str, remedy: str) -> CorruptInputError:
    """The error for a file whose content is not what was written."""
    return CorruptInputError(
        f"{path} is not what was written: expected {size} bytes with BLAKE2b {blake2b}, got"
        f" {path.stat().st_size} bytes with {file_digest(path)}. {remedy}"
    )


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` on writing `path` into a `StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Earlier results are unchanged. Free"
            " space, or choose another place with output=DIR, and run the same command again: it"
            " resumes."
        ) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        StorageError: The file system refuses.
    """
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a complete file under a temporary name, fsync it, and rename it to `path`.

    Raises:
        StorageError: The disk refuses. The temporary file is removed, and an earlier file at `path`
            is unchanged.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with storage_errors(path):
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by `write_bytes`."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append one line and fsync the file.

    A crash can leave an incomplete last line, which readers must ignore.

    Raises:
        StorageError: The disk refuses; an incomplete line is removed if possible.
    """
    with storage_errors(path), path.open("ab", buffering=0) as file:
        end, rest = file.tell(), memoryview(line.encode() + b"\n")
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def link_or_copy(source: Path, target: Path) -> None:
    """Link a finished file to a second name, or copy it.

    A journal is copied because `append_line` may still extend it; any other file is copied if the
    file system has no hard links.
    """
    if source.suffix == JOURNAL_SUFFIX:
        write_bytes(target, source.read_bytes())
        return
    try:
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:
        write_bytes(target, source.read_bytes())


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
