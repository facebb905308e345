"""The directory that holds the results of stages: who may write to it, and which are whole.

`ResultDir.state` is the one place that decides whether the result of a stage is absent, whole,
damaged, or made from something else. `RunDir` is the directory of one run; that of a report over
several runs is in `rmtgen.runs.reportdir`.
"""

import contextlib
import dataclasses
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    RmtgenError,
    StaleInputError,
)
from rmtgen.runs.config import Config
from rmtgen.runs.graph import DECLARED
from rmtgen.runs.lock import LOCK, locked
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.share import Share
from rmtgen.store import durable, files

RUNS = "runs"
MEETING = ".meeting"
"""Name of the file by which the workers of a cluster know that they see the same directory."""


@dataclass(frozen=True)
class State:
    """The state of one stage's result; absent or incomplete where both attributes are None.

    Attributes:
        manifest: The manifest of a whole result.
        problem: The reason why the result that is there must not be used.
    """

    manifest: Manifest | None = None
    problem: RmtgenError | None = None


class ResultDir(ABC):
    """A directory that stages leave results in.

    Attributes:
        path: The directory.
        share: The share of the work in it that this process does; None for all of it.
        cluster: Where the work is done: see `Config.cluster`; None for this process.
    """

    path: Path
    share: Share | None = None
    cluster: str | None = None

    @abstractmethod
    def spec(self, stage: str) -> dict[str, Any]:
        """The settings that can change the stage's result, as the manifest records them."""

    @abstractmethod
    def spec_hash(self, stage: str) -> str:
        """The hash of all settings that can change the stage's result."""

    @abstractmethod
    def fingerprint(self, stage: str) -> str:
        """A digest of all that the stage's result is made from."""

    @abstractmethod
    def upstream(self, stage: str) -> dict[str, str]:
        """The digest of the outputs of each finished stage that the stage reads."""

    @abstractmethod
    def needs(self, stage: str) -> bool:
        """Whether any stage reads the stage's result."""

    @abstractmethod
    def require_upstream(self, stage: str) -> None:
        """Raise `MissingInputError` where a stage that the stage reads is not done."""

    def done(self, stage: str) -> Manifest | None:
        """The manifest of the stage if its result is whole and up to date, else None.

        Raises:
            StaleInputError: The result was made from other inputs, or by another version.
            CorruptInputError: A file of the result has changed, or the manifest is unreadable.
        """
        state = self.state(stage)
        if state.problem:
            raise state.problem
        return state.manifest

    def state(self, stage: str) -> State:
        """The state of the stage's result in this directory.

        Raises:
            StaleInputError: The manifest has the format of another version.
            CorruptInputError: The manifest is unreadable.
        """
        return self._state_in(self.path, stage)

    def _state_in(self, folder: Path, stage: str) -> State:
        """The state of a result in `folder`, if it were to stand in this directory."""
        manifest = Manifest.read(folder, stage)
        if manifest is None:
            return State()
        problem = (
            self._other_settings(folder, manifest)
            or self._changed_input(folder, manifest)
            or damaged_output(folder, manifest, FileRecord.still_describes)
        )
        if problem:
            return State(problem=problem)
        if not all(files.is_there(folder / name) for name in manifest.outputs):
            return State()
        problem = manifest.stale(folder, self.upstream(stage))
        return State(problem=problem) if problem else State(manifest)

    def _other_settings(self, folder: Path, manifest: Manifest) -> StaleInputError | None:
        expected = self.spec_hash(manifest.stage)
        if manifest.spec_hash == expected:
            return None
        return StaleInputError(
            f"{folder}/{manifest.stage}.json must be of these settings: expected hash"
            f" {expected[:8]}, got {manifest.spec_hash[:8]}. It is not overwritten: move"
            f" {folder} away and run again."
        )

    def _changed_input(self, _folder: Path, _manifest: Manifest) -> StaleInputError | None:
        """The error that an input of the result deserves which is another file now."""
        return None

    def lock(self, writer: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Hold the directory against other processes: see `locked`."""
        return locked(self.path, writer)

    def reuse(self, _stage: str) -> Manifest | None:
        """Take over the stage's result from another directory, where there is an equal one."""
        return None

    def finish(self, manifest: Manifest, outputs: Sequence[Path]) -> Manifest:
        """Record outputs and upstream digests, and write the manifest: the stage is done."""
        whole = dataclasses.replace(
            manifest,
            outputs={str(path.relative_to(self.path)): FileRecord.of(path) for path in outputs},
            upstream=self.upstream(manifest.stage),
        )
        whole.write(self.path)
        return whole


class RunDir(ResultDir):
    """`OUTPUT/runs/NAME/`, where the stages of one `Config` leave their results.

    Attributes:
        config: The configuration.
        path: The directory.
        members: The directories of what a concatenation puts side by side; it has no work to share.
    """

    def __init__(self, config: Config):
        self.config = config
        self.path = Path(config.output) / RUNS / config.run_name
        self.share, self.cluster = config.shard, config.cluster
        self.members = tuple(map(RunDir, config.members))
        if self.members:
            self.cluster = None

    @property
    def feature_dim(self) -> int | None:
        """Dimension p of the stored features; None before stage `extract` is done."""
        manifest = Manifest.read(self.path, "extract")
        return stored_dim(manifest) if manifest else None

    def needs(self, stage: str) -> bool:
        """Whether any stage reads the stage's result."""
        return DECLARED[stage].needed(self.config, self.feature_dim)

    def spec(self, stage: str) -> dict[str, Any]:
        """The fields that can change the stage's result."""
        return self.config.stage_fields(stage)

    def spec_hash(self, stage: str) -> str:
        """The hash of all fields that can change the stage's result."""
        return self.config.stage_hash(stage)

    def upstream(self, stage: str) -> dict[str, str]:
        """The digest of the outputs of each finished stage that the stage reads."""
        reads = DECLARED[stage].reads(self.config)
        manifests = {name: Manifest.read(self.path, name) for name in reads}
        if stage == "extract":
            for one in self.members:
                manifests[f"{one.path.name}/{stage}"] = Manifest.read(one.path, stage)
        return {name: manifest.outputs_digest for name, manifest in manifests.items() if manifest}

    def require_upstream(self, stage: str) -> None:
        """Check that the stages that `stage` reads are done.

        Raises:
            MissingInputError: One is not.
        """
        for one in self.members if stage == "extract" else ():
            one.require(stage)
        for name in DECLARED[stage].reads(self.config):
            if self.needs(name):
                self.require(name)

    def require(self, stage: str) -> Manifest:
        """The manifest of a finished stage.

        Raises:
            MissingInputError: The stage is not done; the message names the command that makes it.
        """
        manifest = self.done(stage)
        if manifest is None:
            raise MissingInputError(
                f"stage {stage} is not done for {self.config.run_name}: no"
                f" {self.path}/{stage}.json. Run `rmtgen run --stage {stage}` with the same"
                " settings."
            )
        return manifest

    @contextlib.contextmanager
    def met(self) -> Iterator[str]:
        """A context in which `MEETING` holds the text that it yields; the directory is held.

        Raises:
            StorageError: The disk refuses.
        """
        path, token = self.path / MEETING, secrets.token_hex(16)
        durable.write_bytes(path, token.encode())
        try:
            yield token
        finally:
            path.unlink(missing_ok=True)

    def fingerprint(self, stage: str, inputs: Mapping[str, str] | None = None) -> str:
        """A digest of all that a stage's result is made from.

        Args:
            stage: The stage.
            inputs: Digests of files outside the run, by role.

        Returns:
            BLAKE2b-128 of the settings, the outputs of the stages read, and `inputs`.
        """
        made_from = [self.spec_hash(stage), self.upstream(stage), dict(inputs or {})]
        return durable.digest(durable.canonical_json(made_from).encode())

    def reuse(self, stage: str) -> Manifest | None:
        """Take over a stage's result from another run with the same settings and inputs.

        Files are linked, not copied, where the file system allows: a change of the ridge grid
        costs no second set of features.
        """
        for found in sorted((Path(self.config.output) / RUNS).glob(f"*/{stage}.json")):
            donor = found.parent
            manifest = self._reusable(donor, stage)
            if manifest is None:
                continue
            for name in manifest.outputs:
                target = files.member(self.path, name)
                durable.make_folder(target.parent)
                durable.link_or_copy(files.member(donor, name), target)
            origin = {"taken_from": donor.name, "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            reused = dataclasses.replace(manifest, provenance={**manifest.provenance, **origin})
            reused.write(self.path)
            return reused
        return None

    def begun(self) -> Manifest | None:
        """What is recorded of features that are there in part, of these settings and inputs.

        None where there is no such record, or the stage is done.
        """
        # here, because it imports NumPy and Pillow, which `--help` and a report do without
        from rmtgen.runs.inputs import local_inputs

        manifest = Manifest.read_begun(self.path, "extract")
        if manifest is None or manifest.spec_hash != self.spec_hash("extract"):
            return None
        found = local_inputs(self.config)
        known = found.keys() == manifest.inputs.keys() and all(
            manifest.inputs[role].still_describes(path) for role, path in found.items()
        )
        return manifest if known else None

    def _reusable(self, donor: Path, stage: str) -> Manifest | None:
        """The donor's manifest, if its result could stand here; a broken donor is passed over."""
        if donor == self.path:
            return None
        try:
            return self._state_in(donor, stage).manifest
        except (RmtgenError, OSError):
            return None

    def _changed_input(self, folder: Path, manifest: Manifest) -> StaleInputError | None:
        """The error for an input file that is another one now; a missing one is none."""
        if manifest.stage != "extract":
            return None
        # here, because it imports NumPy and Pillow, which `--help` and a report do without
        from rmtgen.runs.inputs import local_inputs

        for role, path in local_inputs(self.config).items():
            record = manifest.inputs.get(role)
            if record is None or not record.still_describes(path):
                return StaleInputError(
                    f"{path} ({role}) is not what {folder}/{manifest.stage}.json was made from."
                    f" Put that back, or move {folder} away to compute from what is there now."
                )
        return None


def is_result_dir(folder: Path) -> bool:
    """Whether a stage works in a directory, or has worked in it; links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return _has_lock(folder) or any(_has_manifest(folder, stage) for stage in DECLARED)


def _has_lock(folder: Path) -> bool:
    """Whether there is a lock file of `locked`, which holds the number of a process."""
    try:
        return files.read_bytes(folder / LOCK).strip().isdigit()
    except (RmtgenError, OSError):
        return False


def _has_manifest(folder: Path, stage: str) -> bool:
    """Whether there is a manifest of the stage, of whatever version."""
    try:
        content = files.parse_json(files.read_json_bytes(folder / f"{stage}.json"))
    except (RmtgenError, OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("stage") == stage and "spec_hash" in content


def stored_dim(extracted: Manifest) -> int:
    """Dimension p of the features that stage `extract` stored, or of the sketch in their place.

    Raises:
        CorruptInputError: The manifest does not state it.
    """
    dim = extracted.spec.get("projection") or extracted.details.get("feature_dim")
    if type(dim) is not int or dim < 1:
        raise CorruptInputError(
            f"the manifest of stage extract must state feature_dim, a positive integer: got {dim!r}"
            " in details. Delete extract.json and run the stage again."
        )
    return dim


def damaged_output(
    folder: Path, manifest: Manifest, holds: Callable[[FileRecord, Path], bool]
) -> CorruptInputError | None:
    """The error for the first output that is there and is not what the stage wrote.

    Args:
        folder: The directory of the result.
        manifest: Its manifest.
        holds: The check of one file, a function of its record and its path.

    Raises:
        CorruptInputError: What is under the name of an output is a link, or no file.
    """
    remedy = f"Delete it and run `rmtgen run --stage {manifest.stage}` again."
    for name, record in manifest.outputs.items():
        path = files.member(folder, name)
        if files.is_there(path) and not holds(record, path):
            return durable.altered(path, record, remedy)
    return None
