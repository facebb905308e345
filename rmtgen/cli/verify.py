"""`rmtgen verify`: every file of finished stages, byte by byte against its checksum."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection, results_parser, select
from rmtgen.cli.terminal import Transcript, note
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenError
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.rundir import REPORTS, damaged_output
from rmtgen.stages.engine import Outcome


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
    folders = [*selection.folders(), *_reports(selection)]
    transcript.align(folder.name for folder in folders)
    problems = [problem for folder in folders if (problem := _checked(folder, transcript))]
    if problems:
        for problem in problems[:-1]:
            note(str(problem), "error")
        raise problems[-1]
    if not folders:
        transcript.show(f"no runs under {selection.root}")


def _checked(folder: Path, transcript: Transcript) -> RmtgenError | None:
    """Check one directory, and show each sound stage; the first problem."""
    try:
        for stage, manifest in _manifests(folder).items():
            _check(folder, manifest)
            size = sum(record.size for record in manifest.outputs.values())
            count = len(manifest.outputs)
            said = f"{count} file{'s' if count > 1 else ''}, {size:,} bytes"
            transcript.add(Outcome(stage, folder.name, folder, "verified", manifest.seconds, said))
    except RmtgenError as error:
        return error
    return None


def _reports(selection: Selection) -> list[Path]:
    """The finished reports, unless runs were named."""
    if selection.names:
        return []
    return sorted(path.parent for path in (selection.root / REPORTS).glob("*/report.json"))


def _manifests(folder: Path) -> Mapping[str, Manifest]:
    """The manifests of a run, or of a report."""
    from rmtgen.runs.run import load_run  # it imports pandas, which `--help` does without

    report = Manifest.read(folder, "report")
    return {"report": report} if report else load_run(folder).stages


def _check(folder: Path, manifest: Manifest) -> None:
    """Check the files of one stage.

    Raises:
        MissingInputError: A file is gone.
        CorruptInputError: A file is not what the stage wrote.
    """
    gone = [name for name in manifest.outputs if not (folder / name).exists()]
    if gone:
        raise MissingInputError(
            f"{folder / gone[0]} is gone, one of {len(gone)} files. Run `rmtgen run --stage"
            f" {manifest.stage}` with the same settings: it makes just that again."
        )
    problem: CorruptInputError | None = damaged_output(folder, manifest, FileRecord.holds)
    if problem:
        raise problem
