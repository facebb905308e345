"""The command line of a command about files: names, and options as flags or as NAME=VALUE words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.cli.arguments import EXIT_CODES, JSON_HELP, Parser
from rmtgen.errors import UsageError
from rmtgen.runs.parsers import switch


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        help: What it does, in one line.
        parse: From text to its value; `switch` for one that is on or off.
        metavar: What stands for its value.
    """

    help: str
    parse: Callable[[Any], Any]
    metavar: str = "VALUE"


def words_parser(
    usage: str, description: str, names: tuple[str, str], options: Mapping[str, Option]
) -> Parser:
    """A parser of names and options, and `--json`.

    Args:
        usage: Usage; its first two words are the command.
        description: What the command does, in one line.
        names: What stands for a name, and its help.
        options: The options by name.
    """
    program = " ".join(usage.split()[:2])
    parser = Parser(prog=program, usage=usage, description=description, epilog=EXIT_CODES)
    parser.add_argument("words", nargs="*", metavar=names[0], help=names[1])
    for name, option in options.items():
        flag = f"--{name.replace('_', '-')}"
        how: dict[str, Any] = {"metavar": option.metavar}
        if option.parse is switch:
            how = {"action": "store_const", "const": "true"}
        parser.add_argument(flag, dest=name, help=option.help, **how)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def read_words(
    parser: Parser, arguments: Sequence[str], options: Mapping[str, Option]
) -> tuple[dict[str, Any], list[str]]:
    """The options that are given, and the names.

    A word NAME=VALUE is an option, but for that of a file that is there.

    Args:
        parser: From `words_parser`.
        arguments: The words after the name of the command.
        options: As for `words_parser`.

    Raises:
        UsageError: An unknown option, one that is given twice, or a value that does not parse.
    """
    given = parser.parse_intermixed_args(arguments)
    texts = {name: getattr(given, name) for name in options if getattr(given, name) is not None}
    names = []
    for word in given.words:
        name, equals, value = word.partition("=")
        key = name.lower().replace("-", "_")
        if not equals or Path(word).exists():
            names.append(word)
        elif key not in options:
            known = ", ".join(options)
            raise UsageError(f"expected names and NAME=VALUE of {known}, got {word!r}.")
        elif texts.setdefault(key, value) != value:
            raise UsageError(f"{key} is given twice, as {texts[key]!r} and {value!r}.")
    return {name: _parsed(name, text, options[name]) for name, text in texts.items()}, names


def _parsed(name: str, text: str, option: Option) -> Any:
    try:
        return option.parse(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
