"""`rmtgen ls`: the runs there are, with the stages that are done, their size and their age."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import results_parser, select
from rmtgen.cli.terminal import Transcript, note, terminal_columns
from rmtgen.errors import RmtgenError
from rmtgen.stages.engine import Outcome
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes

HEADINGS = ("run", "done up to", "size", "took", "made")

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
        except RmtgenError as error:
            note(str(error), "warning")
            continue
        rows.append(_row(run))
        transcript.record(_outcome(run))
    if rows:
        transcript.show(Table(HEADINGS, tuple(rows), "<<>><").text(terminal_columns()))
    else:
        transcript.show(f"no runs under {selection.root}")


def _size(run: "Run") -> int:
    return sum(record.size for stage in run.stages.values() for record in stage.outputs.values())


def _outcome(run: "Run") -> Outcome:
    seconds = sum(stage.seconds for stage in run.stages.values())
    details = {"stages": list(run.stages), "bytes": _size(run)}
    return Outcome(tuple(run.stages)[-1], run.name, run.path, "listed", seconds, None, details)


def _row(run: "Run") -> tuple[str, ...]:
    made = max(str(stage.provenance.get("made", "")) for stage in run.stages.values())
    seconds = sum(stage.seconds for stage in run.stages.values())
    when, last = made[:16].replace("T", " "), tuple(run.stages)[-1]
    return run.name, last, readable_bytes(_size(run)), duration(seconds), when
