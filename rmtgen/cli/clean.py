"""`rmtgen clean`: delete results, those of the runs named or all there are; no data set."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection, results_parser, select
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import StorageError
from rmtgen.runs.holder import HOLDER
from rmtgen.runs.lock import LOCK, locked
from rmtgen.runs.reportdir import REPORTS
from rmtgen.runs.rundir import RUNS, is_result_dir
from rmtgen.stages.engine import Outcome


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
        _delete(folder)
        transcript.add(Outcome("clean", folder.name, folder, "deleted"))
    if not selection.names:
        for place in (RUNS, REPORTS):
            with contextlib.suppress(OSError):  # absent, or it holds what is nobody's result
                (selection.root / place).rmdir()
    if not folders:
        transcript.show(f"nothing to delete under {selection.root}")


def _everything(selection: Selection) -> list[Path]:
    """Every directory that a stage works in or has worked in; others are left alone."""
    places = (selection.root / place for place in (RUNS, REPORTS))
    return sorted(folder for place in places for folder in place.glob("*") if is_result_dir(folder))


def _delete(folder: Path) -> None:
    """Delete a directory of results, its lock last: an interrupted deletion can be repeated.

    Raises:
        StorageError: The directory is a link, or a file of it cannot be deleted.
        BusyError: Another process holds it.
    """
    if folder.is_symlink():
        raise StorageError(f"{folder} must be a directory, not a link. Remove the link by hand.")
    try:
        with locked(folder):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name not in (LOCK, HOLDER):
                    path.unlink()
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"cannot delete {folder}: {error.strerror or error}.") from error
