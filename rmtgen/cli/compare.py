"""`make compare`: one report over finished runs, those named or all there are."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.terminal import Transcript
from rmtgen.errors import MissingInputError, RmtgenError, did_you_mean
from rmtgen.stages.engine import experiment_of, experiment_parser, run_command
from rmtgen.stages.report import Report, write_report
from rmtgen.store import durable

SOLVED = ("extract", "gram", "spectrum", "risk")
"""The stages up to the last without which there is nothing to report of a run."""


def compare(words: Sequence[str], transcript: Transcript) -> None:
    """Report the runs named with `--run`, or every one under OUTPUT/runs; one that cannot be
    reported is named, and why.
    """
    parser = experiment_parser(__doc__)
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="NAME",
        help="a run's directory name, or the eight characters it ends in; repeat for several",
    )
    named = parser.parse_known_intermixed_args(words)[0].run
    root = Path(experiment_of(parser, words).runs[0].output)
    chosen, omitted = _chosen(root, named)
    folder = (
        root
        / "reports"
        / f"compare-{durable.digest(' '.join(run.name for run in chosen).encode())[:8]}"
    )
    write_report(Report(chosen, folder, "comparison", omitted), transcript)


def _chosen(root: Path, named: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """The runs to report, by name or by the hash that a shortened name still shows, all if none is
    named; and what the others lack.

    One that was not named, and is damaged or of another version, is left out too; named, it is an
    error.
    """
    from rmtgen.runs.rundir import RUNS

    folders = {path.parent for stage in SOLVED for path in (root / RUNS).glob(f"*/{stage}.json")}
    begun = {folder.name: folder for folder in sorted(folders)}
    known = {name.rpartition("-")[2]: path for name, path in begun.items()} | begun
    unknown = [name for name in named if name not in known]
    chosen = list(dict.fromkeys(known[name] for name in named or begun if name in known))
    omitted = {}
    for path in chosen:
        try:
            why = _lacking(path)
        except RmtgenError as error:
            if named:
                raise
            why = str(error)
        omitted |= {path.name: why} if why else {}
    finished = [path for path in chosen if path.name not in omitted]
    if unknown or not finished:
        what = f"no run {unknown[0]!r}" if unknown else "no finished run"
        meant = f" {did_you_mean(unknown[0], known)}" if unknown and known else ""
        raise MissingInputError(f"{what} under {root / RUNS}.{meant} Make one: `make all`.")
    return finished, omitted


def _lacking(path: Path) -> str:
    """What a run lacks to be reported, and the command that makes it; nothing if it is finished.

    Raises:
        RmtgenError: it is finished, and cannot be read; or a manifest of it cannot.
    """
    from rmtgen.report.loading import load_result
    from rmtgen.runs.run import load_run

    run = load_run(path)
    if {"spectrum", "risk"} <= set(run.stages):
        load_result(path)
        return ""
    coming = next(stage for stage in SOLVED if stage not in (*run.stages, *run.unneeded))
    return f"not finished; done are {', '.join(run.stages)}. Next: {run.command(coming)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("compare", compare, arguments)


if __name__ == "__main__":
    sys.exit(main())
