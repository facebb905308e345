"""WebDataset shards: uncompressed tars of samples, whose files are named KEY.SUFFIX.

A shard is indexed in one pass over its headers and the small files of its labels; the images are
read in place.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rmtgen.datasets import archive, decoding
from rmtgen.datasets.images import StoredImages
from rmtgen.datasets.label_columns import lacking
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.reading import read_member
from rmtgen.errors import StorageError
from rmtgen.names import class_name, printable

SAMPLES = "KEY.jpg (or another picture) with KEY.cls or KEY.json"
_NUMBER = re.compile(r"[0-9]{1,18}")
_MOST_BYTES = {"cls": 2**12, "json": 2**24, "txt": 2**16}
"""Largest size of a file with a label; the first one that is there counts."""
_TEXTS = ("cls", "txt")
"""The files that are a label as text, and no others."""
_KEYS = ("label", "class", "cls", "labels", "target")
"""Names of the label in a .json, the first one that is there."""
Place = tuple[int, int]


class ShardImages(StoredImages):
    """Images stored as members of several uncompressed tars, each opened for the time of a read.

    A shard is not kept open, since there may be more of them than a process may have files open.
    """

    def __init__(
        self,
        paths: Sequence[str],
        shards: np.ndarray,
        names: Sequence[str],
        places: np.ndarray,
        max_pixels: int = decoding.MAX_PIXELS,
    ):
        """Name the members.

        Args:
            paths: The archives.
            shards: int64, (n,): the archive of each image.
            names: The name of each in its archive.
            places: int64, (n, 2): offset and size of each.
            max_pixels: The largest number of pixels of an image.
        """
        self.paths, self.shards, self.names = tuple(paths), shards, tuple(names)
        self.places, self.max_pixels = places, max_pixels

    def __len__(self) -> int:
        return len(self.names)

    def read(self, position: int) -> bytes:
        """The content of the member."""
        offset, size = map(int, self.places[position])
        path = Path(self.paths[self.shards[position]])
        most_bytes = decoding.most_bytes(self.max_pixels)
        return read_member(_reader(path), (offset, size), most_bytes, self.locate(position))

    def locate(self, position: int) -> str:
        """The path of the archive, a colon, the name of the member."""
        return printable(f"{self.paths[self.shards[position]]}:{self.names[position]}")

    def file_sizes(self) -> np.ndarray:
        """The size of each member in bytes, int64."""
        return self.places[:, 1]

    def select(self, positions: Sequence[int] | np.ndarray) -> "ShardImages":
        """The members at `positions`."""
        names = [self.names[position] for position in positions]
        chosen = np.asarray(positions, dtype=np.int64)
        return ShardImages(
            self.paths, self.shards[chosen], names, self.places[chosen], self.max_pixels
        )


def _reader(path: Path) -> Callable[[int, int], bytes]:
    def read(size: int, offset: int) -> bytes:
        with path.open("rb", buffering=0) as file:
            return _at(file, (offset, size))

    return read


def _at(file: BinaryIO, place: Place) -> bytes:
    file.seek(place[0])
    return file.read(place[1])


@dataclass(eq=False)
class Samples:
    """The samples of a shard that have one image and a label, in the order of their keys.

    Attributes:
        names: The member that is the image of each.
        places: Its offset and size.
        cells: The label of each, or what the columns of labels hold.
        broken: Key and fault of each other sample.
    """

    names: list[str]
    places: list[Place]
    cells: list[tuple[Any, ...]]
    broken: list[tuple[str, str]]


def read_samples(path: Path, passed_over: PassedOver, labelling: Labelling = USUAL) -> Samples:
    """Index a shard.

    Args:
        path: The archive.
        passed_over: Where members are noted that belong to no image.
        labelling: What the labels are, and which columns: cls or txt, the text of that file; or a
            field of the .json.

    Raises:
        MissingInputError, UsageError, CorruptInputError: As `archive.read_places`.
        StorageError: It cannot be read.
    """
    places = archive.read_places(path, SAMPLES, "a shard must be")
    found = Samples([], [], [], [])
    try:
        with path.open("rb") as file:
            for key, files in sorted(_by_key(places, passed_over, labelling).items()):
                members = _Members(files, places, lambda name: _at(file, places[name]))
                image, cells, fault = members.sample(labelling)
                if fault:
                    found.broken.append((f"{path.name}:{key}", fault))
                else:
                    found.names.append(image)
                    found.places.append(places[image])
                    found.cells.append(cells)
    except OSError as error:
        raise StorageError(
            f"{printable(str(path))} cannot be read: {error.strerror}. Check the disk."
        ) from error
    return found


def _by_key(
    places: Mapping[str, Place], passed_over: PassedOver, labelling: Labelling
) -> dict[str, dict[str, list[str]]]:
    """The images and labels of each key: names by "image" and the suffixes of labels."""
    is_wanted = "txt" in labelling.columns or (
        labelling.task != "classes" and not labelling.columns
    )
    kinds = [kind for kind in _MOST_BYTES if kind != "txt" or is_wanted]
    keys: dict[str, dict[str, list[str]]] = {}
    for name in places:
        folder, slash, base = name.rpartition("/")
        stem, _, suffix = base.partition(".")
        kind = _kind(suffix.lower(), kinds)
        if not stem:
            passed_over.add(name, "hidden")
        elif kind is None:
            passed_over.add(name, printable(f".{suffix}") if suffix else "without suffix")
        else:
            keys.setdefault(f"{folder}{slash}{stem}", {}).setdefault(kind, []).append(name)
    return keys


def _kind(suffix: str, kinds: Sequence[str]) -> str | None:
    if suffix in kinds:
        return suffix
    return "image" if f".{suffix}" in decoding.suffixes() else None


class _Members(NamedTuple):
    """The files of a key.

    Attributes:
        files: Their names by kind.
        places: Offset and size of each.
        content: Reads one.
    """

    files: Mapping[str, Sequence[str]]
    places: Mapping[str, Place]
    content: Callable[[str], bytes]

    def sample(self, labelling: Labelling) -> tuple[str, tuple[Any, ...], str]:
        """The image, what labels it, and what is wrong, if anything is."""
        images = self.files.get("image", ())
        if len(images) > 1:
            return "", (), f"{len(images)} images, {' and '.join(map(printable, sorted(images)))}"
        if not images:
            return "", (), "no image"
        try:
            if labelling.columns:
                cells = tuple(map(self._column, labelling.columns))
            else:
                cells = (self._label(labelling.task),)
        except _Fault as fault:
            return "", (), str(fault)
        names = labelling.columns or ("label",)
        absent = lacking(cells, names, labelling.task)
        return images[0], cells, f"no {absent}" if absent else ""

    def _column(self, name: str) -> Any:
        """The text of a file, or a field of the .json; None without."""
        if name in _TEXTS:
            return self._text(name) if name in self.files else None
        found = self._json() if "json" in self.files else None
        return found.get(name) if isinstance(found, dict) else None

    def _label(self, task: str) -> Any:
        """The label in the first file that may have it.

        Raises:
            _Fault: There is none, or it is no class where it should be.
        """
        kind = next((kind for kind in _MOST_BYTES if kind in self.files), None)
        if kind is None:
            raise _Fault("no label")
        if kind in _TEXTS:
            return _class_number(self._text(kind)) if task == "classes" else self._text(kind)
        found = self._json()
        if task != "classes" and not isinstance(found, dict):
            return found
        key = next((key for key in _KEYS if isinstance(found, dict) and key in found), None)
        if key is None:
            raise _Fault("no label in .json")
        return _class(found[key], key) if task == "classes" else found[key]

    def _text(self, kind: str) -> str:
        return self._bytes(kind).decode("utf-8", "replace").strip()

    def _json(self) -> Any:
        try:
            return json.loads(self._bytes("json"))
        except (ValueError, RecursionError) as error:
            raise _Fault(f"a damaged .json ({error})") from error

    def _bytes(self, kind: str) -> bytes:
        name = sorted(self.files[kind])[0]
        if self.places[name][1] > _MOST_BYTES[kind]:
            raise _Fault(f"a .{kind} of {self.places[name][1]:,} bytes")
        return self.content(name)


class _Fault(Exception):
    """What is wrong with a sample."""


def _class_number(text: str) -> str:
    """The class number in a .cls."""
    if not _NUMBER.fullmatch(text):
        raise _Fault(f"label {printable(text)[:40]!r} in .cls is no class number")
    return str(int(text))


def _class(label: Any, key: str) -> str:
    """The class in a .json, its number or its name."""
    if type(label) is int and 0 <= label < 10**18:
        return str(label)
    if isinstance(label, str) and label.strip() and label.isprintable():
        return class_name(label.strip())
    raise _Fault(f"{key} {label!r:.40} in .json is no class")
