"""HDF5 files opened without surprise: their digest first, then what they declare, then numbers.

HDF5 lets a file name other files to read from, and declare more than it holds. A file of rmtgen
holds plain arrays of numbers or text in itself; only a view reads from others, from the shards in
the folder beside it. Everything else is refused before a value is read.
"""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, RmtgenError, UsageError
from rmtgen.store import durable, files

DEPTH = 2
"""Deepest nesting of groups that a file of rmtgen has."""

_FILTERS = (h5py.h5z.FILTER_FLETCHER32,)
_KINDS = "biufS"
"""Kinds of the NumPy types of stored arrays: numbers, booleans and text of fixed length."""
_LEAST_BYTES = 64
"""Bytes that the description of one array takes at least."""
_SHARD = re.compile(r"[A-Za-z0-9-]+\.h5")
_FAULTS = (OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, MemoryError)
"""What h5py and readers of its values raise for a file that is not what they expect."""


@contextlib.contextmanager
def open_hdf5(
    path: Path,
    record: durable.Recorded | None,
    remedy: str,
    *,
    what: str = "a file of rmtgen",
    shards: str | None = None,
) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; its digest is compared before HDF5 sees a byte.

    What its reader raises for values of another kind than expected is an error of the file.

    Args:
        path: The file.
        record: What was recorded when it was written; None where nothing was.
        remedy: What an error says to do.
        what: What the file must be, for the error.
        shards: The folder beside the file that its virtual datasets may read shards from.

    Yields:
        The open file.

    Raises:
        MissingInputError: There is nothing at `path`.
        CorruptInputError: The file is not what was written, or holds what no file of rmtgen does:
            arrays stored in other files, links, arrays larger than the file, other types, filters.
    """
    with _opened(path, record, remedy) as stored:
        try:
            with h5py.File(stored, "r") as file:
                _Check(files.size(stored), shards).group(file, DEPTH)
                yield file
        except _FAULTS as error:
            if isinstance(error, RmtgenError) and not isinstance(error, UsageError):
                raise
            raise CorruptInputError(f"{path} is not {what} ({error}). {remedy}") from error


def integer(file: h5py.File, name: str) -> int:
    """An attribute of a file, which must be one integer.

    Raises:
        KeyError: There is none of the name.
        ValueError: It is something else.
    """
    value = _scalar(file, name)
    if not isinstance(value, np.integer):
        raise ValueError(f"{name} is no integer")
    return int(value)


def text(file: h5py.File, name: str) -> str:
    """An attribute of a file, which must be one text.

    Raises:
        KeyError: There is none of the name.
        ValueError: It is something else.
    """
    value = _scalar(file, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _scalar(file: h5py.File, name: str) -> object:
    """An attribute of one value; its shape is looked at before memory is taken for it."""
    if h5py.h5a.open(file.id, name.encode()).shape != ():
        raise ValueError(f"{name} is not one value")
    return file.attrs[name]


@contextlib.contextmanager
def _opened(path: Path, record: durable.Recorded | None, remedy: str) -> Iterator[BinaryIO]:
    if record is None:
        with files.open_regular(path) as file:
            yield file
    else:
        with durable.open_verified(path, record, remedy) as file:
            yield file


class _Check:
    """What a file of so many bytes declares, summed up over its datasets."""

    def __init__(self, size: int, shards: str | None):
        self.size, self.shards = size, shards
        self.declared = self.count = 0

    def group(self, group: h5py.Group, depth: int) -> None:
        """Check everything in a group.

        Raises:
            ValueError: An entry is none that rmtgen writes.
        """
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is a link to another place")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                self._dataset(item)
            elif isinstance(item, h5py.Group) and depth:
                self.group(item, depth - 1)
            else:
                raise ValueError(f"{item.name} is no array")

    def _dataset(self, dataset: h5py.Dataset) -> None:
        name, properties = dataset.name, dataset.id.get_create_plist()
        if properties.get_external_count():
            raise ValueError(f"{name} is stored in another file")
        if dataset.dtype.kind not in _KINDS or dataset.shape is None:
            raise ValueError(f"{name} holds neither numbers nor text, but {dataset.dtype}")
        filters = [properties.get_filter(at)[0] for at in range(properties.get_nfilters())]
        if set(filters) - set(_FILTERS):
            raise ValueError(f"{name} is stored with filters {filters}")
        if dataset.is_virtual:
            self._view(dataset)
            return
        self.count += 1
        self.declared += math.prod(dataset.shape) * dataset.dtype.itemsize
        if max(self.declared, self.count * _LEAST_BYTES) > self.size:
            raise ValueError(f"{name} of shape {dataset.shape} is larger than the file")

    def _view(self, dataset: h5py.Dataset) -> None:
        for source in dataset.virtual_sources():
            folder, _, shard = source.file_name.rpartition("/")
            if self.shards is None or folder != self.shards or not _SHARD.fullmatch(shard):
                raise ValueError(f"{dataset.name} reads from {source.file_name!r}")
