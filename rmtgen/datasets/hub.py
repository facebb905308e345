"""`hfds/NAME`: data sets of the Hugging Face hub, through the package `datasets` (extra `hub`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmtgen.datasets.decoding import MAX_PIXELS, most_bytes
from rmtgen.datasets.images import EncodedImages, LabelledImages
from rmtgen.datasets.reading import read_file
from rmtgen.datasets.source import Access, DataSource
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "fine_label", "labels")
_SPLIT_NAMES = {"train": ("train",), "test": ("test", "validation")}


class HubImages(EncodedImages):
    """The image column of a `datasets.Dataset`, not decoded."""

    def __init__(self, table: Any, column: str, max_pixels: int = MAX_PIXELS):
        self.table, self.column, self.max_pixels = table, column, max_pixels

    def __len__(self) -> int:
        return len(self.table)

    def read(self, position: int) -> bytes:
        """The encoded file, from the table or from the path in the table."""
        cell = self.table[int(position)][self.column]
        return cell["bytes"] if cell["bytes"] is not None else self._from_file(cell["path"])

    def locate(self, position: int) -> str:
        """The row number in the table."""
        return f"row {position}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "HubImages":
        """The rows at `positions`."""
        return HubImages(self.table.select(positions), self.column, self.max_pixels)

    def _from_file(self, path: str) -> bytes:
        return read_file(path, most_bytes(self.max_pixels))


class HubSource(DataSource):
    """A data set on the hub.

    The image column is `image` or `img`, the label column `label`, `fine_label` or `labels`. A set
    without a test split is tested on its validation split, as is usual for sets whose test labels
    are not published.
    """

    argument = "NAME"

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of its rows.

        Args:
            name: `hfds/NAME`, NAME as on the hub.
            splits: "train", "test", or both.
            access: `download` is permission to contact the hub, which the package does even for a
                cached set unless HF_HUB_OFFLINE=1; `root` is not used, for the package has a cache
                of its own.

        Raises:
            UsageError: `download` is False, or the set lacks a split or column.
            MissingInputError: The package is not installed, or the set cannot be loaded.
            CorruptInputError: A label is not a class number.
        """
        return _open(name, splits, access)

    def files(self, name: str, root: Path) -> list[Path]:
        """No files: the cache belongs to the package."""
        return []


def _open(name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
    if not access.download:
        raise UsageError(
            f"{name} is read through the hub, which may download: expected download=True, got"
            " False. Set it; HF_HUB_OFFLINE=1 in the environment restricts it to the local cache."
        )
    try:
        import datasets as package  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MissingInputError(
            f"{name} needs the package datasets, which is not installed. Run: pip install"
            " 'rmtgen[hub]'"
        ) from error
    try:
        tables = package.load_dataset(name.removeprefix("hfds/"))
    except Exception as error:  # the errors of the package have no common base class
        raise MissingInputError(
            f"{name} could not be loaded ({type(error).__name__}: {error}). Check the name and the"
            " network."
        ) from error
    encoded = package.Image(decode=False)
    return {split: _labelled(name, split, tables, encoded, access.max_pixels) for split in splits}


def _labelled(name: str, split: str, tables: Any, encoded: Any, max_pixels: int) -> LabelledImages:
    table = tables[_first(_SPLIT_NAMES[split], tables, f"{name}: split")]
    image = _first(_IMAGE_COLUMNS, table.column_names, f"{name}: image column")
    label = _first(_LABEL_COLUMNS, table.column_names, f"{name}: label column")
    labels = np.asarray(table[label][:])
    lowest = np.unique(labels)[0]
    if not np.issubdtype(labels.dtype, np.integer) or lowest < 0:
        raise CorruptInputError(
            f"labels must be class numbers ≥ 0: {name} {split} has {lowest} in column {label}."
            " Choose another data set."
        )
    classes = getattr(table.features[label], "names", range(int(labels.max()) + 1))
    images = HubImages(table.cast_column(image, encoded), image, max_pixels)
    return LabelledImages(
        name,
        split,
        images,
        labels.astype(np.int64),
        tuple(map(str, classes)),
        np.arange(len(labels)),
    )


def _first(wanted: Sequence[str], found: Any, what: str) -> str:
    for candidate in wanted:
        if candidate in found:
            return candidate
    raise UsageError(
        f"{what} must be named {' or '.join(wanted)}, got {', '.join(found)}. Export the set as"
        " folder:PATH instead."
    )
