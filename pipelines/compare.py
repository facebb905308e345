"""`make compare`: one report over finished runs, those named or all there are."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.report import write_report
from pipelines.stage import exit_code, experiment_of, experiment_parser
from rmtgen import durable
from rmtgen.errors import MissingInputError, did_you_mean
from rmtgen.rundir import RUNS


def compare(arguments: Sequence[str] | None = None) -> None:
    """Report the runs named with `--run`, or every finished run under OUTPUT/runs."""
    parser = experiment_parser(__doc__)
    parser.add_argument(
        "--run", action="append", default=[], metavar="NAME", help="a run's directory name; repeat for several"
    )
    named = parser.parse_known_intermixed_args(arguments)[0].run
    root = Path(experiment_of(parser, arguments).runs[0].output)
    finished = {path.parent.name: path.parent for path in sorted((root / RUNS).glob("*/risk.json"))}
    unknown = [name for name in named if name not in finished]
    if unknown or not finished:
        what = f"no finished run {unknown[0]!r}" if unknown else "no finished run"
        known = f" {did_you_mean(unknown[0], finished)}" if unknown and finished else ""
        raise MissingInputError(f"{what} under {root / RUNS}.{known} Make one: `make all`.")
    chosen = [finished[name] for name in dict.fromkeys(named or finished)]
    folder = root / "reports" / f"compare-{durable.digest(' '.join(run.name for run in chosen).encode())[:8]}"
    write_report(chosen, folder, "comparison")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return exit_code(lambda: compare(arguments))


if __name__ == "__main__":
    sys.exit(main())
