"""`rmtgen ls`: the runs there are, with the stages that are done, their size and their age."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import results_parser, select
from rmtgen.cli.terminal import Transcript, note, terminal_columns
from rmtgen.errors import RmtgenError
from rmtgen.runs.graph import KEPT
from rmtgen.stages.engine import Outcome
from rmtgen.store import durable, files
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes

HEADINGS = ("run", "done up to", "size", "took", "made")
NOTHING = "–"
"""What is shown of a run whose first stage is not done."""

if TYPE_CHECKING:
    from rmtgen.runs.run import Run


def main(arguments: Sequence[str]) -> int:
    """List runs; the exit code."""
    with reported("ls", arguments) as transcript:
        _list(arguments, transcript)
    return transcript.exit_code


def _list(arguments: Sequence[str], transcript: Transcript) -> None:
    selection = select(results_parser("ls", "List runs, with the stages that are done."), arguments)
    from rmtgen.runs.run import load_run  # it imports pandas, which `--help` does without

    folders = selection.folders()
    rows = []
    for folder in folders:
        try:
            run = load_run(folder)
            _check_sizes(run)
        except (RmtgenError, OSError) as error:
            note(str(error), "warning")
            rows.append((folder.name, "damaged", "", "", ""))
            transcript.record(Outcome("ls", folder.name, folder, "damaged", headline=str(error)))
            continue
        rows.append(_row(run))
        transcript.record(_outcome(run))
    if rows:
        transcript.show(Table(HEADINGS, tuple(rows), "<<>><").text(terminal_columns()))
    else:
        transcript.show(f"no runs under {selection.root}")


def _check_sizes(run: "Run") -> None:
    """Check that each file that is there has its size; no content is read.

    Raises:
        CorruptInputError: One has not.
    """
    for stage, manifest in run.stages.items():
        remedy = f"Delete it and run {run.command(stage)}."
        for name, record in manifest.outputs.items():
            path = files.member(run.path, name)
            if files.is_there(path) and path.lstat().st_size != record.size:
                raise durable.altered(path, record, remedy)


def _done_up_to(run: "Run") -> str:
    """The last stage before one that is not done, or that lacks a file."""
    last = NOTHING
    for stage in KEPT:
        if stage in run.unneeded:
            continue
        manifest = run.stages.get(stage)
        if not manifest or not all(files.is_there(run.path / name) for name in manifest.outputs):
            break
        last = stage
    return last


def _size(run: "Run") -> int:
    return sum(record.size for stage in run.stages.values() for record in stage.outputs.values())


def _outcome(run: "Run") -> Outcome:
    seconds = sum(stage.seconds for stage in run.stages.values())
    details = {"stages": list(run.stages), "bytes": _size(run)}
    return Outcome(_done_up_to(run), run.name, run.path, "listed", seconds, None, details)


def _row(run: "Run") -> tuple[str, ...]:
    made = max(str(stage.provenance.get("made", "")) for stage in run.stages.values())
    seconds = sum(stage.seconds for stage in run.stages.values())
    when, last = made[:16].replace("T", " "), _done_up_to(run)
    return run.name, last, readable_bytes(_size(run)), duration(seconds), when
