"""What happens around the work of every stage: the cache, the lock, the manifest, the progress bar.

A stage is a module of this package with `work(job) -> Result`, with `cost` for the plan, and where
processes can share its work with `divide(job) -> Division`. Its module is imported only when there
is something to do, so that a cached run loads no torch.
"""

import contextlib
import importlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from rmtgen.errors import BusyError, StorageError, UsageError
from rmtgen.runs.config import Config
from rmtgen.runs.experiment import Experiment
from rmtgen.runs.graph import DECLARED
from rmtgen.runs.lock import LOCK
from rmtgen.runs.manifest import FileRecord, Manifest, provenance
from rmtgen.runs.reportdir import REPORTS, ReportDir
from rmtgen.runs.rundir import ResultDir, RunDir
from rmtgen.runs.share import Share
from rmtgen.stages.progress import open_bar
from rmtgen.store import durable, files

if TYPE_CHECKING:
    from tqdm import tqdm

    from rmtgen.stages.division import Division
    from rmtgen.store.shards import ShardSet

T = TypeVar("T")

CLIENT = "cluster"
"""Name of the process that gives out the work of a cluster, among the writers of a directory."""
PARTING = 20.0
"""Seconds that workers are given to end what they compute for a client that is gone."""
LONGEST_LIST = 16
"""Length of the longest list of a manifest's details that an outcome repeats."""


@dataclass(frozen=True)
class Result:
    """What the work of a stage returns.

    Attributes:
        outputs: Files that it wrote.
        headline: One line for the user.
        details: What the manifest records besides.
        inputs: Files outside the run that it read, by role.
    """

    outputs: Sequence[Path]
    headline: str
    details: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one stage in one directory.

    Attributes:
        stage: Name of the stage.
        name: Name of the run or of the report.
        path: Its directory.
        status: `computed`, `cached`, `reused` (taken from another run), `not needed`, `shard` (one
            share of it was computed), or what a command did: `planned`, `listed`, `damaged`,
            `verified`, `deleted`.
        seconds: Seconds that the result took to compute, whenever that was; the predicted ones of
            a plan; None where nothing was computed.
        headline: One line on what was done.
        details: What the manifest records besides.
        outputs: Files of the result.
    """

    stage: str
    name: str
    path: Path
    status: str
    seconds: float | None = None
    headline: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Path] = ()


@dataclass(frozen=True)
class Job:
    """What the work of a stage is given: its directory, and a way to show progress.

    Attributes:
        stage: Name of the stage.
        directory: Where its result belongs.
        bar: The progress bar.
        writer: Name of this process among several that share the work; None for the only one.
    """

    stage: str
    directory: ResultDir
    bar: "tqdm"
    writer: str | None = None

    @property
    def run(self) -> RunDir:
        """The directory, of a stage that works on one run."""
        if not isinstance(self.directory, RunDir):
            raise TypeError(f"stage {self.stage} works on several runs")
        return self.directory

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.run.config

    @property
    def folder(self) -> Path:
        """The directory's path."""
        return self.directory.path

    def parts(self) -> "ShardSet":
        """The finished parts of the stage's work; they are removed when the stage is done."""
        from rmtgen.store.shards import ShardSet

        folder, fingerprint = (
            _parts(self.stage, self.directory),
            self.directory.fingerprint(self.stage),
        )
        return ShardSet(folder, fingerprint, writer=self.writer)

    def progress(self, items: Iterable[T], total: int, unit: str, done: int = 0) -> Iterator[T]:
        """Pass `items` on, and move the bar; `done` of the `total` were there before."""
        self.bar.bar_format, self.bar.unit, self.bar.initial = None, unit, done
        self.bar.reset(total)
        self.bar.n = self.bar.last_print_n = done
        self.bar.refresh()
        for item in items:
            yield item
            self.bar.update()


def directories(stage: str, experiment: Experiment) -> list[ResultDir]:
    """The directories of an experiment that a stage works in: one per run, or one for all runs."""
    runs = [RunDir(config) for config in experiment.runs]
    if not DECLARED[stage].joint:
        return list(runs)
    folder = Path(experiment.runs[0].output) / REPORTS / experiment.report_name
    return [ReportDir(runs, folder, experiment.name)]


def run_stage(stage: str, directory: ResultDir) -> Outcome:
    """Bring the result of one stage in one directory up to date.

    Args:
        stage: Name of the stage.
        directory: Where its result belongs.

    Returns:
        What became of it.

    Raises:
        MissingInputError: A stage that it reads is not done.
        StaleInputError, CorruptInputError: A result that is there must not be used.
        BusyError: Another process holds the directory.
        StorageError: The disk refuses.
        UsageError: A share is asked for of a stage that is not divided.
    """
    if not directory.needs(stage):
        return _unneeded(stage, directory)
    directory.require_upstream(stage)
    if manifest := directory.done(stage):
        _sweep_parts(stage, directory)
        return _outcome(directory, manifest, "cached")
    if share := directory.share:
        return _contribute(stage, directory, share)
    absent = [path for path in (directory.path, *directory.path.parents) if not path.exists()]
    with _alone(directory), _swept_if_in_vain(absent):
        if found := _found(stage, directory):
            return found
        if not (directory.cluster and DECLARED[stage].divided):
            return _compute(stage, directory)
    return _compute_together(stage, directory)


@contextlib.contextmanager
def _alone(directory: ResultDir) -> Iterator[None]:
    """Hold a directory alone; workers of a cluster that is gone are given time to follow it."""
    with contextlib.ExitStack() as stack:
        end = time.monotonic() + (PARTING if directory.cluster else 0.0)
        while True:
            try:
                stack.enter_context(directory.lock())
                break
            except BusyError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)
        yield


