"""What a command shows: results on stdout, a row a run; the log, the bar and what to type next on
stderr.

Colour, bars and the hint are for people: each is shown only where its stream is a terminal. For
programs, `--json` puts one line on stdout and nothing else there.
"""

import contextlib
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from rmtgen.tables import shorten

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

STYLES = {"bold": "1", "dim": "2", "red": "31", "yellow": "33"}
LOG_COLOURS = {"error": "red", "warning": "yellow"}
NO_NEWS = {"cached": "cached", "adopted": "cached", "not needed": "–"}
"""What stands in the place of seconds for a run that nothing was computed of."""
STAGE_WIDTH = 9
"""Columns of a row before the run's name: the longest stage and a space."""
TIME_WIDTH = 8
WHAT_WIDTH = 27
"""Columns kept for what was done: `5000 images × 1280 features`."""
NARROWEST = 12
"""Columns of a name that are never given up."""
HASH = 8
"""Characters at the end of a run's name that no other run has."""


def capable(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor and colour its text."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


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


def open_bar(command: str, name: str) -> "tqdm":
    """The bar of one run, before its length is known: a context manager that leaves nothing on the
    screen, however the work ends.
    """
    from tqdm import tqdm

    return tqdm(
        desc=f"{command} {shorten(name, 22, HASH)}",
        total=0,
        bar_format="{desc}: starting",
        file=sys.stderr,
        disable=not capable(sys.stderr),
        leave=False,
        dynamic_ncols=True,
        smoothing=0.1,
    )


def progress(bar: "tqdm", items: Iterable[T], total: int, unit: str, done: int = 0) -> Iterable[T]:
    """`items`, the bar moving with them; `done` of the `total` were there before."""
    bar.bar_format, bar.unit, bar.initial = None, unit, done
    bar.reset(total)
    bar.n = bar.last_print_n = done
    bar.refresh()
    for item in items:
        yield item
        bar.update()


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        name: the run's, in full.
        path: its directory.
        status: `computed`, `cached`, `adopted` (taken from another run), `not needed` or `planned`.
        seconds: that the result took to compute, whenever that was; a forecast where it is planned;
            None where nothing was computed.
        headline: what there is to say of it in a line.
        details: what its manifest notes.
        outputs: files of the result.
    """

    name: str
    path: Path
    status: str
    seconds: float | None = None
    headline: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Path] = ()


@dataclass(frozen=True)
class Failure:
    """Why a command ended early: the exit code, one line, and whether it is an error or the user's
    own interrupt.
    """

    code: int
    message: str
    kind: str = "error"


class Transcript:
    """What one command has to tell: told as it comes or, as JSON, at the end in one line.

    Attributes:
        command: the stage, `plan` or `compare`.
        next_command: what to type next; None where there is nothing, or where make goes on by
            itself.
    """

    def __init__(self, command: str, *, as_json: bool = False):
        self.command, self.next_command, self._as_json = command, None, as_json
        self._outcomes, self._names, self._next_shown = [], [], False

    def redirected(self) -> contextlib.AbstractContextManager[object]:
        """Hold: as JSON, whatever a library prints goes to stderr."""
        return contextlib.redirect_stdout(sys.stderr) if self._as_json else contextlib.nullcontext()

    def align(self, names: Iterable[str]) -> None:
        """Make the column of names wide enough for these, and for telling them apart."""
        self._names = list(names)

    def record(self, outcome: Outcome) -> None:
        """Keep what became of a run for the line of JSON."""
        self._outcomes.append(outcome)

    def add(self, outcome: Outcome) -> None:
        """Tell what became of a run, in a row of the table."""
        self.record(outcome)
        columns = terminal_columns()
        row = _row(self.command, outcome, _name_width(self._names, columns), columns)
        self.show(row, "dim" if outcome.status in NO_NEWS else None)

    def show(self, text: str, style: str | None = None) -> None:
        """More of the result, at once; not as JSON."""
        if not self._as_json:
            print(paint(text, style, sys.stdout) if style else text, flush=True)

    def show_next(self, command: str) -> None:
        """Show what to type next as part of the result, also where nobody watches."""
        self.next_command, self._next_shown = command, True
        self.show(command, "bold")

    def close(self, failure: Failure | None) -> None:
        """Tell how it ended: the line of JSON, the error, or what to type next."""
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


def plain(value: Any) -> Any:
    """`value` as JSON knows it: a number that is none is null, a path is text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def terminal_columns() -> int | None:
    """The width of stdout; None, without a limit, where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _row(command: str, outcome: Outcome, name_width: int, columns: int | None) -> str:
    """Stage, run, seconds or `cached`, and what was done; where that does not fit it has a line of
    its own, or none if it is no news.
    """
    time = NO_NEWS.get(outcome.status) or duration(outcome.seconds)
    name, what = shorten(outcome.name, name_width, HASH), outcome.headline or ""
    line = f"{command:<{STAGE_WIDTH}}{name:<{name_width}}  {time:>{TIME_WIDTH}}"
    if columns is None or len(line) + 2 + len(what) <= columns:
        return f"{line}  {what}".rstrip()
    if outcome.status in NO_NEWS:
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
