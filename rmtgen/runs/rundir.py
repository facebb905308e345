"""The directory of one run: who may write to it, which stages are done, and what can be taken over
from other runs.
"""

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rmtgen.errors import BusyError, CorruptInputError, MissingInputError, StaleInputError
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import sources
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.store import durable

RUNS = "runs"
_held: set[int] = set()  # descriptors of the locks of this process


def _let_go() -> None:
    """Close the copies of the locks that a forked child inherits: a worker that outlives a killed
    stage would go on holding its run.
    """
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class RunDir:
    """`OUTPUT/runs/<run name>/`, where the stages of one `Config` leave their results.

    Attributes:
        config: the configuration.
        path: the directory.
    """

    def __init__(self, config: Config):
        self.config = config
        self.path = Path(config.output) / RUNS / config.run_name

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the run's directory: see `locked`."""
        return locked(self.path)

    def done(self, stage: str) -> Manifest | None:
        """The manifest of a stage if its result is whole and made from what is there now, else
        None.

        Raises:
            StaleInputError: a file it was made from has changed since; or it was written by another
                version.
            CorruptInputError: a file it wrote has changed since, or the manifest is unreadable.
        """
        manifest = Manifest.read(self.path, stage)
        if manifest is None:
            return None
        if manifest.spec_hash != self.config.stage_hash(stage):
            raise StaleInputError(
                f"{self.path}/{stage}.json was made for other settings (hash"
                f" {manifest.spec_hash[:8]}, expected {self.config.stage_hash(stage)[:8]}). It is"
                f" not overwritten: move {self.path} away and run again."
            )
        self._refuse_changed_inputs(manifest)
        if not self._outputs_are_whole(manifest):
            return None
        if self._upstream(stage) != manifest.upstream:
            raise StaleInputError(
                f"{self.path}/{stage}.json was made from other results of"
                f" {', '.join(self.config.reads(stage))} than those there now. It is not"
                ' overwritten: delete it together with what it lists under "outputs", or move'
                f" {self.path} away, and run again."
            )
        return manifest

    def basis(self, stage: str, sources: Mapping[str, str] | None = None) -> str:
        """A digest of all that a stage's result is made from: its fields, upstream outputs, and
        digests of outside `sources`.
        """
        made_from = [self.config.stage_hash(stage), self._upstream(stage), dict(sources or {})]
        return durable.digest(durable.canonical_json(made_from).encode())

    def require(self, stage: str) -> Manifest:
        """The manifest of a finished stage.

        Raises:
            MissingInputError: the stage is not done; says which target makes it.
        """
        manifest = self.done(stage)
        if manifest is None:
            raise MissingInputError(
                f"stage {stage} is not done for {self.config.run_name}: no"
                f" {self.path}/{stage}.json. Run `make {stage}` with the same settings, or `make"
                " all`."
            )
        return manifest

    def finish(self, manifest: Manifest, outputs: list[Path]) -> Manifest:
        """Record the outputs and upstream digests, and write the manifest: from here on the stage
        is done.
        """
        whole = dataclasses.replace(
            manifest,
            outputs={str(path.relative_to(self.path)): FileRecord.of(path) for path in outputs},
            upstream=self._upstream(manifest.stage),
        )
        whole.write(self.path)
        return whole

    def adopt(self, stage: str) -> Manifest | None:
        """Take over a stage's result from another run that made it with the same settings and from
        the same inputs.

        Files are linked, not copied, where the file system allows: a change of the ridge grid costs
        no second set of features.
        """
        for folder in sorted((Path(self.config.output) / RUNS).glob(f"*/{stage}.json")):
            donor = folder.parent
            manifest = self._acceptable(donor, stage)
            if manifest is None:
                continue
            for name in manifest.outputs:
                durable.make_folder((self.path / name).parent)
                durable.link_or_copy(donor / name, self.path / name)
            taken = {
                **manifest.provenance,
                "taken_from": donor.name,
                "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
            adopted = dataclasses.replace(manifest, provenance=taken)
            adopted.write(self.path)
            return adopted
        return None

    def _acceptable(self, donor: Path, stage: str) -> Manifest | None:
        """The donor's manifest, if its result could stand here as it is. A broken donor is passed
        over: it is not ours to judge.
        """
        try:
            manifest = Manifest.read(donor, stage)
            if (
                donor == self.path
                or manifest is None
                or manifest.spec_hash != self.config.stage_hash(stage)
            ):
                return None
            self._refuse_changed_inputs(manifest)
            whole = all(
                (donor / name).exists() and record.still_describes(donor / name)
                for name, record in manifest.outputs.items()
            )
        except (StaleInputError, CorruptInputError, MissingInputError):
            return None
        return manifest if whole and manifest.upstream == self._upstream(stage) else None

    def _upstream(self, stage: str) -> dict[str, str]:
        manifests = {name: Manifest.read(self.path, name) for name in self.config.reads(stage)}
        return {name: manifest.outputs_digest for name, manifest in manifests.items() if manifest}

    def _refuse_changed_inputs(self, manifest: Manifest) -> None:
        """Refuse a result whose sources, as they would be found now, are others. One that is gone
        contradicts nothing.
        """
        if manifest.stage != "extract":
            return
        for role, path in sources(self.config).items():
            record = manifest.inputs.get(role)
            if record is None or not record.still_describes(path):
                raise StaleInputError(
                    f"{path} ({role}) is not what {self.path}/{manifest.stage}.json was made from."
                    f" Put that back, or move {self.path} away to compute from what is there now."
                )

    def _outputs_are_whole(self, manifest: Manifest) -> bool:
        for name, record in manifest.outputs.items():
            path = self.path / name
            if not path.exists():
                return False
            if not record.still_describes(path):
                raise CorruptInputError(
                    f"{path} is not what stage {manifest.stage} wrote: expected {record.size} bytes"
                    f" with BLAKE2b {record.blake2b}, got {path.stat().st_size} bytes with"
                    f" {durable.file_digest(path)}. Delete it and run `make {manifest.stage}`"
                    " again."
                )
        return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a directory against other processes, made if absent. The lock goes with the process,
    however that ends.

    Raises:
        BusyError: another process holds it.
        StorageError: the directory cannot be made or written.
    """
    durable.make_folder(folder)
    with durable.storage_errors(folder / ".lock"):
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _held.add(handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    except BlockingIOError:
        holder = os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
        raise BusyError(
            f"{folder} is held by another process (pid {holder}). Wait for it, or stop it, and run"
            " again."
        ) from None
    finally:
        if handle in _held:  # not so in a child forked meanwhile
            _held.remove(handle)
            os.close(handle)
