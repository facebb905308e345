"""From a finished run's directory to the `RunResult` that the report draws."""

from pathlib import Path

from rmtgen.report.results import RunResult
from rmtgen.runs.config import kernel_label
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.run import load_run


def load_result(folder: Path) -> RunResult:
    """Read what the report shows of one run; theory only where that stage is done.

    Raises:
        MissingInputError: there is no such run, or its stage `spectrum` or `risk` is not done.
        CorruptInputError: a file is not what its stage wrote.
        StaleInputError: a stage was made by another version, or from other results than those there
            now.
    """
    run = load_run(folder)
    solved = run.spectrum.largest
    return RunResult(
        name=run.name,
        **{key: run.config[key] for key in ("model", "init", "dataset")},
        kernel=kernel_label(
            run.config["kernel"], run.config.get("heads"), run.config.get("projection")
        ),
        config=run.config,
        risk=run.risk,
        curve=run.curve,
        theory=run.theory if "theory" in run.stages else None,
        eigenvalues=solved.eigenvalues / solved.n,
        target_power=solved.power,
        null_energy=solved.null_energy,
        spectrum_n=solved.n,
        provenance={stage: _summary(manifest) for stage, manifest in run.stages.items()},
    )


def _summary(manifest: Manifest) -> dict[str, object]:
    """What a reader wants of a manifest: everything but the long lists and the checksum of every
    file.
    """
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
