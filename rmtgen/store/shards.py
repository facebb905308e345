"""A folder of shards: small HDF5 files of named arrays, each durable and checksummed, or absent.

This is what makes every stage resumable. A shard is built in memory, written under a temporary
name, fsynced and renamed, and only then is its digest appended to the folder's journal; so a
process killed at any instant loses at most the shards it had not finished, and what is there is
known to be whole. Building in memory also keeps HDF5 away from disks that fill up: its own writers
can lose an open file.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.store import durable

JOURNAL = f"journal{durable.JOURNAL_SUFFIX}"
CHUNK = 1024


@dataclass(frozen=True)
class ShardRecord:
    """One line of the journal: the shard's name, its size in bytes, and the BLAKE2b digest of the
    file.
    """

    name: str
    size: int
    blake2b: str


class ShardSet:
    """The shards under one folder, known by name.

    Not safe for two writers at once: the run directory's lock guards it.

    Attributes:
        folder: where the shards and their journal lie.
        basis: a digest of everything the shards are made from; the journal's first line.
    """

    def __init__(self, folder: Path, basis: str | None = None):
        """Read the journal, if there is one.

        Args:
            folder: need not exist yet.
            basis: what new shards are made from; None to read whatever is there.

        Raises:
            StaleInputError: the shards there were made from something else.
            CorruptInputError: a line of the journal, other than a torn last one, is not a record.
        """
        self.folder = folder
        self.basis = basis
        self._records: dict[str, ShardRecord] = {}
        self._read_journal()

    def __contains__(self, name: str) -> bool:
        """Whether the shard was finished and its file is still there."""
        return name in self._records and self.path(name).exists()

    def path(self, name: str) -> Path:
        """The shard's file."""
        return self.folder / f"{name}.h5"

    @property
    def journal(self) -> Path:
        """The file that lists the finished shards."""
        return self.folder / JOURNAL

    def record(self, name: str) -> ShardRecord:
        """The journal's entry for a finished shard.

        Raises:
            MissingInputError: the shard was never finished, or its file is gone.
        """
        if name not in self:
            raise MissingInputError(
                f"{self.path(name)} is not there or was never finished. Run the stage again: it"
                " resumes."
            )
        return self._records[name]

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store arrays as a shard, durable when this returns.

        Raises:
            StorageError: the disk refuses.
        """
        durable.make_folder(self.folder)
        if not self.journal.exists() or not self.journal.stat().st_size:
            durable.append_line(self.journal, json.dumps({"basis": self.basis}))
        image = hdf5_image(arrays)
        durable.write_bytes(self.path(name), image)
        record = ShardRecord(name, len(image), durable.digest(image))
        durable.append_line(self.journal, json.dumps(record.__dict__))
        self._records[name] = record

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a shard, after its digest was compared.

        Raises:
            MissingInputError: the shard is not there.
            CorruptInputError: the file's bytes are not those that were written.
        """
        with h5py.File(io.BytesIO(self._verified_bytes(name)), "r") as file:
            return {key: dataset[()] for key, dataset in file.items()}

    def array(self, name: str, key: str) -> np.ndarray:
        """One array of a shard, for those who read it often: HDF5's own checksum is compared, the
        digest is not.

        Raises:
            MissingInputError: the shard is not there.
            CorruptInputError: HDF5 refuses it.
        """
        self.record(name)
        try:
            with h5py.File(self.path(name), "r", locking="best-effort") as file:
                return file[key][()]
        except (OSError, KeyError) as error:
            raise CorruptInputError(
                f"{self.path(name)} is damaged ({error}). Delete the file and run the stage again:"
                " only this shard is made anew."
            ) from error

    def verify(self) -> int:
        """Compare every finished shard with its digest; the number of shards that passed.

        Raises:
            MissingInputError, CorruptInputError: naming the first shard that fails.
        """
        for name in self._records:
            self._verified_bytes(name)
        return len(self._records)

    def seal(self) -> None:
        """Verify every shard, and write the journal anew where shards were made more than once:
        equal shards, equal journal.
        """
        self.verify()
        lines = [{"basis": self.basis}, *(record.__dict__ for record in self._records.values())]
        content = "".join(json.dumps(line) + "\n" for line in lines)
        if self.journal.read_text(encoding="utf-8") != content:
            durable.write_text(self.journal, content)

    def _verified_bytes(self, name: str) -> bytes:
        record, path = self.record(name), self.path(name)
        data = path.read_bytes()
        if durable.digest(data) != record.blake2b:
            raise CorruptInputError(
                f"{path} is damaged: expected {record.size} bytes with BLAKE2b {record.blake2b},"
                f" got {len(data)} bytes with {durable.digest(data)}. Delete the file and run the"
                " stage again: only this shard is made anew."
            )
        return data

    def _read_journal(self) -> None:
        if not self.journal.exists():
            return
        *lines, torn = self.journal.read_bytes().split(b"\n")
        if torn:
            durable.write_bytes(self.journal, b"".join(line + b"\n" for line in lines))
        try:
            head, *entries = (json.loads(line) for line in lines or [b'{"basis": null}'])
            found = head["basis"]
            self._records = {entry["name"]: ShardRecord(**entry) for entry in entries}
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptInputError(
                f"{self.journal} is damaged ({type(error).__name__}: {error}). Delete the folder"
                f" {self.folder} and run the stage again."
            ) from error
        self._refuse_other_basis(found)

    def _refuse_other_basis(self, found: str | None) -> None:
        if None not in (self.basis, found) and self.basis != found:
            raise StaleInputError(
                f"{self.folder} holds shards made from other inputs (basis {found}, expected"
                f" {self.basis}). They are not mixed: delete the folder, or put the inputs back,"
                " and run the stage again."
            )
        self.basis = self.basis or found


@dataclass(frozen=True)
class Piece:
    """Where one array of one shard appears in a virtual dataset."""

    place: tuple[slice, ...]
    shard: str
    array: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A virtual dataset over shards in the folder `source`, which lies beside the file; what is
    missing reads as NaN.
    """

    shape: tuple[int, ...]
    dtype: str
    source: str
    pieces: Sequence[Piece]

    def create(self, file: h5py.File, name: str) -> None:
        """Make the virtual dataset in an open file, by relative file names, so that the directory
        can be moved.

        Through the low-level interface, which alone can leave the time of creation out of the file.
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
    """The bytes of an HDF5 file with `arrays` (fletcher32, chunks of up to 1024²), virtual `views`
    and root `attributes`.

    The same content gives the same bytes: no times are stored.
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
