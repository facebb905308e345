"""The command line as an experiment: CONFIG, FIELD=VALUE words, and one flag per field."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.runs.config import EXPERIMENTS, FIELDS, Experiment, load_experiment

EXIT_CODES = """\
exit codes: 0 done, 2 usage, 3 missing or corrupt input, 4 numerical failure, 130 interrupted;
make itself ends with 2 for all but 0"""


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
    """Reports a mistake as every other mistake is reported: in one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(f"{message}. See --help.")


def experiment_parser(command: str, description: str) -> Parser:
    """A parser with CONFIG, FIELD=VALUE words, a flag per field of `Config`, and `--json`."""
    shipped = ", ".join(sorted(path.stem for path in EXPERIMENTS.glob("*.yaml")))
    parser = Parser(
        prog=f"rmtgen {command}",
        usage=f"rmtgen {command} [CONFIG] [FIELD=VALUE ...] [--json]",
        description=description,
        epilog=f"shipped configurations: {shipped}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="CONFIG", help="YAML file, or a shipped name")
    parser.add_argument("--config", metavar="FILE", help="the same as CONFIG")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout, no more")
    group = parser.add_argument_group("fields (each also FIELD=VALUE, and a key of the YAML file)")
    for field in FIELDS.values():
        text = f"{field.metadata['help']} [{_shown(field.default)}]".replace("%", "%%")
        flag = f"--{field.name.replace('_', '-')}"
        group.add_argument(flag, dest=field.name, metavar="VALUE", help=text)
    return parser


def _shown(default: object) -> str:
    """A default value, shortened."""
    items = default if isinstance(default, tuple) else None
    shown = str(default) if items is None else ",".join(f"{item:g}" for item in items)
    return shown if len(shown) < 40 else f"{shown[:36]}…"


def parse(parser: Parser, arguments: Sequence[str]) -> Request:
    """Parse a command line with a parser of `experiment_parser`.

    Raises:
        UsageError: An unknown flag or field, two configurations, or a value that does not parse.
        MissingInputError: There is no such configuration.
    """
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        known = [*FIELDS, *vars(options)]
        raise UsageError(f"unknown flag {unknown[0]!r}. {did_you_mean(name, known)}")
    flags = {
        name: value for name, value in vars(options).items() if name in FIELDS and value is not None
    }
    given = [word.partition("=") for word in options.words]
    overrides = flags | {name.lower(): value for name, equals, value in given if equals}
    named = [name for name, equals, _ in given if name and not equals]
    configs = list(dict.fromkeys([*([options.config] if options.config else []), *named]))
    if len(configs) > 1:
        raise UsageError(
            f"expected one CONFIG and FIELD=VALUE words, got {' and '.join(map(repr, configs))}."
        )
    experiment = load_experiment(configs[0] if configs else None, overrides)
    words = (*configs, *(f"{name}={value}" for name, value in overrides.items()))
    return Request(experiment, options, words)


def next_command(request: Request, command: Sequence[str], target: str) -> str | None:
    """The command line of another command on the same configuration.

    Args:
        request: The present one.
        command: The other command, as words after `rmtgen`.
        target: The target of make that stands for it.

    Returns:
        `make TARGET …` for a command that make runs, None where make goes on by itself, else
        `rmtgen COMMAND …`.
    """
    make = os.environ.get("RMTGEN_MAKE")  # set by the Makefile: `make` and its own variables
    if make is None:
        return shlex.join([*program(), *command, *request.words])
    if not make:
        return None
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
