"""`rmtgen verify`: every file and manifest of finished stages, byte by byte."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection, results_parser, select
from rmtgen.cli.terminal import Transcript, note
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenError
from rmtgen.runs.graph import DECLARED
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.reportdir import REPORTS
from rmtgen.runs.rundir import damaged_output
from rmtgen.stages.engine import Outcome
from rmtgen.store import files


def main(arguments: Sequence[str]) -> int:
    """Check the files of runs; the exit code."""
    with reported("verify", arguments) as transcript:
        _verify(arguments, transcript)
    return transcript.exit_code


def _verify(arguments: Sequence[str], transcript: Transcript) -> None:
    selection = select(
        results_parser("verify", "Compare every file of runs and reports with its checksum."),
        arguments,
    )
    runs, reports = selection.folders(), _reports(selection)
    folders = [*runs, *reports]
    transcript.align(folder.name for folder in folders)
    found = [_checked(run, _check_run, transcript) for run in runs]
    found += [_checked(report, _check_report, transcript) for report in reports]
    problems = [problem for problem in found if problem]
    if problems:
        for problem in problems[:-1]:
            note(str(problem), "error")
        raise problems[-1]
    if not folders:
        transcript.show(f"no runs under {selection.root}")


_JOINT = tuple(name for name, stage in DECLARED.items() if stage.joint)

Stages = Iterator[Manifest]
"""The manifests of the stages of a directory, each after its files were checked."""


def _checked(
    folder: Path, check: Callable[[Path], Stages], transcript: Transcript
) -> RmtgenError | None:
    """Check one directory, and show each sound stage; the first problem."""
    try:
        for manifest in check(folder):
            size = sum(record.size for record in manifest.outputs.values())
            count = len(manifest.outputs)
            said = f"{count} file{'s' if count > 1 else ''}, {size:,} bytes"
            seconds, stage = manifest.seconds, manifest.stage
            transcript.add(Outcome(stage, folder.name, folder, "verified", seconds, said))
    except RmtgenError as error:
        return error
    return None


def _reports(selection: Selection) -> list[Path]:
    """The finished reports and rankings, unless runs were named."""
    if selection.names:
        return []
    root = selection.root / REPORTS
    return sorted({path.parent for stage in _JOINT for path in root.glob(f"*/{stage}.json")})


def _check_run(folder: Path) -> Stages:
    """Check the manifests of a run, and stage by stage its files.

    Raises:
        MissingInputError: A file is gone.
        CorruptInputError: A manifest or a file is not what the stage wrote.
        StaleInputError: A stage was made from other results than those there.
    """
    from rmtgen.runs.features import CONCATENATION, open_features  # they import h5py and pandas,
    from rmtgen.runs.run import load_run  # which `--help` does without

    run = load_run(folder)
    for stage in run.stages:
        manifest = run.manifest(stage)
        _check(folder, manifest)
        if CONCATENATION in manifest.outputs:
            open_features(folder)  # they lie in other runs
        yield manifest


def _check_report(folder: Path) -> Stages:
    """Check the manifest of a report and its files.

    Raises:
        MissingInputError, CorruptInputError, StaleInputError: As `_check_run`.
    """
    for stage in _JOINT:
        if manifest := Manifest.read(folder, stage):
            _check(folder, manifest)
            yield manifest


def _check(folder: Path, manifest: Manifest) -> None:
    """Check the files of one stage.

    Raises:
        MissingInputError: A file is gone.
        CorruptInputError: A file is not what the stage wrote.
    """
    gone = [name for name in manifest.outputs if not files.is_there(folder / name)]
    if gone:
        raise MissingInputError(
            f"{folder / gone[0]} is gone, one of {len(gone)} files. Run `rmtgen run --stage"
            f" {manifest.stage}` with the same settings: it makes just that again."
        )
    problem: CorruptInputError | None = damaged_output(folder, manifest, FileRecord.holds)
    if problem:
        raise problem
