"""The results that a command is about: runs under OUTPUT, those named or all there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmtgen.cli.arguments import EXIT_CODES, JSON_HELP, Parser
from rmtgen.errors import MissingInputError, UsageError, did_you_mean
from rmtgen.runs.config import FIELDS
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.rundir import RUNS


@dataclass(frozen=True)
class Selection:
    """The runs that a command line names.

    Attributes:
        root: The folder OUTPUT, which holds `runs` and `reports`.
        names: Names of runs, or the 8 characters that each ends in; empty for all runs.
    """

    root: Path
    names: tuple[str, ...]

    def begun(self) -> dict[str, Path]:
        """Every run in which a stage is done, by name and in order of the names."""
        found = {
            path.parent
            for stage in RUN_STAGES
            for path in (self.root / RUNS).glob(f"*/{stage}.json")
        }
        return {folder.name: folder for folder in sorted(found)}

    def folders(self) -> list[Path]:
        """The directories of the runs named, or of all runs.

        Raises:
            MissingInputError: There is no run of a name.
        """
        begun = self.begun()
        known = {name.rpartition("-")[2]: path for name, path in begun.items()} | begun
        unknown = [name for name in self.names if name not in known]
        if unknown:
            near = f" {did_you_mean(unknown[0], known)}" if known else ""
            raise MissingInputError(
                f"no run {unknown[0]!r} under {self.root / RUNS}.{near} Make one: `rmtgen run`."
            )
        return list(dict.fromkeys(known[name] for name in self.names or begun))


def results_parser(command: str, description: str) -> Parser:
    """A parser with names of runs, `output=DIR` and `--json`."""
    parser = Parser(
        prog=f"rmtgen {command}",
        usage=f"rmtgen {command} [RUN ...] [output=DIR] [--json]",
        description=description,
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RUN",
        help="name of a run, or the 8 characters it ends in; all runs where none is named",
    )
    parser.add_argument("--run", action="append", default=[], metavar="RUN", help="the same")
    parser.add_argument(
        "--output", metavar="DIR", help=f"where results are [{FIELDS['output'].default}]"
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def select(parser: Parser, arguments: Sequence[str]) -> Selection:
    """Parse a command line with a parser of `results_parser`.

    Raises:
        UsageError: An unknown flag, or a field other than `output`.
    """
    options = parser.parse_intermixed_args(arguments)
    output, names = options.output, [*options.run]
    for word in options.words:
        field, equals, value = word.partition("=")
        if not equals:
            names.append(word)
        elif field.lower() == "output":
            output = value
        else:
            raise UsageError(f"expected names of runs and output=DIR, got {word!r}.")
    if "" in names:
        raise UsageError("the name of a run must not be empty: got ''. Leave it out for all runs.")
    default = FIELDS["output"].default
    root = Path(FIELDS["output"].metadata["parse"](default if output is None else output))
    return Selection(root, tuple(names))
