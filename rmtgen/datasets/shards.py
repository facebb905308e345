"""WebDataset shards: uncompressed tars of samples, whose files are named KEY.SUFFIX.

A shard is indexed in one pass over its headers and the small files of its labels; the images are
read in place.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rmtgen.datasets import archive, decoding
from rmtgen.datasets.images import StoredImages
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.reading import read_member
from rmtgen.errors import StorageError
from rmtgen.names import class_name, printable

SAMPLES = "KEY.jpg (or another picture) with KEY.cls or KEY.json"
_NUMBER = re.compile(r"[0-9]{1,18}")
_MOST_BYTES = {"cls": 2**12, "json": 2**24}
"""Largest size of a file with a label."""
_KEYS = ("label", "class", "cls")
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
        labels: The label of each, as text.
        broken: Key and fault of each other sample.
    """

    names: list[str]
    places: list[Place]
    labels: list[str]
    broken: list[tuple[str, str]]


def read_samples(path: Path, passed_over: PassedOver) -> Samples:
    """Index a shard.

    Args:
        path: The archive.
        passed_over: Where members are noted that belong to no image.

    Raises:
        MissingInputError, UsageError, CorruptInputError: As `archive.read_places`.
        StorageError: It cannot be read.
    """
    places = archive.read_places(path, SAMPLES, "a shard must be")
    found = Samples([], [], [], [])
    try:
        with path.open("rb") as file:
            for key, files in sorted(_by_key(places, passed_over).items()):
                image, label, fault = _sample(files, lambda name: _at(file, places[name]), places)
                if fault:
                    found.broken.append((f"{path.name}:{key}", fault))
                else:
                    found.names.append(image)
                    found.places.append(places[image])
                    found.labels.append(label)
    except OSError as error:
        raise StorageError(
            f"{printable(str(path))} cannot be read: {error.strerror}. Check the disk."
        ) from error
    return found


def _by_key(
    places: Mapping[str, Place], passed_over: PassedOver
) -> dict[str, dict[str, list[str]]]:
    """The images and labels of each key: names by "image", "cls" and "json"."""
    keys: dict[str, dict[str, list[str]]] = {}
    for name in places:
        folder, slash, base = name.rpartition("/")
        stem, _, suffix = base.partition(".")
        kind = _kind(suffix.lower())
        if not stem:
            passed_over.add(name, "hidden")
        elif kind is None:
            passed_over.add(name, printable(f".{suffix}") if suffix else "without suffix")
        else:
            keys.setdefault(f"{folder}{slash}{stem}", {}).setdefault(kind, []).append(name)
    return keys


def _kind(suffix: str) -> str | None:
    if suffix in _MOST_BYTES:
        return suffix
    return "image" if f".{suffix}" in decoding.suffixes() else None


def _sample(
    files: Mapping[str, Sequence[str]], read: Callable[[str], bytes], places: Mapping[str, Place]
) -> tuple[str, str, str]:
    """The image of a key, its label, and what is wrong with it, if anything is."""
    images, labels = files.get("image", ()), [kind for kind in _MOST_BYTES if kind in files]
    if len(images) > 1:
        return "", "", f"{len(images)} images, {' and '.join(map(printable, sorted(images)))}"
    if not images:
        return "", "", "no image"
    if not labels:
        return "", "", "no label"
    name = sorted(files[labels[0]])[0]
    if places[name][1] > _MOST_BYTES[labels[0]]:
        return "", "", f"a .{labels[0]} of {places[name][1]:,} bytes"
    label, fault = _PARSERS[labels[0]](read(name))
    return images[0], label, fault


def _from_text(content: bytes) -> tuple[str, str]:
    """The class number in a .cls, and what is wrong."""
    text = content.decode("utf-8", "replace").strip()
    if not _NUMBER.fullmatch(text):
        return "", f"label {printable(text)[:40]!r} in .cls is no class number"
    return str(int(text)), ""


def _from_json(content: bytes) -> tuple[str, str]:
    """The class in a .json, its number or its name, and what is wrong."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        return "", f"a damaged .json ({error})"
    key = next((key for key in _KEYS if isinstance(found, dict) and key in found), None)
    if key is None:
        return "", "no label in .json"
    label = found[key]
    if type(label) is int and 0 <= label < 10**18:
        return str(label), ""
    if isinstance(label, str) and label.strip() and label.isprintable():
        return class_name(label.strip()), ""
    return "", f"{key} {label!r:.40} in .json is no class"


_PARSERS: Mapping[str, Callable[[bytes], tuple[str, str]]] = {
    "cls": _from_text,
    "json": _from_json,
}
