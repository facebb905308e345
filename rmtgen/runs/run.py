"""A run read back: what its stages left in its directory, by attributes, from that directory alone.

Opening a run reads its manifests. Each attribute is read when it is first asked for, after its
bytes were compared with what the manifest of its stage recorded, and kept. A half-finished run
opens too: what it lacks is refused by name, with the command that makes it.

Notation: N train and M test samples, p features, c outputs, r modes.
"""

import io
import shlex
from collections.abc import Mapping
from dataclasses import Field, dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    StaleInputError,
    UsageError,
    did_you_mean,
)
from rmtgen.linalg.spectrum import Spectra
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.rundir import RUNS
from rmtgen.store import durable
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramStore
from rmtgen.store.shards import JOURNAL

STAGES = ("extract", "gram", "spectrum", "risk", "theory")
"""The stages that leave something in a run's directory, in their order."""


class TrainTest(NamedTuple):
    """One array for the N training samples of a run and one for its M test samples."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run's directory, from `load_run`.

    Attributes:
        path: the directory.
        stages: the manifest of each stage that is done: `seconds`, `provenance`, `details`,
            `outputs` and more.
        config: the fields of `rmtgen.runs.config.Config` that these have stored, as JSON has them:
            those that can change their results.

    Raises:
        MissingInputError: on asking for another attribute: the stage that makes it is not done, or
            its file is gone; with the command.
        CorruptInputError: likewise: its file is not what the stage wrote.
        StaleInputError: likewise: the stage was made from other results than those there now.
    """

    path: Path
    stages: Mapping[str, Manifest]
    config: Mapping[str, object]

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.name

    def __repr__(self) -> str:
        lacking = [stage for stage in STAGES if stage not in {*self.stages, *self.unneeded}]
        seconds = sum(manifest.seconds for manifest in self.stages.values())
        return (
            f"Run({str(self.path)!r}: {self.config['train']} + {self.config['test']} images; done"
            f" in {seconds:,.0f} s:"
            f" {', '.join(self.stages)}{'; not done: ' if lacking else ''}{', '.join(lacking)})"
        )

    @cached_property
    def risk(self) -> pd.DataFrame:
        """risk.csv: one row a size, trial and ridge. `rmtgen.runs.columns` describes its columns."""
        return self._table("risk", "risk.csv")

    @cached_property
    def curve(self) -> pd.DataFrame | None:
        """curve.csv: the learning curve dense in n; None for a run made before there was one."""
        return (
            self._table("risk", "curve.csv") if "curve.csv" in self._done("risk").outputs else None
        )

    @cached_property
    def theory(self) -> Mapping[str, pd.DataFrame]:
        """The table of each analysis by its name, as `rmtgen.theory.study.Study` makes them;
        `predictions` is theory.csv.
        """
        with self._hdf5("theory", "theory.h5") as file:
            return {
                name: pd.DataFrame({key: _column(group[key]) for key in group})
                for name, group in file.items()
            }

    @cached_property
    def spectrum(self) -> Spectra:
        """Every spectrum: `run.spectrum[n, trial]`, and `run.spectrum.largest`.

        Its samples are the first n of `numpy.random.default_rng([seed, trial]).permutation(N)`.
        """
        with self._hdf5("spectrum", "spectrum.h5") as file:
            return Spectra.load(file)

    @cached_property
    def gram(self) -> GramStore | None:
        """The Gram matrix, to be read in whole or in part; None where features were solved from and
        none was made.
        """
        if "gram" in self.unneeded:
            return None
        self._check_store("gram", "gram")
        return GramStore.open(self.path)

    @cached_property
    def features(self) -> TrainTest:
        """Features (N, p) and (M, p), float32; of a sketched eNTK the rows of its sketch."""
        return TrainTest(*(self._features.read(split) for split in TrainTest._fields))

    @property
    def labels(self) -> TrainTest:
        """Labels (N,) and (M,), int64: positions in `classes`."""
        return TrainTest(*(self._features.layout.labels(split) for split in TrainTest._fields))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._features.layout.classes

    @property
    def indices(self) -> TrainTest:
        """Which images of the data set's two splits the samples are, (N,) and (M,)."""
        details = self._done("extract").details
        return TrainTest(*(np.array(details[f"{split}_indices"]) for split in TrainTest._fields))

    @cached_property
    def targets(self) -> TrainTest:
        """The labels as the regression's targets, (N, c) and (M, c), float64; before centring,
        where there is an intercept.
        """
        # here, because it imports torch, which takes seconds and which nothing else of a run needs
        from rmtgen.ridge.targets import encode_targets

        if "targets" not in self.config:  # stored by the stages that solve
            self._done("spectrum")
        coded = (
            encode_targets(labels, len(self.classes), self.config["targets"])
            for labels in self.labels
        )
        return TrainTest(*(targets.values.numpy() for targets in coded))

    @property
    def unneeded(self) -> tuple[str, ...]:
        """Stages that are not done because nothing reads them."""
        return (
            ("gram",)
            if "gram" not in self.stages and self.config.get("solve_from") == "features"
            else ()
        )

    @cached_property
    def _features(self) -> FeatureStore:
        self._check_store("extract", "features")
        return FeatureStore.open(self.path)

    def command(self, stage: str) -> str:
        """What to type to make a stage of this run: the stored settings that are no defaults; in
        words, which are not stored yet.
        """
        return _command(self, stage)

    def _done(self, stage: str) -> Manifest:
        manifest = self.stages.get(stage)
        if manifest is None:
            raise MissingInputError(
                f"stage {stage} is not done for this run: no {self.path}/{stage}.json. Run"
                f" {_command(self, stage)}."
            )
        there = {
            name: self.stages[name].outputs_digest
            for name in manifest.upstream
            if name in self.stages
        }
        changed = [name for name, digest in there.items() if digest != manifest.upstream[name]]
        if changed:
            raise StaleInputError(
                f"{self.path}/{stage}.json was made from other results of {' and '.join(changed)}"
                " than those there now. Delete it together "
                f'with what it lists under "outputs", and run {_command(self, stage)}.'
            )
        return manifest

    def _verified(self, stage: str, name: str) -> bytes:
        """The bytes of a file, once they are known to be those that its stage wrote."""
        path, record = self.path / name, self._done(stage).outputs.get(name)
        if record is None:
            raise CorruptInputError(
                f"{self.path}/{stage}.json must list {name} among its outputs, and does not. Delete"
                f" it and run {_command(self, stage)}."
            )
        if not path.is_file():
            raise MissingInputError(
                f"{path} is gone. Run {_command(self, stage)}: it makes just that again."
            )
        content = path.read_bytes()
        if durable.digest(content) != record.blake2b:
            raise CorruptInputError(
                f"{path} is not what stage {stage} wrote: expected {record.size} bytes with BLAKE2b"
                f" {record.blake2b}, got {len(content)} bytes with {durable.digest(content)}."
                f" Delete it and run {_command(self, stage)}."
            )
        return content

    def _table(self, stage: str, name: str) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(self._verified(stage, name)))

    def _hdf5(self, stage: str, name: str) -> h5py.File:
        return h5py.File(io.BytesIO(self._verified(stage, name)), "r")

    def _check_store(self, stage: str, store: str) -> None:
        """Compare a store's view and its journal; the journal has the digests that the store
        compares each shard with as it reads.
        """
        for name in (f"{store}.h5", f"{store}/{JOURNAL}"):
            self._verified(stage, name)


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
    stages = {stage: manifest for stage in STAGES if (manifest := Manifest.read(folder, stage))}
    if not stages:
        runs = [found.parent.name for found in folder.glob("*/extract.json")]
        inside = (
            f" There are runs in it. {did_you_mean('', runs)}"
            if runs
            else " Runs are made by `make all`."
        )
        raise MissingInputError(
            f"no run at {folder}: expected {'.json, '.join(STAGES)}.json, or one of them.{inside}"
        )
    config: dict[str, object] = {}
    for stage, manifest in stages.items():
        if not _is_sound(stage, manifest):
            raise CorruptInputError(
                f"{folder}/{stage}.json is not what the stage wrote: its settings must have the"
                f" hash {manifest.spec_hash} that it states. Delete it and run the stage again."
            )
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
    try:
        folder = Path(path).resolve()
        if folder.is_dir():
            return folder
    except (ValueError, OSError) as error:  # a null byte; a name too long
        reason = getattr(error, "strerror", error)
        raise UsageError(
            f"path must be that of a run's directory: got {str(path)[:200]!r} ({reason})."
        ) from None
    runs = [found.parent.name for found in folder.parent.glob("*/extract.json")]
    near = did_you_mean(folder.name, runs) if runs else "Runs are made by `make all`."
    raise MissingInputError(f"no run at {folder}: no such directory. {near}")


