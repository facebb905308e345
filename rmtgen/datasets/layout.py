"""From the names of images in a folder to their splits and classes.

Two layouts are known: SPLIT/CLASS/IMAGE, with the usual names of splits, and CLASS/IMAGE. Folders
deeper than CLASS belong to their class. One folder around everything, as most archives have it, is
no part of the layout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rmtgen.errors import UsageError
from rmtgen.names import class_name, printable

LAYOUTS = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"

_ROLES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
"""Names of the folders of splits, in lower case."""


@lru_cache(maxsize=1024)
def role_of(name: str) -> str | None:
    """The role of a split by its name: "train", "test" or "validation"; None if it has none."""
    return next((role for role, names in _ROLES.items() if name.lower() in names), None)


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one split, or of all of them.

    Attributes:
        rows: int64, (n,): positions in the listing.
        classes: The class of each image, n names.
    """

    rows: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, eq=False)
class Layout:
    """How the images of a folder are arranged.

    Attributes:
        parts: The images of "train" and "test" by their folders; or of "all".
        folders: The folder of each split, as in the names.
        stray: Name and reason of each image outside the layout.
        depth: The number of parts of a name up to its class.
        merged: The folders of each class that has several, whose names differ only in how they are
            written.
    """

    parts: dict[str, Part]
    folders: dict[str, str]
    stray: list[tuple[str, str]]
    depth: int
    merged: dict[str, list[str]]

    @property
    def is_split(self) -> bool:
        """Whether the folders say which images are for training and which for the test."""
        return "all" not in self.parts

    def barren(
        self, names: Sequence[str], passed_over: Mapping[str, Sequence[str]]
    ) -> dict[str, str]:
        """Class folders without an image, and the reason why a file in each is none.

        Args:
            names: The names of the images.
            passed_over: The names of other files by reason.
        """
        fertile = {self._class_folder(name) for name in names}
        found = {
            folder: reason
            for reason, others in passed_over.items()
            for folder in map(self._class_folder, others)
            if folder is not None and folder not in fertile
        }
        return dict(sorted(found.items()))

    def _class_folder(self, name: str) -> str | None:
        parts = name.split("/")
        if len(parts) <= self.depth:
            return None
        if self.is_split and parts[self.depth - 2] not in self.folders.values():
            return None
        return "/".join(parts[: self.depth])


def arrange(names: Sequence[str]) -> Layout:
    """The layout of a folder whose images have these names.

    Raises:
        UsageError: Two folders are named as the same split.
    """
    parts = [name.split("/") for name in names]
    depth = _wrapping(parts)
    below = [found[depth:] for found in parts]
    folders = _split_folders({found[0] for found in below if len(found) > 2})
    if not {"train", "test"} & folders.keys():
        return _by_class(names, below, depth)
    return _by_split(names, below, depth, folders)


def _wrapping(parts: Sequence[list[str]]) -> int:
    """The number of folders around everything, which are neither splits nor the only class."""
    depth = 0
    while True:
        tops = {found[depth] for found in parts if len(found) > depth + 1}
        nested = len({found[depth + 1] for found in parts if len(found) > depth + 2})
        if len(tops) != 1 or not nested or _split_folders(tops):
            return depth
        depth += 1


def _split_folders(tops: set[str]) -> dict[str, str]:
    """The folder of each role among the folders at the top."""
    folders: dict[str, str] = {}
    for top in sorted(tops):
        role = role_of(top)
        if role is None:
            continue
        if role in folders:
            raise UsageError(
                f"a data set must have one folder per split: {folders[role]}/ and {top}/ are both"
                f" read as {role}. Rename or merge them."
            )
        folders[role] = top
    return folders


def _by_class(names: Sequence[str], below: Sequence[list[str]], depth: int) -> Layout:
    rows = [row for row, found in enumerate(below) if len(found) > 1]
    stray = [
        (name, "outside a class folder")
        for name, found in zip(names, below, strict=True)
        if len(found) == 1
    ]
    folders = [below[row][0] for row in rows]
    return Layout({"all": _part(rows, folders)}, {}, stray, depth + 1, _merged([set(folders)]))


def _by_split(
    names: Sequence[str], below: Sequence[list[str]], depth: int, folders: Mapping[str, str]
) -> Layout:
    test = folders.get("test", folders.get("validation"))
    used = {"train": folders.get("train"), "test": test}
    rows: dict[str, list[int]] = {split: [] for split in used}
    stray = []
    for row, (name, found) in enumerate(zip(names, below, strict=True)):
        split = next((split for split, folder in used.items() if found[0] == folder), None)
        if split and len(found) > 2:
            rows[split].append(row)
        elif split or len(found) == 1:
            stray.append((name, "outside a class folder"))
        else:
            stray.append((name, f"under {printable(found[0])}/"))
    classes = {split: [below[row][1] for row in chosen] for split, chosen in rows.items()}
    parts = {split: _part(rows[split], classes[split]) for split in used}
    tops = {split: folder for split, folder in used.items() if folder}
    return Layout(parts, tops, stray, depth + 2, _merged(map(set, classes.values())))


def _merged(splits: Iterable[set[str]]) -> dict[str, list[str]]:
    """The folders of one split that are one class, by its name."""
    merged: dict[str, list[str]] = {}
    for folders in splits:
        together: dict[str, list[str]] = {}
        for folder in sorted(folders):
            together.setdefault(class_name(folder), []).append(folder)
        merged |= {name: found for name, found in together.items() if len(found) > 1}
    return merged


def _part(rows: Sequence[int], folders: Sequence[str]) -> Part:
    shown = {folder: class_name(folder) for folder in set(folders)}
    classes = np.array([shown[folder] for folder in folders], dtype=object)
    return Part(np.array(rows, dtype=np.int64), classes)
