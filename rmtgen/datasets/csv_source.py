"""`csv:PATH`: a CSV or TSV that lists images and their labels, wherever the images lie."""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from rmtgen.datasets.assembly import Table, assemble, count
from rmtgen.datasets.csv_table import Rows, read_rows
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import FileImages, LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.source import Access, DataSource, given_path
from rmtgen.errors import CorruptInputError, MissingInputError, StorageError, warn
from rmtgen.names import printable
from rmtgen.store.tree import FileList

_MOST_SHOWN = 3
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_USUAL = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes that tables of image names often leave out."""


class CsvSource(DataSource):
    """A table of image path and labels; paths start at its folder, links are followed.

    A column `split` states the splits; without it the images are divided by `divide`. A file that
    two rows name counts once; where a cell holds any number of labels it has those of both.
    """

    argument = "PATH"
    divisible = True
    tabular = True

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of the rows.

        Raises:
            MissingInputError: The table, a file that it names, or a split does not exist.
            CorruptInputError: The table is damaged, or names a file under two labels.
            UsageError: Its columns cannot be known; or a share is asked for, but it has a column
                `split`.
        """
        path = given_path(name)
        table, repeated = _read(path, access.skip, access.max_pixels, access.labelling)
        if repeated and not access.labelling.separated:
            shown = ", ".join(repeated[:_MOST_SHOWN]) + (", …" if len(repeated) > 3 else "")
            are = "row names" if len(repeated) == 1 else "rows name"
            warn(
                f"{printable(str(path))}: {len(repeated)} {are} a file again, with the same label"
                f" ({shown}); every file counts once."
            )
        return assemble(name, table, splits, access)

    def files(self, name: str, root: Path) -> list[Path]:
        """The table."""
        return [given_path(name)]

    def listed(self, name: str, labelling: Labelling) -> FileList | None:
        """The images that the table names; None if none of them is there."""
        path = given_path(name)
        found = FileList(path.parent, tuple(dict.fromkeys(_names(read_rows(path, labelling)))))
        return found if found.exists() else None

    def sizes(
        self,
        name: str,
        share: float | None,
        skip: bool = False,
        labelling: Labelling = USUAL,
    ) -> tuple[int, int]:
        """The numbers of images, from the rows."""
        return count(_read(given_path(name), skip, MAX_PIXELS, labelling)[0], share)


def _names(rows: Rows) -> Iterator[str]:
    """The path of each row, as written, without ./ before it."""
    return (name.removeprefix("./") for name in rows.paths)


def _read(path: Path, skip: bool, max_pixels: int, labelling: Labelling) -> tuple[Table, list[str]]:
    """The images of a table, every file once; and the rows that name a file again."""
    rows, passed_over = read_rows(path, labelling), PassedOver()
    positions = rows.labels.labelled(labelling, skip)
    if len(positions) < len(rows.paths):
        for row in sorted(set(range(len(rows.paths))) - set(positions)):
            passed_over.add(rows.paths[row], "no label")
        rows = rows.only(positions)
    names = list(_names(rows))
    found = _present(path, rows, names, skip, passed_over)
    if labelling.separated:
        rows = _joined(rows, found, labelling.separator)
    kept, repeated = _once(rows, found, labelling)
    coded = rows.only(kept).labels.read(labelling)
    listed = FileList(path.parent, tuple(names[row] for row in kept))
    table = Table(
        shown=rows.shown,
        images=FileImages(listed.paths(), max_pixels),
        names=listed.names,
        roles=rows.roles and [rows.roles[row] for row in kept],
        rows=np.array(positions, dtype=np.int64)[kept],
        undivided="remove the column split",
        passed_over=passed_over,
        **coded._asdict(),
    )
    return table, [f"line {rows.lines[row]}: {printable(names[row])}" for row in repeated]


def _joined(rows: Rows, found: Mapping[int, tuple[int, int]], separator: str) -> Rows:
    """The rows of each file with the labels of all of them."""
    all_of: dict[tuple[int, int], list[str]] = {}
    for row, identity in found.items():
        all_of.setdefault(identity, []).append(rows.cells[row][0])
    joined = list(rows.cells)
    for row, identity in found.items():
        if len(all_of[identity]) > 1:
            joined[row] = (separator.join(all_of[identity]),)
    return replace(rows, cells=joined)


