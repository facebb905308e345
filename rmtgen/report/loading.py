"""Reads the results of a finished run from its directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmtgen.errors import CorruptInputError
from rmtgen.names import printable
from rmtgen.report.run_result import RunResult
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.own_features import has_network, stem
from rmtgen.runs.run import Run, load_run
from rmtgen.runs.slugs import kernel_label

_SETTINGS = ("model", "init", "dataset", "kernel")
"""Settings that a report shows of every run."""
_OWN = "own features"
"""What it shows in the place of an initialisation where no network ran."""


def load_result(folder: Path) -> RunResult:
    """Read the results of one run, with its theory where that stage is finished.

    Raises:
        MissingInputError: There is no such run, or its stage `spectrum` or `risk` is not finished.
        CorruptInputError: A file differs from what its stage wrote.
        StaleInputError: A stage was made by another version, or from other inputs than the present
            ones.
    """
    run = load_run(folder)
    shown = _shown(run)
    lacking = [name for name in _SETTINGS if name not in shown]
    if lacking:
        raise CorruptInputError(
            f"the manifests in {run.path} must state {', '.join(lacking)}, and do not. Make the run"
            " again."
        )
    solved = run.spectrum.largest
    return RunResult(
        name=run.name,
        **{key: printable(shown[key]) for key in _SETTINGS if key != "kernel"},
        kernel=kernel_label(
            run.config["kernel"], run.config.get("heads"), run.config.get("projection")
        ),
        config=run.config,
        risk=run.risk,
        curve=run.curve,
        theory=run.theory if "theory" in run.stages else None,
        spectrum=solved.with_power(solved.power, solved.null_energy),  # one output is enough
        provenance={stage: _summary(manifest) for stage, manifest in run.stages.items()},
    )


def _shown(run: Run) -> Mapping[str, Any]:
    """The settings of a run; of features of one's own their file is in the place of a network."""
    dataset = run.config.get("dataset")
    if has_network(dataset):
        return run.config
    return {**run.config, "model": stem(str(dataset)), "init": _OWN}


def _summary(manifest: Manifest) -> dict[str, object]:
    """The manifest without its long lists and the checksums of its files."""
    details = {
        key: value
        for key, value in manifest.details.items()
        if not isinstance(value, list) or len(value) <= 5
    }
    made = {key: value for key, value in manifest.provenance.items() if key != "versions"}
    versions = manifest.provenance.get("versions", {})
    return {
        "spec_hash": manifest.spec_hash,
        "seconds": manifest.seconds,
        **made,
        **versions,
        **details,
    }
