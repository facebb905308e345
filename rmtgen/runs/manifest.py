"""Manifests: what a stage made, from what, and whether that still holds.

A stage's manifest `STAGE.json` is written last, durably; without it the stage is unfinished. It
records the hash of the fields that matter to the stage, the files outside the run it read, the
outputs of the stages it read, a checksum of each file it wrote, and one of itself.
"""

import contextlib
import dataclasses
import importlib.metadata
import math
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.runs.graph import DECLARED
from rmtgen.store import durable, files, sealed
from rmtgen.store.tree import FileList, entries

FORMAT = 2
"""Format of the manifests that are written."""
UNSEALED = 1
"""Format of version 0.1.0, without a digest of the manifest itself."""
_DIGEST = re.compile(r"[0-9a-f]{32}")
_BEGUN = "-begun"
"""What the name of a stage is followed by in a manifest of a part of it."""
_PACKAGES = ("rmtgen", "torch", "torchvision", "timm", "h5py", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class FileRecord:
    """The record of a file, of a folder, or of a list of files.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of the last modification, in ns.
        blake2b: BLAKE2b-128 of the content; of the listing, for a folder or a list.
    """

    size: int
    mtime_ns: int
    blake2b: str

    @classmethod
    def of(cls, path: Path | FileList) -> "FileRecord":
        """Record a file; a folder or a list by the names, sizes and times of everything in it.

        Raises:
            MissingInputError: there is nothing at `path`.
        """
        if not path.exists():
            raise MissingInputError(f"{path} is not there any more.")
        if isinstance(path, FileList):
            return _list_record(path)
        if path.is_dir():
            return _folder_record(path)
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, durable.file_digest(path.resolve()))

    @classmethod
    def parse(cls, content: Any) -> "FileRecord":
        """The record that JSON holds.

        Raises:
            TypeError, ValueError: It is none.
        """
        record = cls(**content)
        if type(record.size) is not int or type(record.mtime_ns) is not int or record.size < 0:
            raise ValueError("size and mtime_ns must be whole numbers")
        if not isinstance(record.blake2b, str) or not _DIGEST.fullmatch(record.blake2b):
            raise ValueError(f"blake2b must be a digest, got {record.blake2b!r}")
        return record

    def still_describes(self, path: Path | FileList) -> bool:
        """Whether `path` is what it was; the content is read again only where its time changed."""
        if not path.exists():
            return False
        if isinstance(path, FileList):
            return _list_record(path) == self
        if path.is_dir():
            return _folder_record(path) == self
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or durable.holds(path.resolve(), self)

    def holds(self, path: Path) -> bool:
        """Whether the bytes of a file are those recorded, whatever its time says."""
        return durable.holds(path, self)


@dataclass(frozen=True)
class Manifest:
    """What one stage wrote.

    Attributes:
        stage: the stage's name.
        spec: the fields that can change the result.
        spec_hash: their hash.
        inputs: files outside the run that were read, by role.
        upstream: for each stage read, the digest of its outputs.
        outputs: files written, by path relative to the run directory.
        details: What else the stage records: indices, counts, checks.
        seconds: wall time of the stage's work.
        provenance: versions, device, and when and from where the result came.
    """

    stage: str
    spec: Mapping[str, Any]
    spec_hash: str
    inputs: Mapping[str, FileRecord]
    upstream: Mapping[str, str]
    outputs: Mapping[str, FileRecord]
    details: Mapping[str, Any]
    seconds: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs_digest(self) -> str:
        """One digest for everything the stage wrote; what stages downstream record."""
        return durable.digest(
            durable.canonical_json({name: r.blake2b for name, r in self.outputs.items()}).encode()
        )

    def stale(self, folder: Path, upstream: Mapping[str, str]) -> StaleInputError | None:
        """The error for a result that was made from other results than those there now.

        Args:
            folder: The directory of the result.
            upstream: The digest of the outputs of each stage that is there now and was read.
        """
        changed = [name for name, now in upstream.items() if self.upstream.get(name) != now]
        if not changed:
            return None
        return StaleInputError(
            f"{folder}/{self.stage}.json must be made from the results that are there now: got"
            f" other results of {', '.join(changed)}. It is not overwritten: delete it together"
            f' with what it lists under "outputs", or move {folder} away, and run again.'
        )

    def begun(self) -> "Manifest":
        """This as the manifest of a stage of which something is lacking still."""
        return dataclasses.replace(self, stage=f"{self.stage}{_BEGUN}")

    @classmethod
    def read_begun(cls, folder: Path, stage: str) -> "Manifest | None":
        """The manifest of a part of a stage; None where there is none that can be used."""
        try:
            return cls.read(folder, f"{stage}{_BEGUN}")
        except (CorruptInputError, StaleInputError):
            return None

    @staticmethod
    def forget_begun(folder: Path, stage: str) -> None:
        """Remove the manifest of a part of a stage, where there is one."""
        with contextlib.suppress(OSError):
            (folder / f"{stage}{_BEGUN}.json").unlink(missing_ok=True)

    def write(self, folder: Path) -> None:
        """Write `STAGE.json` durably.

        Raises:
            StorageError: the disk refuses.
        """
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        durable.write_bytes(folder / f"{self.stage}.json", sealed.seal(content))

    @classmethod
    def read(cls, folder: Path, stage: str) -> "Manifest | None":
        """The manifest of a stage, or None when the stage is unfinished.

        Raises:
            StaleInputError: It has the format of another version of rmtgen.
            CorruptInputError: It is not a manifest, or not the one that was written.
        """
        path = folder / f"{stage}.json"
        if not files.is_there(path):
            return None
        data = files.read_json_bytes(path)
        try:
            content = files.parse_json(data)
            found = content["format"]
            if found not in (FORMAT, UNSEALED):
                raise StaleInputError(
                    f"{path} has manifest format {found}; this version reads {UNSEALED} and"
                    f" {FORMAT}. Use the version that wrote it, or move {folder} away and run"
                    " again."
                )
            content = sealed.unseal(data, content) if found == FORMAT else content
            del content["format"]
            return cls._parse(stage, content)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CorruptInputError(
                f"{path} is not a manifest ({type(error).__name__}: {error}). Delete it and run the"
                " stage again."
            ) from error

    @classmethod
    def _parse(cls, stage: str, content: dict[str, Any]) -> "Manifest":
        """The manifest that JSON holds, every field of it of its type.

        Raises:
            TypeError, ValueError, LookupError: It is none.
        """
        for group in ("spec", "inputs", "upstream", "outputs", "details", "provenance"):
            if not isinstance(content[group], dict):
                raise TypeError(f"{group} must be an object, got {type(content[group]).__name__}")
        for group in ("inputs", "outputs"):
            content[group] = {
                name: _parsed(f"{group}: {name}", record) for name, record in content[group].items()
            }
        for name in content["outputs"]:
            _check_output(name)
        for group in ("upstream", "provenance"):
            _check_texts(group, content[group])
        manifest = cls(**content)
        if manifest.stage != stage:
            raise ValueError(f"stage must be {stage}, got {manifest.stage!r}")
        if not isinstance(manifest.spec_hash, str):
            raise TypeError(f"spec_hash must be text, got {manifest.spec_hash!r}")
        if type(manifest.seconds) not in (int, float) or not 0 <= manifest.seconds < math.inf:
            raise ValueError(f"seconds must be a number of at least 0, got {manifest.seconds!r}")
        return manifest


