"""A run read back from its directory: the results of its stages as attributes.

Opening a run reads its manifests. An attribute is read on first access, after its bytes were
compared with the checksum in the manifest of its stage, and kept. A half-finished run opens too;
access to a missing result raises an error that names the command that makes it.

Notation: N train and M test samples, p features, c outputs, r modes.
"""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from rmtgen.entrance import public
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    StaleInputError,
    UsageError,
    did_you_mean,
)
from rmtgen.linalg.spectrum import Spectra
from rmtgen.ridge.columns import CURVE_COLUMNS, INTERVAL_COLUMNS, RISK_COLUMNS
from rmtgen.runs.concatenation import is_concatenation
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.features import CONCATENATION, open_features
from rmtgen.runs.graph import KEPT, RANKING, RUN_STAGES, STAGES
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.own_features import OF_A_NETWORK, has_network
from rmtgen.runs.rundir import RUNS, stored_dim
from rmtgen.runs.stored import (
    check_settings,
    read_table,
    stored_indices,
    stored_probe,
    stored_table,
)
from rmtgen.scalars import path as checked_path
from rmtgen.store import durable, files
from rmtgen.store.batched_rows import BatchedRows
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramStore
from rmtgen.store.hdf5 import open_hdf5
from rmtgen.store.shards import JOURNAL

if TYPE_CHECKING:
    from rmtgen.ranking.probe import Probe