def _found(stage: str, directory: ResultDir) -> Outcome | None:
    """The result of another process that finished it while the lock was sought, or of a run."""
    if manifest := directory.done(stage):
        return _outcome(directory, manifest, "cached")
    if manifest := directory.reuse(stage):
        _remove_parts(stage, directory)
        origin = manifest.provenance["taken_from"]
        return _outcome(directory, manifest, "reused", f"taken from {origin}")
    return None


@contextlib.contextmanager
def _swept_if_in_vain(absent: Sequence[Path]) -> Iterator[None]:
    """Remove folders that were absent before, the deepest first, if an error leaves them empty."""
    try:
        yield
    except BaseException:
        if absent and [path.name for path in absent[0].iterdir()] == [LOCK]:
            with contextlib.suppress(OSError):
                (absent[0] / LOCK).unlink()
                for path in absent:
                    path.rmdir()
        raise


def _unneeded(stage: str, directory: ResultDir) -> Outcome:
    """The outcome of a stage whose result no stage reads; one made earlier stays."""
    if manifest := directory.state(stage).manifest:
        return _outcome(directory, manifest, "cached")
    said = "not needed: the later stages read the features"
    return Outcome(stage, directory.path.name, directory.path, "not needed", headline=said)


def _contribute(stage: str, directory: ResultDir, share: Share) -> Outcome:
    """Compute one share of a stage, beside other processes that compute other shares."""
    if not DECLARED[stage].divided:
        raise UsageError(f"stage {stage} is not divided: got shard={share}. Run it without shard.")
    from rmtgen.stages.division import contribute  # it imports h5py

    started = time.perf_counter()
    with directory.lock(share.name), open_bar(stage, directory.path.name) as bar:
        job = Job(stage, directory, bar, share.name)
        result = contribute(job, division_of(job), share)
    seconds, path = round(time.perf_counter() - started, 3), directory.path
    return Outcome(stage, path.name, path, "shard", seconds, result.headline, result.details)


def _module(stage: str) -> ModuleType:
    return importlib.import_module(f"rmtgen.stages.{stage}")


def division_of(job: Job) -> "Division":
    """The work of a stage in units."""
    return _module(job.stage).divide(job)


def _compute(stage: str, directory: ResultDir) -> Outcome:
    """Compute in this process what is not done yet."""
    started = time.perf_counter()
    durable.sweep(directory.path)
    with open_bar(stage, directory.path.name) as bar:
        result = _module(stage).work(Job(stage, directory, bar))
    return _finish(stage, directory, result, started)


def _compute_together(stage: str, directory: ResultDir) -> Outcome:
    """Have the workers of a cluster compute what is not done yet, and gather it alone."""
    from rmtgen.stages.cluster import distribute  # they import Dask and h5py
    from rmtgen.stages.division import complete

    started = time.perf_counter()
    with open_bar(stage, directory.path.name) as bar:
        job = Job(stage, directory, bar, CLIENT)
        with directory.lock(CLIENT):
            division = division_of(job)
            distribute(job, division)
        with _alone(directory):
            if manifest := directory.done(stage):
                return _outcome(directory, manifest, "cached")
            durable.sweep(directory.path)
            division.shards.refresh()
            return _finish(stage, directory, complete(job, division), started)


def _finish(stage: str, directory: ResultDir, result: Result, started: float) -> Outcome:
    """Write the manifest of a stage, which is done then."""
    manifest = directory.finish(
        Manifest(
            stage=stage,
            spec=directory.spec(stage),
            spec_hash=directory.spec_hash(stage),
            inputs=result.inputs,
            upstream={},
            outputs={},
            details=result.details,
            seconds=round(time.perf_counter() - started, 3),
            provenance={**provenance(), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
        ),
        result.outputs,
    )
    _remove_parts(stage, directory)
    return _outcome(directory, manifest, "computed", result.headline)


def _parts(stage: str, directory: ResultDir) -> Path:
    return directory.path / f"{stage}{files.PARTS_SUFFIX}"


def _sweep_parts(stage: str, directory: ResultDir) -> None:
    """Remove parts that a kill left between the end of the stage and their removal.

    Where another process holds the directory or it is read only they stay: they harm nothing.
    """
    if files.is_there(_parts(stage, directory)):
        with contextlib.suppress(BusyError, StorageError), directory.lock():
            _remove_parts(stage, directory)


def _remove_parts(stage: str, directory: ResultDir) -> None:
    """Remove the parts of a finished stage; of a link the link alone."""
    parts = _parts(stage, directory)
    if parts.is_dir() and not parts.is_symlink():
        shutil.rmtree(parts, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            parts.unlink(missing_ok=True)


def _outcome(
    directory: ResultDir, manifest: Manifest, status: str, headline: str | None = None
) -> Outcome:
    """What a manifest says of a result; what is long stays in the manifest."""
    outputs = [directory.path / name for name in manifest.outputs if not _is_shard(name)]
    details = {
        key: value
        for key, value in manifest.details.items()
        if not isinstance(value, list) or len(value) <= LONGEST_LIST
    }
    name, path = directory.path.name, directory.path
    return Outcome(manifest.stage, name, path, status, manifest.seconds, headline, details, outputs)


def _is_shard(name: str) -> bool:
    """Whether an output is one of many behind a view that has a name of its own."""
    return name.endswith((".h5", ".jsonl")) and "/" in name