def _is_sound(stage: str, manifest: Manifest) -> bool:
    """Whether a manifest's parts are of their types and its settings those that it was hashed with."""
    parts = (manifest.spec, manifest.upstream, manifest.details, manifest.provenance)
    if not all(isinstance(part, dict) for part in parts) or not isinstance(
        manifest.seconds, (int, float)
    ):
        return False
    try:
        hashed = durable.canonical_json({"stage": stage, **manifest.spec})
    except ValueError:  # NaN
        return False
    return durable.digest(hashed.encode()) == manifest.spec_hash


def _column(dataset: h5py.Dataset) -> np.ndarray:
    """A column of theory.h5; its text is stored as UTF-8."""
    return dataset.asstr("utf-8")[()] if dataset.dtype.kind == "S" else dataset[()]


def _command(run: Run, stage: str) -> str:
    """The command that makes a stage of a run: its stored settings but for defaults, and which of
    them nothing has stored yet.
    """
    values = {name: value for name, value in run.config.items() if name in FIELDS}
    if (
        run.path.parent.name == RUNS
        and run.path.parent.parent != Path(FIELDS["output"].default).resolve()
    ):
        values["output"] = run.path.parent.parent
    words = {
        name: _word(value)
        for name, value in values.items()
        if _word(value) != _word(FIELDS[name].default)
    }
    command = shlex.join(
        ["make", stage, *(f"{name.upper()}={word}" for name, word in words.items())]
    )
    unknown = (
        []
        if _is_whole(run)
        else [name for name, field in FIELDS.items() if _is_unknown(run, field)]
    )
    said = f" with what was set of {', '.join(unknown)}, which is not stored yet" if unknown else ""
    return f"`{command.replace('$', '$$')}`{said}"  # make expands a single $


def _word(value: object) -> str:
    """A field's value as a make variable takes it."""
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return "none" if value is None else str(value)


def _is_whole(run: Run) -> bool:
    """Whether the stored settings and defaults lead to this very run, by its name."""
    values = {
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
    )