class TrainTest(NamedTuple):
    """One array for the N training samples of a run and one for its M test samples."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run's directory, from `load_run`.

    Attributes:
        path: The directory.
        stages: The manifest of each finished stage: `seconds`, `provenance`, `details`, `outputs`
            and more.
        config: The fields of `rmtgen.runs.config.Config` that can change the results of these
            stages, as JSON has them.

    Raises:
        MissingInputError: On access to another attribute, where the stage that makes it is not
            done, or where its file is gone; the message names the command.
        CorruptInputError: On access, where its file is not what the stage wrote.
        StaleInputError: On access, where the stage was made from other results than those there.
    """

    path: Path
    stages: Mapping[str, Manifest]
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.name

    def __repr__(self) -> str:
        lacking = [stage for stage in RUN_STAGES if stage not in {*self.stages, *self.unneeded}]
        seconds = sum(manifest.seconds for manifest in self.stages.values())
        return (
            f"Run({str(self.path)!r}: {self.config['train']} + {self.config['test']} images; done"
            f" in {seconds:,.0f} s:"
            f" {', '.join(self.stages)}{'; not done: ' if lacking else ''}{', '.join(lacking)})"
        )

    @cached_property
    def risk(self) -> pd.DataFrame:
        """risk.csv: one row per size, trial and ridge; `rmtgen.runs.columns` describes it."""
        return self._table("risk", "risk.csv", RISK_COLUMNS)

    @cached_property
    def curve(self) -> pd.DataFrame | None:
        """curve.csv: the learning curve dense in n; None for a run made before there was one."""
        there = "curve.csv" in self.manifest("risk").outputs
        return self._table("risk", "curve.csv", CURVE_COLUMNS) if there else None

    @cached_property
    def theory(self) -> Mapping[str, pd.DataFrame]:
        """The table of each analysis of `rmtgen.study`, by name; `predictions` is theory.csv."""
        with self._hdf5("theory", "theory.h5") as file:
            return {name: stored_table(group) for name, group in file.items()}

    @cached_property
    def score(self) -> "Probe":
        """score.h5: what a ridge probe says of new images; made by `rmtgen rank`."""
        with self._hdf5("score", "score.h5") as file:
            return stored_probe(file)

    @cached_property
    def spectrum(self) -> Spectra:
        """Every spectrum: `run.spectrum[n, trial]`, and `run.spectrum.largest`.

        Its samples are the first n of `numpy.random.default_rng([seed, trial]).permutation(N)`.
        """
        with self._hdf5("spectrum", "spectrum.h5") as file:
            return Spectra.load(file)

    @cached_property
    def gram(self) -> GramStore | None:
        """The Gram matrix, to be read in whole or in part; None where none was needed."""
        if "gram" in self.unneeded:
            return None
        return GramStore.open(self.path, self._check_store("gram", "gram"))

    @cached_property
    def features(self) -> TrainTest:
        """Features (N, p) and (M, p), float32; of a sketched eNTK the rows of its sketch."""
        return TrainTest(*(self.feature_store.read(split) for split in TrainTest._fields))

    @property
    def labels(self) -> TrainTest:
        """Labels (N,) and (M,), int64: positions in `classes`.

        Several labels of an image are bool, (N, c), whether it has each; values float64, (N, c).
        """
        return TrainTest(*(self.feature_store.layout.labels(split) for split in TrainTest._fields))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; of labels or values in the order of their columns."""
        return self.feature_store.layout.classes

    @property
    def indices(self) -> TrainTest:
        """Which images of the data set's two splits the samples are, (N,) and (M,)."""
        details = self.manifest("extract").details
        return TrainTest(
            *(
                stored_indices(self.path, details, split, self.config[split])
                for split in TrainTest._fields
            )
        )

    @cached_property
    def targets(self) -> TrainTest:
        """The encoded labels, (N, c) and (M, c), float64; an intercept does not centre them."""
        # here, because it imports torch, which takes seconds and which no other attribute needs
        from rmtgen.ridge.outputs import split_targets

        if "targets" not in self.config:  # stored by the stages that solve
            self.manifest("spectrum")
        coded = split_targets(*self.labels, len(self.classes), self.config["targets"])
        return TrainTest(*(targets.values[:].numpy() for targets in coded))

    @property
    def unneeded(self) -> tuple[str, ...]:
        """Stages that are not done because no stage reads their result."""
        if not {"solve_from", "train"} <= self.config.keys():  # stored by the stages that solve
            return ()
        stored: Any = SimpleNamespace(**self.config)
        extracted = self.stages.get("extract")
        dim = stored_dim(extracted) if extracted else None
        return tuple(
            stage
            for stage in RUN_STAGES
            if stage not in self.stages and not STAGES[stage].needed(stored, dim)
        )

    @cached_property
    def feature_store(self) -> BatchedRows:
        """The features, to be read split by split; of a concatenation they lie with its members.

        Raises:
            CorruptInputError: They are not of as many images as the run.
        """
        joint = CONCATENATION in self.manifest("extract").outputs
        store = (
            open_features(self.path)
            if joint
            else FeatureStore.open(self.path, self._check_store("extract", "features"))
        )
        for split in TrainTest._fields:
            found, expected = len(store.layout.labels(split)), self.config[split]
            if found != expected:
                raise CorruptInputError(
                    f"{self.path}/features.h5 must hold {expected} {split} images, as the settings"
                    f" say: got {found}. Delete it and run {_command(self, 'extract')}."
                )
        return store

    def command(self, stage: str) -> str:
        """The command that makes a stage of this run.

        It holds the stored settings that differ from the defaults; those that no stage has stored
        yet are named after it.
        """
        return _command(self, stage)

    def manifest(self, stage: str) -> Manifest:
        """The manifest of a finished stage, made from the results of other stages that are there.

        Raises:
            MissingInputError: The stage is not done; the message names the command that makes it.
            StaleInputError: It was made from other results than those there are now.
        """
        manifest = self.stages.get(stage)
        if manifest is None:
            raise MissingInputError(
                f"stage {stage} is not done for this run: no {self.path}/{stage}.json. Run"
                f" {_command(self, stage)}."
            )
        upstream = {
            name: self.stages[name].outputs_digest
            for name in manifest.upstream
            if name in self.stages
        }
        if stale := manifest.stale(self.path, upstream):
            raise stale
        return manifest

    def _recorded(self, stage: str, name: str) -> FileRecord:
        """The record of a file of a stage, which is there."""
        path, record = files.member(self.path, name), self.manifest(stage).outputs.get(name)
        if record is None:
            raise CorruptInputError(
                f"{self.path}/{stage}.json must list {name} among its outputs, and does not. Delete"
                f" it and run {_command(self, stage)}."
            )
        if not files.is_there(path):
            raise MissingInputError(
                f"{path} is gone. Run {_command(self, stage)}: it makes just that again."
            )
        return record

    def _remedy(self, stage: str) -> str:
        return f"Delete it and run {_command(self, stage)}."

    def _table(self, stage: str, name: str, columns: Sequence[str]) -> pd.DataFrame:
        record, remedy = self._recorded(stage, name), self._remedy(stage)
        with durable.open_verified(self.path / name, record, remedy) as file:
            needed = [column for column in columns if column not in INTERVAL_COLUMNS]
            train = self.config.get("train")
            table = read_table(file, self.path / name, needed, train, remedy)
        missing = [column for column in INTERVAL_COLUMNS if column not in table]
        return table.assign(**dict.fromkeys(missing, np.nan))

    def _hdf5(self, stage: str, name: str) -> contextlib.AbstractContextManager[h5py.File]:
        record = self._recorded(stage, name)
        return open_hdf5(self.path / name, record, self._remedy(stage))

    def _check_store(self, stage: str, store: str) -> Mapping[str, FileRecord]:
        """The records of a store's view and its journal, whose bytes are those that were written.

        The store verifies each shard as it reads.
        """
        names = (f"{store}.h5", f"{store}/{JOURNAL}")
        records = {name: self._recorded(stage, name) for name in names}
        for name, record in records.items():
            durable.read_verified(self.path / name, record, self._remedy(stage))
        return records


