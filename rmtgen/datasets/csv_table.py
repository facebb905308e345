"""The rows of a CSV or TSV of image path and labels, read by rule: nothing about it is guessed.

Fields are separated by tabs, semicolons or commas: by the one that makes the first row either name
the columns, or hold exactly a picture and its label. Quotes are those of RFC 4180.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rmtgen.datasets.decoding import suffixes
from rmtgen.datasets.label_columns import LabelColumns
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.layout import role_of
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    StorageError,
    UsageError,
    did_you_mean,
)
from rmtgen.names import class_name, printable

_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath"),
    "label": ("label", "class", "target"),
    "split": ("split",),
}
"""Names of the columns of each kind, without spaces, - and _, in lower case."""
_MOST_SHOWN = 3
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet or a zip file",
    b"\x1f\x8b": "compressed by gzip",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
}
"""The first bytes of what is taken for a table."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table that are not blank.

    Attributes:
        shown: The table, for messages.
        paths: The paths as they are written.
        roles: "train", "test" or "validation"; None without a column of splits.
        lines: The line that each begins in, from 1.
        cells: What the columns of the labels hold.
        columns: The names of these columns.
    """

    shown: str
    paths: list[str]
    roles: list[str] | None
    lines: list[int]
    cells: list[tuple[str, ...]]
    columns: tuple[str, ...]

    @property
    def labels(self) -> LabelColumns:
        """The columns of labels."""
        lines = self.lines
        return LabelColumns(self.columns, self.cells, lambda row: f"line {lines[row]}", self.shown)

    def only(self, kept: Sequence[int]) -> "Rows":
        """Some of the rows."""
        return replace(
            self,
            paths=[self.paths[row] for row in kept],
            roles=self.roles and [self.roles[row] for row in kept],
            lines=[self.lines[row] for row in kept],
            cells=[self.cells[row] for row in kept],
        )


@dataclass(frozen=True)
class _Form:
    """How a table is written.

    Attributes:
        delimiter: What separates its fields.
        columns: The place of the column of each kind.
        labels: The places of the columns of labels.
        least: The number of fields that every row has.
        most: The number of fields beyond which all are blank.
        headed: Whether its first row names the columns.
    """

    delimiter: str
    columns: Mapping[str, int]
    labels: tuple[int, ...]
    least: int
    most: int
    headed: bool


def read_rows(path: Path, labelling: Labelling = USUAL) -> Rows:
    """The rows of a table.

    Args:
        path: The file.
        labelling: Which columns label the images, and what they mean.

    Raises:
        MissingInputError: There is no such file, or it has no row.
        StorageError: It cannot be read.
        UsageError: It is no file, or its columns cannot be known.
        CorruptInputError: It is not UTF-8, a quote is left open, or a row lacks something.
    """
    shown, text = printable(str(path)), _text(path)
    form = _form(text, shown, labelling)
    records = _records(text, form.delimiter, shown)
    header = next(records)[1] if form.headed else ["path", "label"]
    names = tuple(printable(header[place]) for place in form.labels)
    rows = _collected(records, form, shown, labelling, names)
    if not rows.paths:
        raise MissingInputError(
            f"{shown} must hold a row for each image, got none"
            f"{' below its header' if form.headed else ''}. Add them."
        )
    return rows


def _text(path: Path) -> str:
    """The text of a table."""
    shown = printable(str(path))
    try:
        if not path.exists():
            raise MissingInputError(f"{shown} does not exist. Expected a CSV of path and label.")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            cure = f" A folder of images is folder:{shown}." if path.is_dir() else ""
            raise UsageError(f"a table of images must be a plain file, got {kind}: {shown}.{cure}")
        content = path.read_bytes()
    except OSError as error:
        if isinstance(error, MissingInputError):
            raise
        raise StorageError(
            f"{shown} cannot be read: {error.strerror}. Make it readable."
        ) from error
    for mark, kind in _NO_TEXT.items():
        if content.startswith(mark):
            raise CorruptInputError(
                f"a table of images must be plain text in UTF-8, got {shown}, which is {kind}. Save"
                " it as CSV (UTF-8)."
            )
    return _decoded(content, shown)


def _decoded(content: bytes, shown: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorruptInputError(
            f"a table of images must be in UTF-8: line {line} of {shown} has the byte"
            f" 0x{content[error.start]:02x}, as in Latin-1. Convert it: iconv -f latin1 -t utf-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorruptInputError(
            f"a table of images must be text: line {line} of {shown} has a null character. Save it"
            " as CSV (UTF-8)."
        )
    return text


def _records(text: str, delimiter: str, shown: str) -> Iterator[tuple[int, list[str]]]:
    """The line and the fields of each record that is not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    line = 1
    try:
        for record in reader:
            fields = [field.strip() for field in record]
            if any(fields):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorruptInputError(
            f"{shown} is not a CSV from line {line} on ({error}). Close each quote, and write a"
            ' quote inside of quotes twice ("").'
        ) from error


