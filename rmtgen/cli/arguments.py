"""The command line as an experiment: CONFIG, FIELD=VALUE words, and one flag per field."""

import argparse
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from rmtgen.errors import UsageError, did_you_mean, warn
from rmtgen.runs.config import FIELDS
from rmtgen.runs.experiment import EXPERIMENTS, Experiment, load_experiment

WIDTH = 80
"""Columns of the help."""
EXIT_CODES = """\
exit codes: 0 done, 2 usage, 3 missing or corrupt input, 4 numerical failure,
130 interrupted; make itself ends with 2 for all but 0"""
JSON_HELP = "print one line of JSON on stdout, and nothing else there"
FLAG_COLUMNS = 26
"""Columns of a flag and its value in the help: the longest, `--fp32-precision VALUE`, and gaps."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        experiment: The runs.
        options: The options of the command itself.
        words: The configuration as words, to be given to another command.
    """

    experiment: Experiment
    options: argparse.Namespace
    words: tuple[str, ...]


class Parser(argparse.ArgumentParser):
    """Reports a mistake as every other mistake is reported: in one line, with exit code 2.

    Args:
        settings: As for `argparse.ArgumentParser`. The epilog keeps its lines.
    """

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, formatter_class=_layout, **settings)
        self._positionals.title = "arguments"

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(f"{message}. See --help.")


def _layout(prog: str) -> argparse.HelpFormatter:
    width = min(WIDTH, shutil.get_terminal_size().columns) - 2
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=FLAG_COLUMNS, width=width)


def experiment_parser(command: str, description: str, options: Sequence[str] = ()) -> Parser:
    """A parser with CONFIG, FIELD=VALUE words, a flag per field of `Config`, and `--json`.

    Args:
        command: Name of the command.
        description: What it does, in one line.
        options: Usage of the options that the command adds.
    """
    shipped = ", ".join(sorted(path.stem for path in EXPERIMENTS.glob("*.yaml")))
    listed = textwrap.fill(f"shipped configurations: {shipped}", WIDTH, break_on_hyphens=False)
    parser = Parser(
        prog=f"rmtgen {command}",
        usage=_usage(["rmtgen", command, "[CONFIG]", "[FIELD=VALUE ...]", *options, "[--json]"]),
        description=description,
        epilog=f"{listed}\n\n{EXIT_CODES}",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG",
        help="a YAML file, or the name of a shipped configuration; then FIELD=VALUE words",
    )
    parser.add_argument("--config", metavar="CONFIG", help="the same, as an option")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    group = parser.add_argument_group("fields [default]; each is also a key of the YAML file")
    for field in FIELDS.values():
        text = f"{field.metadata['help']} [{field.metadata['default']}]".replace("%", "%%")
        flag = f"--{field.name.replace('_', '-')}"
        group.add_argument(flag, dest=field.name, metavar="VALUE", help=text)
    return parser


def _usage(parts: Sequence[str]) -> str:
    """Parts of a usage, none of which is broken, in lines that `usage:` stands before."""
    lines, indent = [""], " " * len("usage: ")
    for part in parts:
        if len(indent) + len(lines[-1]) + 1 + len(part) > WIDTH:
            lines.append(indent)
        lines[-1] += f" {part}" if lines[-1].strip() else part
    return "\n".join(lines)


def parse(
    parser: Parser, arguments: Sequence[str], defaults: Mapping[str, str] = MappingProxyType({})
) -> Request:
    """Parse a command line with a parser of `experiment_parser`.

    Args:
        parser: The parser.
        arguments: The words after the name of the command.
        defaults: Fields of the command that a configuration does not change, the words do.

    Raises:
        UsageError: An unknown flag or field, two configurations, or a value that does not parse.
        MissingInputError: There is no such configuration.
    """
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        known = [option for option in vars(options) if option != "words"]
        raise UsageError(f"unknown flag {unknown[0]!r}. {did_you_mean(name, known)}")
    flags = {
        name: value for name, value in vars(options).items() if name in FIELDS and value is not None
    }
    given = [word.partition("=") for word in options.words]
    _refuse_expanded([value for name, _, value in given if name.lower() == "dataset"])
    fields: dict[str, str] = {}
    for name, equals, value in given:
        if equals:
            _take(fields, name.lower().replace("-", "_"), value)
    twice = [name for name in flags if flags[name] != fields.get(name, flags[name])]
    if twice:
        raise UsageError(f"{twice[0]} is given both as a flag and as a word. Give it once.")
    overrides = flags | fields
    if "" in options.words or options.config == "":
        raise UsageError("the name of a configuration must not be empty: got ''. Leave it out.")
    named = [name for name, equals, _ in given if not equals]
    configs = list(dict.fromkeys([*filter(None, [options.config]), *named]))
    if len(configs) > 1:
        raise UsageError(
            f"expected one CONFIG and FIELD=VALUE words, got {' and '.join(map(repr, configs))}."
        )
    experiment = load_experiment(configs[0] if configs else None, {**defaults, **overrides})
    words = (*configs, *(f"{name}={value}" for name, value in overrides.items()))
    return Request(experiment, options, words)


def _take(fields: dict[str, str], name: str, value: str) -> None:
    """Take the value of a field, which takes the place of another one that a word gave it."""
    if fields.get(name, value) != value:
        warn(f"{name} is given as {fields[name]!r} and as {value!r}: the last counts.")
    fields[name] = value


def _refuse_expanded(datasets: Sequence[str]) -> None:
    """Refuse several patterns, which a shell makes of one with braces; the last would count."""
    if len(set(datasets)) > 1 and all(name.startswith("wds:") for name in datasets):
        raise UsageError(
            f"dataset is given {len(datasets)} times ({datasets[0]}, {datasets[1]}"
            f"{', …' if len(datasets) > 2 else ''}). Give it once; braces that are for rmtgen need"
            " quotes: 'DATASET=wds:train-{000..015}.tar'."
        )


def next_command(request: Request, command: Sequence[str], target: str) -> str:
    """The command line of another command on the same configuration.

    Args:
        request: The present one.
        command: The other command, as words after `rmtgen`.
        target: The target of make that stands for it.

    Returns:
        `make TARGET …` for a command that make runs, else `rmtgen COMMAND …`.
    """
    make = os.environ.get("RMTGEN_MAKE")  # set by the Makefile: `make` and its own variables
    if make is None:
        return shlex.join([*program(), *command, *request.words])
    first, *variables = shlex.split(make)
    fields = [f"{name.upper()}={value}" for name, value in _fields(request.words)]
    return shlex.join([first, target, *variables, *fields])


def _fields(words: Sequence[str]) -> list[tuple[str, str]]:
    """The fields among the words, in the order of `Config`: make keeps no order."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    return [(name, given[name]) for name in FIELDS if name in given]


def program() -> list[str]:
    """How this program is called: by name, by its path, or as a module of the interpreter."""
    script = Path(sys.argv[0])
    if script.name != "rmtgen":
        return [sys.orig_argv[0], "-m", "rmtgen"]
    found = shutil.which("rmtgen")
    return ["rmtgen"] if found and Path(found).resolve() == script.resolve() else [str(script)]
