"""A folder of shards: small HDF5 files of named arrays, each durable and with a checksum.

Shards make every stage resumable. A shard is built in memory, written under a temporary name,
fsynced and renamed; only then its digest is appended to the journal of the folder. A process that
is killed at any time loses at most its unfinished shards, and every shard in the journal is
complete. HDF5 never writes to the disk itself, because its writers can lose an open file when the
disk is full.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.store import durable

JOURNAL = f"journal{durable.JOURNAL_SUFFIX}"
"""File name of the journal of a folder."""

CHUNK = 1024
"""Maximum length of an HDF5 chunk along each axis."""

_FINGERPRINT = "basis"  # key of the fingerprint in the journals of version 0.1.0, and since


@dataclass(frozen=True)
class ShardRecord:
    """One line of the journal: name of a shard, size in bytes, and BLAKE2b digest of its file."""

    name: str
    size: int
    blake2b: str


class ShardSet:
    """The shards in one folder, by name.

    Two writers at a time are not safe: the lock of the run directory prevents them.

    Attributes:
        folder: Folder of the shards and their journal.
        fingerprint: Digest of everything that the shards are computed from, stored in the first
            line of the journal.
    """

    def __init__(self, folder: Path, fingerprint: str | None = None):
        """Read the journal, if there is one.

        Args:
            folder: Folder that need not exist yet.
            fingerprint: Fingerprint of the shards to be written; None to read any shards.

        Raises:
            StaleInputError: The existing shards have another fingerprint.
            CorruptInputError: A line of the journal, other than an incomplete last one, is not a
                record.
        """
        self.folder = folder
        self.fingerprint = fingerprint
        self._records: dict[str, ShardRecord] = {}
        self._read_journal()

    def __contains__(self, name: str) -> bool:
        """Whether the shard was finished and its file still exists."""
        return name in self._records and self.path(name).exists()

    def path(self, name: str) -> Path:
        """The file of a shard."""
        return self.folder / f"{name}.h5"

    @property
    def journal(self) -> Path:
        """The file that lists the finished shards."""
        return self.folder / JOURNAL

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
        durable.make_folder(self.folder)
        if not self.journal.exists() or not self.journal.stat().st_size:
            durable.append_line(self.journal, json.dumps({_FINGERPRINT: self.fingerprint}))
        image = hdf5_image(arrays)
        durable.write_bytes(self.path(name), image)
        record = ShardRecord(name, len(image), durable.digest(image))
        durable.append_line(self.journal, json.dumps(record.__dict__))
        self._records[name] = record

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a shard, whose digest is verified.

        Raises:
            MissingInputError: The shard does not exist.
            CorruptInputError: The bytes of the file are not those that were written.
        """
        with h5py.File(io.BytesIO(self._verified_bytes(name)), "r") as file:
            return {key: dataset[()] for key, dataset in file.items()}

    def array(self, name: str, key: str) -> np.ndarray:
        """One array of a shard, for repeated reading.

        The checksum of HDF5 is verified, the digest of the file is not.

        Raises:
            MissingInputError: The shard does not exist.
            CorruptInputError: HDF5 cannot read it.
        """
        self.record(name)
        try:
            with h5py.File(self.path(name), "r", locking="best-effort") as file:
                return file[key][()]
        except (OSError, KeyError) as error:
            raise CorruptInputError(
                f"{self.path(name)} is damaged ({error}). Delete the file and run the stage again:"
                " only this shard is computed again."
            ) from error

    def verify(self) -> int:
        """Verify the digest of every finished shard, and return their number.

        Raises:
            MissingInputError: A shard does not exist; the message names the first.
            CorruptInputError: A shard is damaged; the message names the first.
        """
        for name in self._records:
            self._verified_bytes(name)
        return len(self._records)

    def seal(self) -> None:
        """Verify every shard, and remove repeated entries from the journal.

        Afterwards equal shards have equal journals, even if some were computed more than once.
        """
        self.verify()
        records = (record.__dict__ for record in self._records.values())
        lines = [{_FINGERPRINT: self.fingerprint}, *records]
        content = "".join(json.dumps(line) + "\n" for line in lines)
        if self.journal.read_text(encoding="utf-8") != content:
            durable.write_text(self.journal, content)

    def _verified_bytes(self, name: str) -> bytes:
        record = self.record(name)
        remedy = "Delete the file and run the stage again: only this shard is computed again."
        return durable.read_verified(self.path(name), record.size, record.blake2b, remedy)

    def _read_journal(self) -> None:
        if not self.journal.exists():
            return
        *lines, torn = self.journal.read_bytes().split(b"\n")
        if torn:
            durable.write_bytes(self.journal, b"".join(line + b"\n" for line in lines))
        try:
            read: list[dict[str, Any]] = [json.loads(line) for line in lines]
            head, *entries = read or [{_FINGERPRINT: None}]
            found = head[_FINGERPRINT]
            self._records = {entry["name"]: ShardRecord(**entry) for entry in entries}
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptInputError(
                f"{self.journal} is damaged ({type(error).__name__}: {error}). Delete the folder"
                f" {self.folder} and run the stage again."
            ) from error
        self._match_fingerprint(found)

    def _match_fingerprint(self, found: str | None) -> None:
        """Take over the fingerprint of the journal, or refuse it if it is another one."""
        if None not in (self.fingerprint, found) and self.fingerprint != found:
            raise StaleInputError(
                f"{self.folder} holds shards made from other inputs (fingerprint {found}, expected"
                f" {self.fingerprint}). Delete the folder, or restore the inputs, and run the stage"
                " again."
            )
        self.fingerprint = self.fingerprint or found


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
    with h5py.File(
        "image", "w", driver="core", backing_store=False, libver=("v110", "v110")
    ) as file:
        file.attrs.update(attributes or {})
        for name, array in arrays.items():
            chunks = (
                tuple(min(size, CHUNK) for size in array.shape)
                if array.size and array.ndim
                else None
            )
            file.create_dataset(
                name, data=array, chunks=chunks, fletcher32=chunks is not None, track_times=False
            )
        for name, view in (views or {}).items():
            view.create(file, name)
        file.flush()
        return file.id.get_file_image()