def _form(text: str, shown: str, labelling: Labelling) -> _Form:
    """How a table is written, by its first row."""
    firsts = {delimiter: _first(text, delimiter, shown) for delimiter in _DELIMITERS}
    if not any(firsts.values()):
        _first(text, ",", shown, strict=True)
        raise MissingInputError(f"{shown} must hold a row for each image, got an empty file.")
    headed = {
        delimiter: columns
        for delimiter, first in firsts.items()
        if {"path", "label"} <= (columns := _columns(first, shown, labelling)).keys()
    }
    plain = [
        delimiter
        for delimiter, first in firsts.items()
        if len(first) == 2 and PurePosixPath(first[0]).suffix.lower() in suffixes()
    ]
    found = list(headed or ([] if labelling.columns else plain))
    if len(found) > 1:
        ways = " and ".join(_DELIMITERS[delimiter] for delimiter in found)
        raise UsageError(
            f"the fields of {shown} may be separated by {ways}: its first row is a picture and its"
            " class by each. Add a header: path,label."
        )
    if not found:
        raise UsageError(_unknown_columns(firsts, shown, labelling))
    (delimiter,) = found
    columns = headed.get(delimiter, {"path": (0,), "label": (1,)})
    first = firsts[delimiter]
    least = 1 + max(place for place, name in enumerate(first) if name)
    single = {kind: places[0] for kind, places in columns.items() if kind != "label"}
    return _Form(delimiter, single, columns["label"], least, len(first), bool(headed))


def _first(text: str, delimiter: str, shown: str, *, strict: bool = False) -> list[str]:
    """The fields of the first record, empty if there is none, or none that can be read."""
    try:
        return next(_records(text, delimiter, shown), (0, []))[1]
    except CorruptInputError:
        if strict:
            raise
        return []


def _plain(name: str) -> str:
    return name.lower().translate({ord(mark): None for mark in " -_"})


def _columns(first: Sequence[str], shown: str, labelling: Labelling) -> dict[str, tuple[int, ...]]:
    """The places of the columns of each kind: several only of labels that are asked for by name.

    Raises:
        UsageError: A table with columns of path and label has two of a kind.
    """
    plain = [_plain(name) for name in first]
    places = {
        kind: [place for place, name in enumerate(plain) if name in names]
        for kind, names in _COLUMNS.items()
    }
    if labelling.columns:
        wanted = [_named(name, first, plain) for name in labelling.columns]
        places["label"] = [place for place in wanted if place is not None]
        if None in wanted:
            places["label"] = []
    if places["path"] and places["label"]:
        for kind, found in places.items():
            if len(found) > 1 and not (kind == "label" and labelling.columns):
                names = ", ".join(printable(first[place]) for place in found)
                raise UsageError(
                    f"{shown} must have one column of the {kind}, got {len(found)} ({names})."
                    " Rename those that are not meant."
                    + (" Or name those that are: columns=NAME." * (kind == "label"))
                )
    return {kind: tuple(found) for kind, found in places.items() if found}


