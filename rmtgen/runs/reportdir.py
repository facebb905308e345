"""The directory of a report over several runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rmtgen.errors import CorruptInputError, StaleInputError
from rmtgen.runs.config import Config
from rmtgen.runs.graph import DECLARED
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.rundir import ResultDir, RunDir, State
from rmtgen.store import durable

REPORTS = "reports"


class ReportDir(ResultDir):
    """`OUTPUT/reports/NAME/`, where a report over several runs is left.

    Attributes:
        runs: Directories of the finished runs that are reported.
        path: The directory of the report.
        title: Heading of the report.
        omitted: Runs that are only named, with the reason.
        order: What they are ordered by, where there is a choice; None: as usual.
    """

    def __init__(
        self,
        runs: Sequence[RunDir | Path],
        path: Path,
        title: str,
        omitted: Mapping[str, str] | None = None,
        order: str | None = None,
    ):
        self.runs = [run.path if isinstance(run, RunDir) else run for run in runs]
        self.path, self.title, self.omitted = path, title, dict(omitted or {})
        self.order = order
        self._configured = [run for run in runs if isinstance(run, RunDir)]

    def needs(self, stage: str) -> bool:
        """A report is always needed."""
        return True

    def spec(self, stage: str) -> dict[str, Any]:
        """The title; what is reported is upstream."""
        return {"title": self.title}

    def spec_hash(self, stage: str) -> str:
        """The hash of the title and of what is reported: other results make another report."""
        made_from = [self.title, self.upstream(stage), self.omitted]
        made_from += [] if self.order is None else [self.order]
        return durable.digest(durable.canonical_json(made_from).encode())

    def fingerprint(self, stage: str) -> str:
        """A digest of all that a stage's result is made from."""
        return self.spec_hash(stage)

    def upstream(self, stage: str) -> dict[str, str]:
        """The digest of the outputs of each stage of each run, or `missing`."""
        return {
            f"{run.name}/{name}": manifest.outputs_digest if manifest else "missing"
            for run in self.runs
            for name in DECLARED[stage].reads(Config())
            for manifest in [Manifest.read(run, name)]
        }

    def require_upstream(self, stage: str) -> None:
        """Check that all that is reported of the configured runs is done.

        Raises:
            MissingInputError: A stage of a run is not.
        """
        for run in self._configured:
            for name in DECLARED[stage].reads(run.config):
                run.require(name)

    def state(self, stage: str) -> State:
        """The state of the report.

        A report of other results, a damaged one, and one of a version that left fewer files count
        as absent.
        """
        try:
            state = super().state(stage)
        except (CorruptInputError, StaleInputError):
            return State()
        if state.problem or not state.manifest:
            return State()
        files = {name for name in DECLARED[stage].files if not name.endswith("/")}
        return state if files <= state.manifest.outputs.keys() else State()
