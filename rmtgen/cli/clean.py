"""`rmtgen clean`: delete results, those of the runs named or all there are; no data set."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection, results_parser, select
from rmtgen.cli.terminal import Transcript
from rmtgen.runs.graph import STAGES
from rmtgen.runs.rundir import LOCK, REPORTS, RUNS, locked
from rmtgen.stages.engine import Outcome
from rmtgen.store import durable


def main(arguments: Sequence[str]) -> int:
    """Delete results; the exit code."""
    with reported("clean", arguments) as transcript:
        _clean(arguments, transcript)
    return transcript.exit_code


def _clean(arguments: Sequence[str], transcript: Transcript) -> None:
    description = "Delete runs and their results; without a name, every run and every report."
    selection = select(results_parser("clean", description), arguments)
    folders = selection.folders() if selection.names else _everything(selection)
    transcript.align(folder.name for folder in folders)
    for folder in folders:
        with locked(folder), durable.storage_errors(folder):
            shutil.rmtree(folder)
        transcript.add(Outcome("clean", folder.name, folder, "deleted"))
    if not folders:
        transcript.show(f"nothing to delete under {selection.root}")


def _everything(selection: Selection) -> list[Path]:
    """Every directory that a stage works in or has worked in; others are left alone."""
    marks = [LOCK, *(f"{stage}.json" for stage in STAGES)]
    return sorted(
        folder
        for place in (RUNS, REPORTS)
        for folder in (selection.root / place).glob("*")
        if any((folder / mark).exists() for mark in marks)
    )