def _named(name: str, first: Sequence[str], plain: Sequence[str]) -> int | None:
    """The place of the column of that name as it is written, else of the only one like it."""
    if name in first:
        return first.index(name)
    return plain.index(_plain(name)) if plain.count(_plain(name)) == 1 else None


def _unknown_columns(firsts: Mapping[str, Sequence[str]], shown: str, labelling: Labelling) -> str:
    first = max(firsts.values(), key=len)
    if len(first) == 1:
        got = f"one column ({printable(first[0])[:60]!r})"
    else:
        names = ", ".join(printable(name)[:40] for name in first[:6])
        got = f"{len(first)} columns ({names}{', …' if len(first) > 6 else ''})"
    plain = [_plain(name) for name in first]
    absent = [name for name in labelling.columns if _named(name, first, plain) is None]
    if absent:
        named = ", ".join(absent[:_MOST_SHOWN]) + (", …" if len(absent) > _MOST_SHOWN else "")
        return (
            f"{shown} must name the columns that columns={','.join(labelling.columns)} asks for in"
            f" its first row: it has no {named}, but {got}. {did_you_mean(absent[0], first)}"
        )
    wanted = " and ".join(
        f"one of {', '.join(_COLUMNS[kind])}"
        for kind in ("path", "label")
        if kind == "path" or not labelling.columns
    )
    kinds = "path" if labelling.columns else "path and label"
    plainly = "" if labelling.columns else ", or hold just those two, a picture such as a.png first"
    named = "" if labelling.columns else " Or name the label's: columns=NAME."
    return (
        f"{shown} must name the columns of {kinds} in its first row ({wanted}){plainly}: got {got}."
        f" Add or rename a header.{named}"
    )


def _collected(
    records: Iterator[tuple[int, list[str]]],
    form: _Form,
    shown: str,
    labelling: Labelling,
    columns: tuple[str, ...],
) -> Rows:
    """The rows, each with its path, and with labels or without.

    Raises:
        CorruptInputError: Some lack more than that.
    """
    path, split = (form.columns.get(kind) for kind in ("path", "split"))
    rows = Rows(shown, [], None if split is None else [], [], [], columns)
    problems: list[str] = []
    for line, fields in records:
        if problem := _problem(fields, form):
            problems.append(f"line {line} ({problem})")
            continue
        rows.lines.append(line)
        rows.paths.append(fields[path or 0])
        rows.cells.append(tuple(fields[place] for place in form.labels))
        if rows.roles is not None:
            rows.roles.append(role_of(fields[split or 0]) or "")
    if problems:
        listed = ", ".join(problems[:_MOST_SHOWN]) + (", …" if len(problems) > _MOST_SHOWN else "")
        raise CorruptInputError(
            f"every row must have {form.least} columns, with a path and a label: {len(problems)} of"
            f" {len(problems) + len(rows.paths)} in {shown} have not: {listed}. Quote fields that"
            " hold the delimiter; fill or remove the rows."
        )
    if labelling.task != "classes":
        return rows
    names = {cells: (class_name(cells[0]),) for cells in set(rows.cells)}
    return replace(rows, cells=[names[cells] for cells in rows.cells])


def _problem(fields: Sequence[str], form: _Form) -> str:
    """What a row lacks besides labels; empty if nothing."""
    if len(fields) < form.least or any(fields[form.most :]):
        return f"{len(fields)} columns"
    for kind, place in form.columns.items():
        if not fields[place]:
            return f"no {kind}"
    split = form.columns.get("split")
    if split is not None and role_of(fields[split]) is None:
        return f"split {printable(fields[split])[:40]!r}, expected train, val or test"
    return ""
