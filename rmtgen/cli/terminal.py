"""What a command shows: results on stdout; the log, the bar and the next command on stderr.

Colour, bars and the next command are shown only where their stream is a terminal. For programs,
`--json` puts one line on stdout and nothing else there.
"""

import contextlib
import json
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rmtgen.errors import RmtgenError
from rmtgen.report.summary import load_summary
from rmtgen.runs.graph import DECLARED
from rmtgen.runs.manifest import plain
from rmtgen.stages.engine import Outcome
from rmtgen.stages.progress import HASH, capable
from rmtgen.tables import shorten
from rmtgen.units import duration

STYLES = {"bold": "1", "dim": "2", "red": "31", "yellow": "33"}
LOG_COLOURS = {"error": "red", "warning": "yellow"}
STATUS_WORDS = {
    "cached": "cached",
    "reused": "cached",
    "not needed": "–",
    "verified": "sound",
    "deleted": "deleted",
}
"""Words in the place of seconds, for a result that was not computed now."""
OPENERS = ("open",) if sys.platform == "darwin" else ("xdg-open",)
"""Programs that show a page in a browser; on Linux `open` may be another one."""
STAGE_WIDTH = max(map(len, DECLARED)) + 1
"""Columns of text of the stage: the longest name and a space."""
TIME_WIDTH = 8
"""Columns of text of the time."""
WHAT_WIDTH = 27
"""Columns of text kept for what was done, such as `5000 images × 1280 features`."""
NARROWEST = 12
"""Columns of text that a name keeps, however narrow the terminal is."""


def coloured(stream: TextIO) -> bool:
    """Whether a stream shows colour: a capable terminal, and no NO_COLOR (no-color.org)."""
    return capable(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in one of `STYLES`, where the stream shows it."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if coloured(stream) else text


def note(text: str, kind: str = "") -> None:
    """Write one line of log to stderr, above a bar that is shown there.

    Args:
        text: The line.
        kind: A key of `LOG_COLOURS`, or empty.
    """
    label = f"{paint(f'{kind}:', LOG_COLOURS[kind], sys.stderr)} " if kind else ""
    with _bar_aside():
        write(f"rmtgen: {label}{text}", sys.stderr)


def write(text: str, stream: TextIO) -> OSError | None:
    """Write a line; what the stream refuses (a reader that is gone, a full disk) ends no work.

    Returns:
        The error, after which the stream takes everything and keeps nothing; None where there is
        none.
    """
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        with contextlib.suppress(OSError):  # no file: a stream in memory
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, stream.fileno())  # so that the interpreter's end finds no error either
            os.close(handle)
        return error
    return None


def _bar_aside() -> contextlib.AbstractContextManager[None]:
    tqdm = sys.modules.get("tqdm")  # not imported: no bar was ever drawn
    return tqdm.tqdm.external_write_mode(sys.stderr) if tqdm else contextlib.nullcontext()


@dataclass(frozen=True)
class Failure:
    """Why a command ended early.

    Attributes:
        code: The exit code.
        message: One line.
        kind: A key of `LOG_COLOURS`; empty for the user's own interrupt.
    """

    code: int
    message: str
    kind: str = "error"