def recorded(folder: Path, stage: str) -> Mapping[str, FileRecord] | None:
    """What the manifest of a stage records of its files; None where there is no manifest.

    Raises:
        StaleInputError, CorruptInputError: As `Manifest.read`.
    """
    manifest = Manifest.read(folder, stage)
    return manifest.outputs if manifest else None


def _parsed(where: str, record: Any) -> FileRecord:
    try:
        return FileRecord.parse(record)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _check_output(name: str) -> None:
    """Refuse an output under a name that leads elsewhere, or that is a manifest's."""
    files.check_name(name)
    if name.lower() in {f"{stage}.json" for stage in DECLARED}:
        raise ValueError(f"{name!r} is a manifest and no output")


def _check_texts(group: str, entries: Mapping[str, Any]) -> None:
    """Refuse entries that are neither text nor, of the versions, an object of texts."""
    for name, value in entries.items():
        if name == "versions" and isinstance(value, dict):
            _check_texts(f"{group}: {name}", value)
        elif not isinstance(value, str):
            raise TypeError(f"{group}: {name} must be text, got {type(value).__name__}")


def provenance() -> dict[str, Any]:
    """Versions of what the result depends on, read from package metadata: nothing is imported."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"python": sys.version.split()[0], "platform": platform.platform(), "versions": versions}


def plain(value: Any) -> Any:
    """`value` as JSON has it: a number that is not finite is null, a path is text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _folder_record(folder: Path) -> FileRecord:
    """The record of a folder's listing, links followed, hidden entries left out.

    The content is not read, so that a folder of a million images stays cheap.

    Raises:
        MissingInputError: a folder cannot be listed, or changes meanwhile.
    """
    listing = []
    try:
        for entry in entries(folder):
            if entry.kind in ("hidden", "empty folder", "folder met before"):
                continue
            path = folder / entry.name
            status = path.lstat() if entry.kind == "broken link" else path.stat()
            listing.append((entry.name, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise MissingInputError(
            f"{error.filename} cannot be listed: {error.strerror}. Make it readable."
        ) from error
    return _listing_record(listing)


def _list_record(files: FileList) -> FileRecord:
    """The record of listed files; one that is missing has no size and no time."""
    return _listing_record(
        (name, status.st_size, status.st_mtime_ns) if status else (name, -1, -1)
        for name, status in files.statuses()
    )


def _listing_record(listing: Iterable[tuple[str, int, int]]) -> FileRecord:
    """The record of names, sizes and times, in any order."""
    ordered = sorted(listing)
    total = sum(max(size, 0) for _, size, _ in ordered)
    newest = max((time for _, _, time in ordered), default=0)
    return FileRecord(
        total,
        max(newest, 0),
        durable.digest(durable.canonical_json(ordered).encode()),
    )
