"""`rmtgen compare`: one report over finished runs, those named or all there are."""

from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection, results_parser, select
from rmtgen.cli.terminal import Transcript, note
from rmtgen.errors import MissingInputError, RmtgenError
from rmtgen.runs.concatenation import is_concatenation, said
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.reportdir import REPORTS, ReportDir
from rmtgen.runs.rundir import RUNS
from rmtgen.stages.engine import Outcome, run_stage
from rmtgen.store import durable

REPORTED = ("spectrum", "risk")
"""Stages without which there is nothing to report of a run; `theory` may be missing."""


def main(arguments: Sequence[str]) -> int:
    """Report finished runs; the exit code."""
    with reported("compare", arguments) as transcript:
        _compare(arguments, transcript)
    return transcript.exit_code


def _compare(arguments: Sequence[str], transcript: Transcript) -> None:
    parser = results_parser("compare", "Make one report over finished runs.")
    selection = select(parser, arguments)
    runs, omitted = _finished(selection)
    outcome = _report(selection, runs, omitted)
    transcript.align([outcome.name])
    transcript.add(outcome)
    for name, why in omitted.items():
        note(f"{name} is not reported: {why}", "warning")
    transcript.show_report(outcome.path)


def _report(selection: Selection, runs: list[Path], omitted: dict[str, str]) -> Outcome:
    """Make the report; runs that it cannot be made of are left out, unless they were named."""
    from rmtgen.report.unreportable import UnreportableError  # it imports pandas

    digest = durable.digest(" ".join(run.name for run in runs).encode())[:8]
    path = selection.root / REPORTS / f"compare-{digest}"
    try:
        return run_stage("report", ReportDir(runs, path, "comparison", omitted))
    except UnreportableError as error:
        rest = [run for run in runs if run.name not in error.runs]
        if selection.names or not rest:
            raise
        omitted |= error.runs
        return _report(selection, rest, omitted)


def _finished(selection: Selection) -> tuple[list[Path], dict[str, str]]:
    """The runs to report, and why the others cannot be.

    A run that cannot be read is left out too, unless it was named.
    """
    chosen = selection.folders()
    omitted: dict[str, str] = {}
    for path in chosen:
        try:
            why = _lacking(path)
        except (RmtgenError, OSError) as error:
            if selection.names:
                raise
            why = str(error)
        omitted |= {path.name: why} if why else {}
    finished = [path for path in chosen if path.name not in omitted]
    if not finished:
        reasons = "".join(f" {name}: {why}" for name, why in omitted.items())
        raise MissingInputError(
            f"no finished run under {selection.root / RUNS}.{reasons} Make one: `rmtgen run`."
        )
    return finished, omitted


def _lacking(path: Path) -> str:
    """What a run lacks to be reported, and the command that makes it; empty if it is finished.

    Raises:
        RmtgenError: The run is finished and cannot be read, or a manifest of it cannot.
    """
    from rmtgen.report.loading import load_result
    from rmtgen.runs.run import load_run

    run = load_run(path)
    if set(REPORTED) <= set(run.stages):
        load_result(path)
        return ""
    if is_concatenation(run.config):
        return f"it is a concatenation, {said(run.config)}; rank it: `rmtgen rank`"
    if run.config.get("test") == 0:
        return "it has no test images to compare with; rank it: `rmtgen rank`"
    coming = next(stage for stage in RUN_STAGES if stage not in (*run.stages, *run.unneeded))
    return f"not finished; done are {', '.join(run.stages)}. Next: {run.command(coming)}"