def _present(
    path: Path, rows: Rows, names: Sequence[str], skip: bool, passed_over: PassedOver
) -> dict[int, tuple[int, int]]:
    """The rows whose file is there, and what distinguishes it from others.

    Raises:
        MissingInputError: Some are not, and are not to be skipped.
    """
    found, absent = {}, list[tuple[int, str]]()
    for row, place in enumerate(FileList(path.parent, tuple(names)).paths()):
        known = _identity(place)
        if isinstance(known, str):
            absent.append((row, known))
            passed_over.add(names[row], known)
        else:
            found[row] = known
    if absent and (not skip or not found):
        raise MissingInputError(_absence(path, rows, absent))
    return found


def _identity(path: str) -> tuple[int, int] | str:
    """Device and inode of a plain file; else what is wrong."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except ValueError:
        return "missing file"
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return "missing file"
        raise StorageError(
            f"{printable(path)} cannot be seen: {error.strerror}. Make its folder readable."
        ) from error
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else "no plain file"


def _absence(path: Path, rows: Rows, absent: Sequence[tuple[int, str]]) -> str:
    """What is missing, and where it was looked for."""
    named = [
        f"line {rows.lines[row]}: {printable(rows.paths[row])[:100]} ({reason})"
        for row, reason in absent[:_MOST_SHOWN]
    ]
    more = ", …" if len(absent) > _MOST_SHOWN else ""
    row = absent[0][0]
    return (
        f"every row must name an image file: {printable(str(path))} has {len(absent):,} of"
        f" {len(rows.paths):,} that do not ({', '.join(named)}{more}). Paths start at"
        f" {printable(str(path.parent))}/.{_remedy(path.parent, rows.paths[row])} Mend them, or"
        " leave these rows out: on_corrupt=skip."
    )


def _remedy(folder: Path, name: str) -> str:
    """What the first missing file may have been meant to be."""
    if "://" in name:
        return " Files are not downloaded."
    if "\\" in name and _is_file(folder, name.replace("\\", "/")):
        return " Write / for \\."
    beside = [name + suffix for suffix in _USUAL] + [PurePath(name).name]
    near = next((one for one in beside if one != name and _is_file(folder, one)), None)
    return f" Did you mean {printable(near)}?" if near else ""


def _is_file(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


def _once(
    rows: Rows, found: Mapping[int, tuple[int, int]], labelling: Labelling
) -> tuple[list[int], list[int]]:
    """The first row of each file and split, and the others.

    Raises:
        CorruptInputError: A file has two labels.
    """
    first: dict[tuple[int, int], int] = {}
    kept: dict[tuple[tuple[int, int], str], int] = {}
    repeated, opposed = [], []
    for row, identity in found.items():
        before = first.setdefault(identity, row)
        if rows.cells[before] != rows.cells[row]:
            opposed.append((before, row))
        elif kept.setdefault((identity, rows.roles[row] if rows.roles else ""), row) != row:
            repeated.append(row)
    if opposed:
        raise CorruptInputError(_opposition(rows, opposed, labelling))
    return list(kept.values()), repeated


def _shown(rows: Rows, row: int, labelling: Labelling) -> str:
    """The class of a row, or its cells by column."""
    if labelling.task == "classes":
        return rows.cells[row][0]
    cells = zip(rows.columns, rows.cells[row], strict=True)
    return printable(", ".join(f"{name} {cell}" for name, cell in cells))[:100]


def _opposition(rows: Rows, opposed: Sequence[tuple[int, int]], labelling: Labelling) -> str:
    named = [
        f"{printable(rows.paths[row])} is {_shown(rows, before, labelling)} in line"
        f" {rows.lines[before]} and {_shown(rows, row, labelling)} in line {rows.lines[row]}"
        for before, row in opposed[:_MOST_SHOWN]
    ]
    more = "; …" if len(opposed) > _MOST_SHOWN else ""
    return (
        f"every file must have one label: {rows.shown} has {len(opposed)} rows that give a file"
        f" another one ({'; '.join(named)}{more}). Remove the wrong rows."
    )
