"""A folder of shards: small HDF5 files of named arrays, each durable and with a checksum.

Shards make every stage resumable. A shard is built in memory, written under a temporary name,
fsynced and renamed; only then its digest is appended to the journal of the folder. A process that
is killed at any time loses at most its unfinished shards, and every shard in the journal is
complete. HDF5 never writes to the disk itself, because its writers can lose an open file when the
disk is full.

Several processes may fill one folder at a time. Each has a journal of its own, by the name of the
writer, and temporary files of its own; a reader takes all journals together. Two processes that
make the same shard write the same bytes, one over the other. Where their machines round otherwise,
the record holds that describes the file that is there.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.store import durable, files
from rmtgen.store.hdf5 import open_hdf5

JOURNAL = f"journal{durable.JOURNAL_SUFFIX}"
"""File name of the journal of a folder."""
_OF_WRITERS = f"journal.*{durable.JOURNAL_SUFFIX}"
"""Pattern of the journals of writers among several."""

CHUNK = 1024
"""Maximum length of an HDF5 chunk along each axis."""

_IMAGES = itertools.count()
_FINGERPRINT = "basis"  # key of the fingerprint in the journals of version 0.1.0, and since
_VIEW = "view"  # key of the record of the view over the shards, since version 0.2.0
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_REMEDY = "Delete the file and run the stage again: only this shard is computed again."


@dataclass(frozen=True)
class ShardRecord:
    """One line of the journal: name of a shard, size in bytes, and BLAKE2b digest of its file.

    Raises:
        ValueError: An attribute is not of its kind.
    """

    name: str
    size: int
    blake2b: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a shard")
        if type(self.size) is not int or self.size < 0:
            raise ValueError(f"{self.size!r} is no size of a file")
        if not isinstance(self.blake2b, str) or not _DIGEST.fullmatch(self.blake2b):
            raise ValueError(f"{self.blake2b!r} is no digest")

    @classmethod
    def of(cls, name: str, content: bytes) -> "ShardRecord":
        """The record of a file of this content."""
        return cls(name, len(content), durable.digest(content))


class ShardSet:
    """The shards in one folder, by name.

    Two writers of one name at a time are not safe: the locks of the run directory prevent them.

    Attributes:
        folder: Folder of the shards and their journal.
        fingerprint: Digest of everything that the shards are computed from, stored in the first
            line of the journal.
        journal: The file that lists the finished shards once the folder is sealed.
        writers: Names of the files in which other writers among several list theirs.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str | None = None,
        *,
        view: ShardRecord | None = None,
        journal: durable.Recorded | None = None,
        writer: str | None = None,
    ):
        """Read the journals, those that there are.

        Args:
            folder: Folder that need not exist yet.
            fingerprint: Fingerprint of the shards to be written; None to read any shards.
            view: Record of the view over the shards to be written.
            journal: Record of the journal of finished shards, which is then the only one that is
                read; None where there is none.
            writer: Name of this writer among several; None for the only one.

        Raises:
            StaleInputError: The existing shards have another fingerprint.
            CorruptInputError: A line of the journal, other than an incomplete last one, is not a
                record; the journal is not the recorded one; the folder or the journal is a link.
        """
        self.folder = files.require_folder(folder)
        self.fingerprint = fingerprint
        self.view = view
        self.journal = folder / JOURNAL
        self._writer = writer
        self._own = self.journal if writer is None else folder / _of_writer(writer)
        self._records: dict[str, ShardRecord] = {}
        self._made: dict[str, ShardRecord] = {}  # those that the own journal lists
        self._verified: set[str] = set()
        self._torn = False
        self._read_journal(self.journal, journal)
        self.writers: list[str] = []
        if journal is None:
            self.refresh()

    def refresh(self) -> None:
        """Take in what other writers have finished since.

        Raises:
            StaleInputError, CorruptInputError: As at the beginning.
        """
        others = sorted(self.folder.glob(_OF_WRITERS))
        self.writers = [path.name for path in others if path != self._own]
        for path in others:
            self._read_journal(path)

    def __contains__(self, name: str) -> bool:
        """Whether the shard was finished and its file still exists."""
        return name in self._records and files.is_there(self.path(name))

    def path(self, name: str) -> Path:
        """The file of a shard."""
        return self.folder / f"{name}.h5"

    def record(self, name: str) -> ShardRecord:
        """The entry of a finished shard in the journal.

        Raises:
            MissingInputError: The shard was never finished, or its file no longer exists.
        """
        if name not in self:
            raise MissingInputError(
                f"{self.path(name)} is not there or was never finished. Run the stage again: it"
                " resumes."
            )
        return self._records[name]

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store arrays as a shard, which is durable on return.

        Raises:
            StorageError: The disk refuses.
        """
        self._begin_journal()
        image = hdf5_image(arrays)
        durable.write_bytes(self.path(name), image, self._writer)
        record = ShardRecord.of(name, image)
        durable.append_line(self._own, json.dumps(record.__dict__))
        self._records[name] = self._made[name] = record

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a shard, whose digest is verified.

        Raises:
            MissingInputError: The shard does not exist.
            CorruptInputError: The bytes of the file are not those that were written.
        """
        with open_hdf5(self.path(name), self.record(name), _REMEDY, what="a shard") as file:
            return {key: dataset[()] for key, dataset in file.items()}

    def array(self, name: str, key: str) -> np.ndarray:
        """One array of a shard, for repeated reading.

        The digest of the file is verified the first time, later the checksum of HDF5 alone.

        Raises:
            MissingInputError: The shard does not exist.
            CorruptInputError: The bytes of the file are not those that were written.
        """
        record = self.record(name)
        known = None if name in self._verified else record
        with open_hdf5(self.path(name), known, _REMEDY, what="a shard") as file:
            array = file[key][()]
        self._verified.add(name)
        return array

    def verify(self) -> int:
        """Verify the digest of every finished shard, and return their number.

        Raises:
            MissingInputError: A shard does not exist; the message names the first.
            CorruptInputError: A shard is damaged; the message names the first.
        """
        for name in self._records:
            with durable.open_verified(self.path(name), self.record(name), _REMEDY):
                self._verified.add(name)
        return len(self._records)

    def seal(self) -> None:
        """Verify every shard, and gather the journals in one that lists each shard once, by name.

        Afterwards equal shards have equal journals, whoever has made them and however often. What
        killed writers have left is removed. No other process may write to the folder.
        """
        self.verify()
        content = self._content(self._records)
        if not files.is_there(self.journal) or files.read_bytes(self.journal) != content:
            durable.write_bytes(self.journal, content)
        for path in self.folder.glob(_OF_WRITERS):
            path.unlink(missing_ok=True)
        durable.sweep(self.folder)

    def _content(self, records: Mapping[str, ShardRecord]) -> bytes:
        """A journal of some shards, each once."""
        lines = [self._head(), *(records[name].__dict__ for name in sorted(records))]
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    def _head(self) -> dict[str, Any]:
        view = {} if self.view is None else {_VIEW: self.view.__dict__}
        return {_FINGERPRINT: self.fingerprint, **view}

    def _begin_journal(self) -> None:
        """Make a journal to append to; a new one replaces one that ends or begins otherwise."""
        durable.make_folder(files.require_folder(self.folder))
        if not files.is_there(self._own) or self._torn:
            listed = self._records if self._writer is None else self._made
            durable.write_bytes(self._own, self._content(listed), self._writer)
            self._torn = False

    def _read_journal(self, path: Path, record: durable.Recorded | None = None) -> None:
        if not files.is_there(path):
            return
        remedy = f"Delete the folder {self.folder} and run the stage again."
        data = durable.read_verified(path, record, remedy) if record else files.read_bytes(path)
        *lines, torn = data.split(b"\n")
        own = path == self._own
        self._torn |= own and (bool(torn) or not lines)
        try:
            read: list[dict[str, Any]] = [files.parse_json(line) for line in lines]
            head, *entries = read or [{_FINGERPRINT: None}]
            found = head[_FINGERPRINT]
            if found is not None and not isinstance(found, str):
                raise ValueError(f"{found!r} is no fingerprint")
            listed = {entry["name"]: ShardRecord(**entry) for entry in entries}
            self._take_view(head.get(_VIEW), own)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CorruptInputError(
                f"{path} is damaged ({type(error).__name__}: {error}). {remedy}"
            ) from error
        self._match_fingerprint(found)
        self._made |= listed if own else {}
        self._records |= {name: self._holding(shard) for name, shard in listed.items()}

    def _holding(self, record: ShardRecord) -> ShardRecord:
        """Of this record of a shard and one of another journal, the one that describes the file."""
        earlier = self._records.get(record.name, record)
        path = self.path(record.name)
        if earlier == record or not files.is_there(path) or not durable.holds(path, earlier):
            return record
        return earlier

    def _take_view(self, stored: dict[str, Any] | None, own: bool) -> None:
        """Take over the record of the view, or replace it by that of a view written since.

        A journal of version 0.1.0 has none and stays as it is: its digest is recorded elsewhere.
        """
        found = None if stored is None else ShardRecord(**stored)
        if found is None or self.view is None:
            self.view = found
        elif found != self.view:
            self._torn |= own

    def _match_fingerprint(self, found: str | None) -> None:
        """Take over the fingerprint of the journal, or refuse it if it is another one."""
        if None not in (self.fingerprint, found) and self.fingerprint != found:
            raise StaleInputError(
                f"{self.folder} holds shards made from other inputs (fingerprint {found}, expected"
                f" {self.fingerprint}). Delete the folder, or restore the inputs, and run the stage"
                " again."
            )
        self.fingerprint = self.fingerprint or found


