"""Arrays in NumPy files, mapped where they lie as they are; nothing is unpickled."""

import contextlib
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    RmtgenError,
    StorageError,
    UsageError,
)
from rmtgen.names import printable

_MARK = b"\x93NUMPY"
"""The first bytes of an .npy."""
_LOCAL = struct.Struct("<26xHH")
"""Lengths of the name and of the extra field, at the end of the header before a member's bytes."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Readers of the headers of an .npy by its version."""
_CHUNK = 2**22
"""Bytes that are read at a time to check them."""


class _Header(NamedTuple):
    """What an .npy says before its numbers, and the length of that."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int


class ArrayFile:
    """An .npy with one array, or an .npz with several; they are read when they are asked for.

    Attributes:
        path: The file.
        shown: Its name in messages.
        names: Names of the arrays; None for an .npy, whose one array has none.
    """

    names: tuple[str, ...] | None

    def __init__(self, path: Path):
        """Look into a file.

        Raises:
            MissingInputError: It does not exist.
            StorageError: It cannot be read.
            UsageError: It is no plain file.
            CorruptInputError: It is damaged, or no NumPy file.
        """
        self.path, self.shown = path, printable(str(path))
        with self._reading():
            if not path.exists():
                raise MissingInputError(f"{self.shown} does not exist. Give an .npy or .npz file.")
            if not path.is_file():
                raise UsageError(
                    f"an array must be in a plain file, got {self.shown}. Give an .npy or .npz."
                )
            with path.open("rb") as file:
                self.names = None
                if file.read(len(_MARK)) != _MARK:
                    file.seek(0)
                    with np.load(file, allow_pickle=False) as found:
                        self.names = tuple(found.files)

    def shape(self, name: str = "") -> tuple[int, ...]:
        """The shape of an array, from its header alone.

        Raises:
            StorageError, CorruptInputError: As for the file.
        """
        with self._reading(), self._opened(name) as file:
            header = _header(file)
        return self.read(name).shape if header is None else header.shape

    def read(self, name: str = "") -> np.ndarray:
        """An array: mapped, read-only, if the file holds it as it is; else in memory.

        Args:
            name: One of `names`; nothing for an .npy.

        Raises:
            StorageError, CorruptInputError: As for the file.
        """
        with self._reading():
            if self.names is None:
                # mapped, so that a header that promises more than the file holds is found
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            with self._opened(name) as file:
                header = _header(file)
            found = None if header is None else self._mapped(name, header)
            if found is not None:
                return found
            with self._opened(name) as file:
                return np.lib.format.read_array(file, allow_pickle=False)

    def verify(self, name: str = "") -> None:
        """Hold the bytes of an array of an .npz against its checksum, a few at a time.

        Raises:
            StorageError, CorruptInputError: They are not those that were saved.
        """
        with self._reading(), self._opened(name) as file:
            while self.names is not None and file.read(_CHUNK):
                pass  # at its end a member is held against its checksum

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        """The bytes of an array with its header."""
        if self.names is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as file:
                yield file

    def _mapped(self, name: str, header: _Header) -> np.ndarray | None:
        """An array that an .npz holds uncompressed, or None.

        Raises:
            ValueError: It has other bytes than its header says.
        """
        with zipfile.ZipFile(self.path) as archive:
            member = archive.getinfo(f"{name}.npy")
        size = math.prod(header.shape) * header.dtype.itemsize
        if member.compress_type != zipfile.ZIP_STORED or not size:
            return None
        if header.length + size != member.file_size:
            raise ValueError(f"{name} must have {size} bytes")
        with self.path.open("rb") as file:
            file.seek(member.header_offset)
            before = _LOCAL.size + sum(_LOCAL.unpack(file.read(_LOCAL.size)))
        start = member.header_offset + before + header.length
        order: Literal["C", "F"] = "F" if header.fortran else "C"
        return np.memmap(self.path, header.dtype, "r", start, header.shape, order)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """A context in which the errors of the disk, of zipfile and of NumPy become ours."""
        try:
            yield
        except (RmtgenError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib and NumPy's headers have no common error class
            if isinstance(error, OSError) and error.errno is not None:
                raise StorageError(
                    f"{self.shown} cannot be read: {error.strerror}. Check the path and the disk."
                ) from error
            reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
            raise CorruptInputError(
                f"{self.shown} must be a whole .npy or .npz file of plain numbers or texts, got"
                f" something else ({reason}). Save it with numpy.save; arrays of objects are not"
                " read."
            ) from error


def _header(file: IO[bytes]) -> _Header | None:
    """The header of an .npy; None for a version that is not of plain numbers or texts.

    Raises:
        ValueError: It is none, or of objects.
    """
    read = _HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        return None
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("an array of objects")
    return _Header(shape, fortran, dtype, file.tell())