@public
def load_run(path: str | Path) -> Run:
    """Open a run, finished or not, by its directory; only its manifests are read.

    Args:
        path: The directory, as `data/runs/NAME`; it may have been moved, or copied from another
            machine.

    Returns:
        The run; see `Run` for its attributes.

    Raises:
        UsageError: No file system takes such a path.
        MissingInputError: There is no such directory, or no stage is done in it.
        CorruptInputError: A manifest is damaged.
        StaleInputError: A manifest is of another version, or the stages in it have other settings
            than each other.
    """
    folder = _existing(path)
    run = stages_of(folder, KEPT)
    if not run.stages:
        runs = [found.parent.name for found in folder.glob("*/extract.json")]
        inside = (
            f" There are runs in it. {did_you_mean('', runs)}"
            if runs
            else " Runs are made by `rmtgen run`."
        )
        raise MissingInputError(
            f"no run at {folder}: expected {'.json, '.join(RUN_STAGES)}.json, or one of"
            f" them.{inside}"
        )
    return run


def stages_of(folder: Path, names: Sequence[str]) -> Run:
    """The run in a directory as far as these stages have made it.

    Raises:
        CorruptInputError, StaleInputError: As `load_run`.
    """
    stages = {stage: manifest for stage in names if (manifest := Manifest.read(folder, stage))}
    config: dict[str, Any] = {}
    for stage, manifest in stages.items():
        check_settings(folder, manifest)
        other = [
            name for name, value in manifest.spec.items() if config.setdefault(name, value) != value
        ]
        if other:
            raise StaleInputError(
                f"the stages of a run must agree on {', '.join(other)}: got {config[other[0]]!r},"
                f" and in {folder}/{stage}.json {manifest.spec[other[0]]!r}. That one belongs to"
                " another run: move it away."
            )
    return Run(folder, stages, config)


def _existing(path: str | Path) -> Path:
    path = checked_path(path, "path")
    try:
        folder = path.resolve()
        if folder.is_dir():
            return folder
    except (ValueError, OSError) as error:  # a null byte; a name too long
        reason = getattr(error, "strerror", error)
        raise UsageError(
            f"path must be that of a run's directory: got {str(path)[:200]!r} ({reason})."
        ) from None
    runs = [found.parent.name for found in folder.parent.glob("*/extract.json")]
    near = did_you_mean(folder.name, runs) if runs else "Runs are made by `rmtgen run`."
    raise MissingInputError(f"no run at {folder}: no such directory. {near}")


def _command(run: Run, stage: str) -> str:
    """The command that makes a stage of a run: see `Run.command`."""
    values = {name: value for name, value in run.config.items() if name in FIELDS}
    default = Path(str(FIELDS["output"].default)).resolve()
    if run.path.parent.name == RUNS and run.path.parent.parent != default:
        values["output"] = run.path.parent.parent
    words = {name: _word(value) for name, value in values.items()}
    given = [f"{key}={word}" for key, word in words.items() if word != _word(FIELDS[key].default)]
    ranked = stage in RANKING or is_concatenation(run.config)
    made_by = ["rank"] if ranked else ["run", "--stage", stage]
    command = shlex.join(["rmtgen", *made_by, *given])
    unknown = [name for name, field in FIELDS.items() if _is_unknown(run, field)]
    if _is_whole(run) or not unknown:
        return f"`{command}`"
    return f"`{command}` with what was set of {', '.join(unknown)}, which is not stored yet"


def _word(value: object) -> str:
    """A field's value as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return "none" if value is None else str(value)


def _is_whole(run: Run) -> bool:
    """Whether the stored settings and defaults lead to this very run, by its name."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.config.items()
    }
    try:
        return Config(**values).run_name == run.name
    except (TypeError, UsageError):  # fields of another version
        return False


def _is_unknown(run: Run, field: Field) -> bool:
    return (
        bool(field.metadata["stages"])
        and not field.metadata["option"]
        and field.name not in run.config
        and (field.name not in OF_A_NETWORK or has_network(run.config.get("dataset")))
    )
