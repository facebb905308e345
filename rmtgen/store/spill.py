"""Arrays that do not fit into memory, in files that are gone after the work: a spill.

A file holds the arrays of one piece of work in a row, behind a sealed header that says what they
were made of and what their digests are. A process that is killed leaves whole files, which the next
one uses if they were made of the same.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from rmtgen.errors import CorruptInputError, StaleInputError
from rmtgen.store import durable, files, sealed

_MAGIC = b"rmtgen spill 1\n"
_PIECE = 16 << 20
"""Bytes that are read and compared with their digest at a time, each piece in one thread."""
_SUFFIX = ".spill"
REMEDY = "Free space there, or choose another folder with spill=DIR."
"""What to do where the file system refuses."""


@contextlib.contextmanager
def nameless(place: Path) -> Iterator[BinaryIO]:
    """A file without a name in a folder: gone with what maps it, whatever becomes of the process.

    Raises:
        StorageError: The file system refuses.
    """
    durable.make_folder(place, REMEDY)
    with durable.storage_errors(place, REMEDY), tempfile.TemporaryFile(dir=place) as file:
        yield file


class Spill:
    """A folder of files of arrays.

    Attributes:
        folder: The folder, of the name of the identity.
        identity: Digest of all that the files have in common.
        threads: Threads that read and compare.
        remedy: What to do where the file system refuses.
    """

    def __init__(self, place: Path, identity: str, threads: int = 1, remedy: str = REMEDY):
        """Make the folder of an identity below a place that spills share.

        Raises:
            StorageError: The file system refuses.
            CorruptInputError: There is something else under the name of the folder.
        """
        self.folder = durable.make_folder(files.require_folder(place / identity), remedy)
        self.identity, self.threads, self.remedy = identity, threads, remedy

    def path(self, name: str) -> Path:
        """The file of a name."""
        return self.folder / f"{name}{_SUFFIX}"

    def __contains__(self, name: str) -> bool:
        """Whether there is anything under the name."""
        return files.is_there(self.path(name))

    def write(self, name: str, source: str, arrays: Sequence[memoryview]) -> None:
        """Store arrays, which are durable on return.

        Args:
            name: Name of the file.
            source: Digest of what the arrays were made of.
            arrays: Contiguous bytes.

        Raises:
            StorageError: The disk refuses. An earlier file of the name is unchanged.
        """
        pieces = _pieces(arrays)
        with ThreadPoolExecutor(self.threads) as pool:
            digests = list(pool.map(durable.digest, pieces))
        header = sealed.seal({**self._head(name, source, pieces), "pieces": digests})
        length = len(header).to_bytes(8, "little")
        durable.write_pieces(self.path(name), [_MAGIC, length, header, *pieces], self.remedy)

    def read(self, name: str, source: str, arrays: Sequence[memoryview]) -> None:
        """Fill arrays with what was written; after an error they hold anything.

        Args:
            name: Name of the file.
            source: Digest of what the arrays must be made of.
            arrays: Contiguous bytes that can be written to.

        Raises:
            MissingInputError: There is no such file.
            StaleInputError: It holds other arrays, or those of another source or identity.
            CorruptInputError: It is not what was written, or the disk cannot read it.
        """
        pieces, path = _pieces(arrays), self.path(name)
        with _damage_named(path), files.open_regular(path) as file:
            header, start = _header(file)
            head = self._head(name, source, pieces)
            if {key: header.get(key) for key in head} != head:
                raise StaleInputError(f"{path} holds other arrays than are asked for.")
            *starts, end = accumulate(map(len, pieces), initial=start)
            if files.size(file) != end:
                raise ValueError(f"{end:,} bytes expected, got {files.size(file):,}")
            with ThreadPoolExecutor(self.threads) as pool:
                found = list(pool.map(lambda *own: _fill(file, *own), pieces, starts))
            if found != header["pieces"]:
                raise ValueError("its digests are other ones")

    def clear(self) -> None:
        """Remove all files, and the folder if nothing else is in it."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if _SUFFIX in path.suffixes:
                    path.unlink()
            self.folder.rmdir()

    def _head(self, name: str, source: str, pieces: Sequence[memoryview]) -> dict[str, Any]:
        sizes = [len(piece) for piece in pieces]
        return {"identity": self.identity, "name": name, "source": source, "sizes": sizes}


def _pieces(arrays: Sequence[memoryview]) -> list[memoryview]:
    """The arrays cut into pieces of at most `_PIECE` bytes."""
    return [array[at : at + _PIECE] for array in arrays for at in range(0, len(array), _PIECE)]


def _header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header of a file, and the place of the first byte after it.

    Raises:
        ValueError: It is no header, or not the one that was written.
    """
    fixed = file.read(len(_MAGIC) + 8)
    start = len(fixed) + int.from_bytes(fixed[len(_MAGIC) :], "little")
    if not fixed.startswith(_MAGIC) or start > min(files.size(file), files.LARGEST_JSON):
        raise ValueError("it does not begin as a file of a spill")
    data = file.read(start - len(fixed))
    return sealed.unseal(data, files.parse_json(data)), start


def _fill(file: BinaryIO, piece: memoryview, start: int) -> str:
    """Read a piece from its place in a file, and return the digest of what was read."""
    at = 0
    while at < len(piece):
        read = os.preadv(file.fileno(), [piece[at:]], start + at)
        if not read:
            raise ValueError("it ends early")
        at += read
    return durable.digest(piece)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what a damaged file leads to into an error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as failure:
        raise CorruptInputError(f"{path} is not what was written: {failure}.") from failure
