"""`make compare`: one report over finished runs, those named or all there are."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.report import SOLVED, Report, write_report
from pipelines.stage import experiment_of, experiment_parser, run_command
from pipelines.terminal import Transcript
from rmtgen import durable
from rmtgen.errors import MissingInputError, did_you_mean


def compare(words: Sequence[str], transcript: Transcript) -> None:
    """Report the runs named with `--run`, or every run under OUTPUT/runs; those that are not finished are named as such."""
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
    chosen, unfinished = _chosen(root, named)
    folder = root / "reports" / f"compare-{durable.digest(' '.join(run.name for run in chosen).encode())[:8]}"
    write_report(Report(chosen, folder, "comparison", unfinished), transcript)


def _chosen(root: Path, named: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Directories of finished and of unfinished runs, by name or by the hash that a shortened name still shows; all if none is named."""
    from rmtgen.rundir import RUNS

    folders = {path.parent for stage in SOLVED for path in (root / RUNS).glob(f"*/{stage}.json")}
    begun = {folder.name: folder for folder in sorted(folders)}
    known = {name.rpartition("-")[2]: path for name, path in begun.items()} | begun
    unknown = [name for name in named if name not in known]
    chosen = list(dict.fromkeys(known[name] for name in named or begun if name not in unknown))
    finished = [path for path in chosen if (path / f"{SOLVED[-1]}.json").exists()]
    if unknown or not finished:
        what = f"no run {unknown[0]!r}" if unknown else "no finished run"
        meant = f" {did_you_mean(unknown[0], known)}" if unknown and known else ""
        raise MissingInputError(f"{what} under {root / RUNS}.{meant} Make one: `make all`.")
    return finished, [path for path in chosen if path not in finished]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("compare", compare, arguments)


if __name__ == "__main__":
    sys.exit(main())
