"""What a command shows: results on stdout, a row a run; the log, the bar and what to type next on
stderr.

Colour, bars and the hint are for people: each is shown only where its stream is a terminal. For
programs, `--json` puts one line on stdout and nothing else there.
"""

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from rmtgen.report.wording import shorten
from rmtgen.runs.manifest import plain
from rmtgen.stages.engine import Outcome
from rmtgen.stages.progress import HASH, capable

if TYPE_CHECKING:
    pass

T = TypeVar("T")

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
STAGE_WIDTH = 9
"""Columns of a row before the run's name: the longest stage and a space."""
TIME_WIDTH = 8
WHAT_WIDTH = 27
"""Columns kept for what was done: `5000 images × 1280 features`."""
NARROWEST = 12
"""Columns of a name that are never given up."""


def coloured(stream: TextIO) -> bool:
    """Whether a stream shows colour: a terminal that can, and nobody said no
    (https://no-color.org).
    """
    return capable(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in one of `STYLES`, where the stream shows it."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if coloured(stream) else text


def note(text: str, kind: str = "") -> None:
    """One line of log on stderr, above a bar that is shown there; `kind` is a key of `LOG_COLOURS`
    or nothing.
    """
    label = f"{paint(f'{kind}:', LOG_COLOURS[kind], sys.stderr)} " if kind else ""
    with _bar_aside():
        print(f"rmtgen: {label}{text}", file=sys.stderr, flush=True)


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
        next_command: The command to type next; None where there is none, or where make goes on by
            itself.
    """

    def __init__(self, command: str, *, as_json: bool = False):
        self.command, self._as_json = command, as_json
        self.next_command: str | None = None
        self._outcomes: list[Outcome] = []
        self._names: list[str] = []
        self._next_shown = False

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
            print(paint(text, style, sys.stdout) if style else text, flush=True)

    def show_report(self, folder: Path) -> None:
        """Show the summary of a report, and the command that opens its page."""
        summary = (folder / "summary.txt").read_text(encoding="utf-8")
        self.show(f"\n{fit(summary.rstrip(), terminal_columns())}\n")
        self.show_next(shlex.join(["open", str(folder / "report.html")]))

    def show_next(self, command: str) -> None:
        """Show what to type next as part of the result, also where nobody watches."""
        self.next_command, self._next_shown = command, True
        self.show(command, "bold")

    def close(self, failure: Failure | None) -> None:
        """Show how the command ended: the line of JSON, the error, or what to type next."""
        if failure:
            note(failure.message, failure.kind)
        if self._as_json:
            print(self._line(failure), flush=True)
        elif (
            self.next_command
            and not self._next_shown
            and sys.stdout.isatty()
            and sys.stderr.isatty()
        ):
            print(
                f"{paint('next:', 'dim', sys.stderr)} {self.next_command}",
                file=sys.stderr,
                flush=True,
            )

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


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _row(outcome: Outcome, name_width: int, columns: int | None) -> str:
    """Stage, run, seconds or `cached`, and what was done; where that does not fit it has a line of
    its own, or none if it is no news.
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
    """Columns of the names: beside what was done if that tells them apart, else as many as a row
    has.
    """
    longest = max(map(len, names))
    if columns is None:
        return longest
    room = max(NARROWEST, columns - STAGE_WIDTH - TIME_WIDTH - 2)
    beside = max(NARROWEST, room - WHAT_WIDTH - 2)
    told_apart = len({name[: beside - HASH - 1] for name in names}) == len(names)
    return min(longest, beside if told_apart else room)


def fit(text: str, columns: int | None) -> str:
    """Tables and notes made for 100 columns, in fewer: a table's gaps and first column give way,
    then its last columns; notes wrap anew.
    """
    if columns is None:
        return text
    blocks = (block.splitlines() for block in text.split("\n\n"))
    return "\n\n".join("\n".join(_fit_block(block, columns)) for block in blocks)


def _fit_block(lines: list[str], columns: int) -> list[str]:
    """A table, known by the dashes under its headings, and the notes after it."""
    rule = lines[1] if len(lines) > 1 and set(lines[1]) == {"-", " "} else ""
    spans = [match.span() for match in re.finditer("-+", rule)]
    gaps = [slice(end, start) for (_, end), (start, _) in itertools.pairwise(spans)]
    rows = list(
        itertools.takewhile(lambda line: gaps and all(line[gap].isspace() for gap in gaps), lines)
    )
    fits = max(map(len, rows), default=0) <= columns
    table = (
        rows
        if fits
        else _narrowed([[row[start:end] for start, end in spans] for row in rows], columns)
    )
    return [*table, *_wrapped(lines[len(rows) :], columns)]


def _narrowed(cells: list[list[str]], columns: int) -> list[str]:
    """The table, one space between columns; the names of those that there is no room for, under it."""
    widths = [len(dashes) for dashes in cells[1]]
    first = min(widths[0], max(NARROWEST, columns - sum(width + 1 for width in widths[1:])))
    ends = itertools.accumulate(width + 1 for width in widths[1:])
    kept = 1 + sum(first + end <= columns for end in ends)
    names = [shorten(row[0].rstrip(), first).ljust(first) for row in cells]
    names[1] = "-" * first
    left_out = ", ".join(heading.strip() for heading in cells[0][kept:])
    rows = (" ".join([name, *row[1:kept]]).rstrip() for name, row in zip(names, cells, strict=True))
    return [*rows, *([f"no room for {left_out}"] if left_out else [])]


def _wrapped(lines: list[str], columns: int) -> list[str]:
    """Notes whose lines after the first are indented, wrapped anew."""
    notes: list[str] = []
    for line in lines:
        if line.startswith("  ") and notes:
            notes[-1] += f" {line.strip()}"
        else:
            notes.append(line)
    wrapped = (
        textwrap.wrap(note, columns, subsequent_indent="  ", break_on_hyphens=False)
        for note in notes
    )
    return [line for lines in wrapped for line in lines]