def _of_writer(writer: str) -> str:
    """File name of the journal of one writer among several."""
    return _OF_WRITERS.replace("*", writer)


def required(
    recorded: Mapping[str, durable.Recorded] | None, folder: Path, *names: str
) -> Mapping[str, durable.Recorded]:
    """The records of a store's files, those of these names among them, where there are any.

    Raises:
        CorruptInputError: A manifest does not list one.
    """
    lacking = [name for name in names if recorded is not None and name not in recorded]
    if lacking:
        raise CorruptInputError(
            f"the manifest in {folder} must list {lacking[0]} among its outputs, and does not."
            " Delete the manifest and run the stage again."
        )
    return recorded or {}


@dataclass(frozen=True)
class Piece:
    """The place of one array of one shard in a virtual dataset."""

    place: tuple[slice, ...]
    shard: str
    array: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A virtual dataset over the shards in a folder beside the file; missing shards read as NaN.

    Attributes:
        shape: Shape of the dataset.
        dtype: Name of its NumPy dtype.
        source: Name of the folder, relative to the file.
        pieces: The places of the arrays of the shards.
    """

    shape: tuple[int, ...]
    dtype: str
    source: str
    pieces: Sequence[Piece]

    def create(self, file: h5py.File, name: str) -> None:
        """Create the virtual dataset in an open file.

        File names are relative, so that the directory can be moved. Only the low-level interface of
        h5py can omit the time of creation, which would make equal files differ.
        """
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        properties.set_fill_value(np.full(1, np.nan, self.dtype))
        for piece in self.pieces:
            place = h5py.h5s.create_simple(self.shape)
            place.select_hyperslab(tuple(axis.start for axis in piece.place), piece.shape)
            source = f"{self.source}/{piece.shard}.h5".encode()
            properties.set_virtual(
                place, source, piece.array.encode(), h5py.h5s.create_simple(piece.shape)
            )
        kind, space = h5py.h5t.py_create(np.dtype(self.dtype)), h5py.h5s.create_simple(self.shape)
        h5py.h5d.create(file.id, name.encode(), kind, space, properties)


def hdf5_image(
    arrays: Mapping[str, np.ndarray],
    views: Mapping[str, View] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> bytes:
    """The bytes of an HDF5 file; equal content gives equal bytes, as no times are stored.

    Args:
        arrays: Datasets by name, stored in chunks of at most 1024² with fletcher32 checksums.
        views: Virtual datasets by name.
        attributes: Attributes of the root group.
    """
    name = f"image {next(_IMAGES)}"  # HDF5 opens no name twice, not even of a file in memory
    with h5py.File(name, "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        file.attrs.update(attributes or {})
        for name, array in arrays.items():
            chunks = (
                tuple(min(size, CHUNK) for size in array.shape)
                if array.size and array.ndim
                else None
            )
            dataset = file.create_dataset(
                name, data=array, chunks=chunks, fletcher32=chunks is not None, track_times=False
            )
            # not when the last reference goes, which a profiler or a debugger may hold
            dataset.flush()
        for name, view in (views or {}).items():
            view.create(file, name)
        file.flush()
        return file.id.get_file_image()
