"""Tables as data, and their one writer: plain text of any width, Markdown, JSON."""

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

NOTE_WIDTH = 100
"""Columns of text at which a note is wrapped, however wide the terminal is."""
LEAST_NAME = 12
"""Columns of text that the first column of a table keeps, however narrow the terminal is."""
GAPS = (2, 1)
"""Spaces between two columns: where there is room, and where there is not."""


@dataclass(frozen=True)
class Table:
    """A table whose cells are text.

    Attributes:
        headings: One heading per column. The first column names the rows.
        rows: One cell per column in each row.
        align: One of `<` (left) and `>` (right) per column. Empty: the first column left, the
            others right.
        notes: Sentences that belong under the table.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = ""
    notes: tuple[str, ...] = ()

    def text(self, width: int | None = None) -> str:
        """Return the table as lines of at most `width` characters, without a trailing newline.

        In a narrow table the cells of the first column give way in their middle, as far as they
        still differ, then the gaps shrink, then the last columns are left out and named.

        Args:
            width: Characters per line. None: no limit.
        """
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        first, gap, kept = self._layout(widths, width)
        widths[0] = first
        lines = [self._line(row, widths[:kept], gap) for row in (self.headings, *self.rows)]
        lines.insert(1, (" " * gap).join("-" * width for width in widths[:kept]))
        left_out = ", ".join(self.headings[kept:])
        notes = ([f"no room for {left_out}"] if left_out else []) + list(self.notes)
        return "\n".join([*lines, *wrapped(notes, width)])

    def markdown(self) -> str:
        """Return the table in the pipe syntax of GitHub, without its notes."""
        rules = ["---" if sign == "<" else "---:" for sign in self._alignment()]
        rows = ([cell.replace("|", r"\|") for cell in row] for row in (self.headings, *self.rows))
        heading, *lines = (f"| {' | '.join(row)} |" for row in rows)
        return "\n".join([heading, f"|{'|'.join(rules)}|", *lines])

    def as_json(self) -> dict[str, object]:
        """Return the fields of the table as JSON knows them."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Table":
        """Return the table whose `as_json` the fields are."""
        rows = tuple(map(tuple, fields["rows"]))
        return cls(tuple(fields["headings"]), rows, fields["align"], tuple(fields["notes"]))

    def _alignment(self) -> str:
        return self.align or "<" + ">" * (len(self.headings) - 1)

    def _layout(self, widths: Sequence[int], width: int | None) -> tuple[int, int, int]:
        """Width of the first column, gap, and number of columns that have room."""
        if width is None:
            return widths[0], GAPS[0], len(widths)
        others = sum(widths[1:])
        least = min(widths[0], max(LEAST_NAME, self._least_distinct(widths[0])))
        for gap in GAPS:
            room = width - others - gap * (len(widths) - 1)
            if room >= least:
                return min(room, widths[0]), gap, len(widths)
        ends = itertools.accumulate((GAPS[-1] + size for size in widths[1:]), initial=least)
        kept = max(1, sum(end <= width for end in ends))
        spare = width - least - sum(GAPS[-1] + size for size in widths[1:kept])
        return min(widths[0], least + spare), GAPS[-1], kept

    def _least_distinct(self, longest: int) -> int:
        """Smallest width at which two names that differ still differ when they are shortened."""
        names = {row[0] for row in self.rows}
        return next(
            width
            for width in range(min(LEAST_NAME, longest), longest + 1)
            if len({shorten(name, width) for name in names}) == len(names)
        )

    def _line(self, row: Sequence[str], widths: Sequence[int], gap: int) -> str:
        name, *cells = row[: len(widths)]
        cells = [shorten(name, widths[0]), *cells]
        aligned = (
            f"{cell:{sign}{size}}"
            for cell, sign, size in zip(cells, self._alignment(), widths, strict=False)
        )
        return (" " * gap).join(aligned).rstrip()


def shorten(text: str, width: int, tail: int | None = None) -> str:
    """Return `text` in at most `width` characters, its middle replaced by an ellipsis.

    A run's name begins with its model and ends with its hash, and both say more than the middle.

    Args:
        text: The text.
        width: Characters, at least 1.
        tail: Characters kept at the end. None: half of them.
    """
    if len(text) <= width:
        return text
    tail = (width - 1) // 2 if tail is None else tail
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def wrapped(notes: Iterable[str], width: int | None = None) -> list[str]:
    """Return notes as lines of at most `width` and `NOTE_WIDTH` characters.

    The lines of a note after its first are indented.
    """
    width = min(NOTE_WIDTH, width or NOTE_WIDTH)
    lines = (
        textwrap.wrap(note, width, subsequent_indent="  ", break_on_hyphens=False) for note in notes
    )
    return [line for wrapped_note in lines for line in wrapped_note]