class Transcript:
    """What one command shows: each result as it comes or, as JSON, all of them at the end.

    Attributes:
        command: Name of the command.
        exit_code: The exit code of the command, once it is closed.
        next_command: The command to type next; None where there is none, or where make goes on by
            itself.
    """

    def __init__(self, command: str, *, as_json: bool = False):
        self.command, self._as_json = command, as_json
        self.exit_code = 0
        self.next_command: str | None = None
        self._outcomes: list[Outcome] = []
        self._names: list[str] = []
        self._next_shown = False
        self._refused: OSError | None = None

    def redirected(self) -> contextlib.AbstractContextManager[object]:
        """A context in which, as JSON, whatever a library prints goes to stderr."""
        return contextlib.redirect_stdout(sys.stderr) if self._as_json else contextlib.nullcontext()

    def align(self, names: Iterable[str]) -> None:
        """Make the column of names wide enough for these, and to distinguish them."""
        self._names = list(names)

    def record(self, outcome: Outcome) -> None:
        """Keep what became of a run for the line of JSON."""
        self._outcomes.append(outcome)

    def add(self, outcome: Outcome) -> None:
        """Show what became of a run, in a row of the table."""
        self.record(outcome)
        columns = terminal_columns()
        row = _row(outcome, _name_width(self._names, columns), columns)
        self.show(row, "dim" if outcome.status in STATUS_WORDS else None)

    def show(self, text: str, style: str | None = None) -> None:
        """More of the result, at once; not as JSON."""
        if not self._as_json:
            self._write(paint(text, style, sys.stdout) if style else text)

    def show_report(self, folder: Path, stage: str = "report") -> None:
        """Show the summary that a joint stage has left, and the command that opens its page."""
        self.show(f"\n{load_summary(folder, stage).text(terminal_columns())}\n")
        page = str(folder / DECLARED[stage].files[0])
        opener = next(filter(shutil.which, OPENERS), None)
        if opener:
            self.show_next(shlex.join([opener, page]))
        else:
            self.show(page, "bold")

    def show_next(self, command: str) -> None:
        """Show what to type next as part of the result, also where stdout is no terminal."""
        self.next_command, self._next_shown = command, True
        self.show(command, "bold")

    @property
    def refused(self) -> bool:
        """Whether stdout takes no more."""
        return self._refused is not None

    def close(self, failure: Failure | None) -> None:
        """Show how the command ended: the line of JSON, the error, or what to type next."""
        if failure:
            self.exit_code = failure.code
            note(failure.message, failure.kind)
        if self._as_json:
            self._write(self._line(failure))
        elif (
            self.next_command
            and not self._next_shown
            and sys.stdout.isatty()
            and sys.stderr.isatty()
        ):
            write(f"{paint('next:', 'dim', sys.stderr)} {self.next_command}", sys.stderr)
        if self._refused and not failure:
            self.exit_code = RmtgenError.exit_code
            if not isinstance(self._refused, BrokenPipeError):  # whose reader wants no more
                why = self._refused.strerror
                note(f"stdout takes no more: {why}. Every result is stored.", "error")

    def _write(self, text: str) -> None:
        """Write to stdout; the first error decides the exit code once the work is done."""
        self._refused = write(text, sys.stdout) or self._refused

    def _line(self, failure: Failure | None) -> str:
        runs = [
            {name: plain(value) for name, value in vars(outcome).items()}
            for outcome in self._outcomes
        ]
        line = {"stage": self.command, "runs": runs, "next": self.next_command}
        if failure:
            line["error"] = {"code": failure.code, "message": failure.message}
        return json.dumps(line, allow_nan=False)


def terminal_columns() -> int | None:
    """The width of stdout; None, without a limit, where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _row(outcome: Outcome, name_width: int, columns: int | None) -> str:
    """Stage, run, seconds or a word of `STATUS_WORDS`, and what was done.

    What was done has a line of its own where it does not fit, or none if nothing was computed.
    """
    time = STATUS_WORDS.get(outcome.status) or duration(outcome.seconds)
    name, what = shorten(outcome.name, name_width, HASH), outcome.headline or ""
    line = f"{outcome.stage:<{STAGE_WIDTH}}{name:<{name_width}}  {time:>{TIME_WIDTH}}"
    if columns is None or len(line) + 2 + len(what) <= columns:
        return f"{line}  {what}".rstrip()
    if outcome.status in STATUS_WORDS:
        return line
    indent = " " * STAGE_WIDTH
    return "\n".join(
        [line, *textwrap.wrap(what, columns, initial_indent=indent, subsequent_indent=indent)]
    )


def _name_width(names: Sequence[str], columns: int | None) -> int:
    """Columns of the names: the room beside what was done if shortened names differ there.

    Where they do not, a name takes the room of the whole row.
    """
    longest = max(map(len, names))
    if columns is None:
        return longest
    room = max(NARROWEST, columns - STAGE_WIDTH - TIME_WIDTH - 2)
    beside = max(NARROWEST, room - WHAT_WIDTH - 2)
    distinct = len({name[: beside - HASH - 1] for name in names}) == len(names)
    return min(longest, beside if distinct else room)
