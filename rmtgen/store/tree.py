"""The entries of a folder, links followed, each folder once; and lists of files."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["file", "hidden", "broken link", "special file", "empty folder", "folder met before"]


@dataclass(frozen=True)
class Entry:
    """One entry under a folder.

    Attributes:
        name: Its path below the folder, with /.
        kind: "file"; "hidden", for a file or folder whose name starts with a dot, which is not
            entered; "broken link"; "special file", such as a pipe or a socket; "empty folder"; or
            "folder met before", for a link to a folder that another name has led to, or that the
            link lies in.
    """

    name: str
    kind: Kind


@dataclass(frozen=True)
class FileList:
    """Files that a table lists, wherever they lie.

    Attributes:
        folder: Where their names start.
        names: Their names, each a path below or beside the folder, or an absolute one.
    """

    folder: Path
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.names)} files listed from {self.folder}"

    def exists(self) -> bool:
        """Whether any of them is there."""
        return any(status for _, status in self.statuses())

    def paths(self) -> list[str]:
        """Where each name leads, as text: a Path for each of a million names takes seconds."""
        return [name if name.startswith("/") else f"{self.folder}/{name}" for name in self.names]

    def statuses(self) -> Iterator[tuple[str, os.stat_result | None]]:
        """Each name, and what is there; None if nothing is, or it cannot be seen."""
        for name, path in zip(self.names, self.paths(), strict=True):
            try:
                yield name, os.stat(path)  # noqa: PTH116
            except (OSError, ValueError):
                yield name, None


def entries(folder: Path) -> Iterator[Entry]:
    """Everything under a folder; no file is opened.

    Of several names of one folder the first counts, in the order of names; that of the folder
    itself comes before those of links to it.

    Raises:
        OSError: A folder cannot be listed.
    """
    met = {_identity(parent) for parent in folder.resolve().parents}
    found, linked = [""], list[str]()
    while found or linked:
        name = heapq.heappop(found or linked)
        place = folder / name
        if (identity := _identity(place)) in met:
            yield Entry(name, "folder met before")
            continue
        met.add(identity)
        with os.scandir(place) as listing:
            below = sorted(listing, key=lambda entry: entry.name)
        if not below and name:
            yield Entry(name, "empty folder")
        for entry in below:
            kind = _kind(entry)
            path = f"{name}/{entry.name}" if name else entry.name
            if kind == "folder":
                heapq.heappush(linked if entry.is_symlink() else found, path)
            else:
                yield Entry(path, kind)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry) -> Kind | Literal["folder"]:
    if entry.name.startswith("."):
        return "hidden"
    # of a link that leads round in a circle a DirEntry raises, a Path says that it is nothing
    place = Path(entry.path) if entry.is_symlink() else entry
    if place.is_dir():
        return "folder"
    if place.is_file():
        return "file"
    broken = isinstance(place, Path) and not place.exists()
    return "broken link" if broken else "special file"
