"""Durable files: after a crash at any instant, a file is wholly there under its name, or not there
at all.

Every result rmtgen writes goes through `write_bytes` or `append_line`, so what a full or read-only
disk does is decided here once.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmtgen.errors import StorageError

PARTIAL_SUFFIX = ".partial"
JOURNAL_SUFFIX = ".jsonl"


def digest(data: bytes) -> str:
    """BLAKE2b-128 of `data` in hexadecimal, the checksum used throughout."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, read in blocks of 4 MiB."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(4 << 20):
            hasher.update(block)
    return hasher.hexdigest()


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a `StorageError` that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Earlier results are untouched; free"
            " space, or choose another place with output=DIR, and run the same command again: it"
            " resumes."
        ) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        StorageError: the file system refuses.
    """
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file under a temporary name, fsync, and rename it into place.

    Raises:
        StorageError: the disk refuses; the temporary file is removed and an earlier `path` is
            untouched.
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
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append one line and fsync it. A crash can leave a torn last line, which readers must drop.

    Raises:
        StorageError: the disk refuses; the torn line is cut off again where possible.
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
    """Give a finished file a second name; copy where the file system has no hard links, and what
    `append_line` may still lengthen.
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
    """JSON with sorted keys and no spaces: equal values give equal text, whatever order they were
    written in.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename itself durable: the directory entry lives in the folder, not in the file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
