"""`hfds/NAME`: data sets of the Hugging Face hub, or saved in a folder (extra `hub`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmtgen.datasets.decoding import MAX_PIXELS, most_bytes
from rmtgen.datasets.hub_labels import HubLabels, read_labels
from rmtgen.datasets.images import EncodedImages, LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.reading import read_file
from rmtgen.datasets.source import Access, DataSource
from rmtgen.datasets.subsets import SPLITS
from rmtgen.errors import MissingInputError, UsageError, warn
from rmtgen.names import expanded

PREFIX = "hfds/"
_IMAGE_COLUMNS = ("image", "img")
_SPLIT_NAMES = {"train": ("train",), "test": ("test", "validation")}
_SAVED = ("state.json", "dataset_dict.json")
"""One of these is in a folder that the package has saved a set in."""
_EXPORT = "Export the set as folder:PATH instead."
_NO_TEST = "Without a test set: test=0; or export the set as folder:PATH."


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
    """A data set on the hub, or in a folder as `datasets` saves it, or loads it.

    The image column is `image` or `img`, the label column `label`, `fine_label` or `labels`, or
    those that are named. A set without a test split is tested on its validation split, as is usual
    for sets whose test labels are not published.
    """

    argument = "NAME"
    tabular = True

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of its rows.

        Args:
            name: `hfds/NAME`, NAME as on the hub, or the path of a folder.
            splits: "train", "test", or both.
            access: `download` is permission to contact the hub, which the package does even for a
                cached set unless HF_HUB_OFFLINE=1; `root` is not used, for the package has a cache
                of its own.

        Raises:
            UsageError: `download` is False, or the set lacks a split or column.
            MissingInputError: The package is not installed, or the set cannot be loaded.
            CorruptInputError: A row has no label, or one that is none.
        """
        tables = _tables(name, access.download)
        encoded = _package(name).Image(decode=False)
        chosen = _chosen(name, tables, splits)
        columns = {
            split: _first(_IMAGE_COLUMNS, table.column_names, f"{name}: image column", _EXPORT)
            for split, table in chosen.items()
        }
        labels = _labels(name, tables, chosen, access.labelling, access.skip)
        found = {}
        for split, table in chosen.items():
            rows, values, names, passed_over = labels[split]
            if said := passed_over.sentence():
                warn(f"{name}: {said}.")
            column = columns[split]
            images = HubImages(table.cast_column(column, encoded), column, access.max_pixels)
            kept = images if len(rows) == len(images) else images.select(rows)
            origin = {"passed_over": passed_over.counts()} if said else {}
            found[split] = LabelledImages(name, split, kept, values, names, rows, origin)
        return found

    def files(self, name: str, root: Path) -> list[Path]:
        """The folder; nothing of the hub, for that cache belongs to the package."""
        folder = _folder(name)
        return [] if folder is None else [folder]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int] | None:
        """The numbers of rows in a folder; None for a set of the hub."""
        if _folder(name) is None:
            return None
        tables = _tables(name, download=False)
        chosen = _chosen(name, tables, ("train",) if share == 0 else SPLITS)
        labels = _labels(name, tables, chosen, labelling, skip)
        return len(labels["train"].rows), len(labels["test"].rows) if "test" in labels else 0


def _chosen(name: str, tables: Mapping[str, Any], splits: Sequence[str]) -> dict[str, Any]:
    """The table of each split."""
    return {
        split: tables[_first(_SPLIT_NAMES[split], tables, f"{name}: split", _NO_TEST)]
        for split in splits
    }


def _labels(
    name: str,
    tables: Mapping[str, Any],
    chosen: Mapping[str, Any],
    labelling: Labelling,
    skip: bool,
) -> dict[str, HubLabels]:
    """The labels of the chosen splits; those of the others are looked at for their classes."""
    found = {split: _in(options, tables) for split, options in _SPLIT_NAMES.items()}
    others = [tables[own] for split, own in found.items() if own and split not in chosen]
    return read_labels(name, chosen, others, labelling, skip)


def _folder(name: str) -> Path | None:
    """The folder that a name is the path of; None for a name of the hub."""
    try:
        path = expanded(name.removeprefix(PREFIX))
        return path if path.is_dir() else None
    except (OSError, ValueError):
        return None


def _package(name: str) -> Any:
    """The package `datasets`, which a folder of that name in the working directory is not."""
    try:
        import datasets as package  # noqa: PLC0415 - an optional extra
    except ImportError:
        package = None
    if not hasattr(package, "load_dataset"):
        raise MissingInputError(
            f"{name} needs the package datasets, which is not installed. Run: pip install"
            " 'rmtgen[hub]'"
        )
    return package


def _tables(name: str, download: bool) -> Mapping[str, Any]:
    """The splits of a set by name; one that is saved without splits is for training."""
    folder = _folder(name)
    if folder is None and not download:
        raise UsageError(
            f"{name} is read through the hub, which may download: expected download=True, got"
            " False. Set it; HF_HUB_OFFLINE=1 in the environment restricts it to the local cache."
        )
    package = _package(name)
    try:
        if folder is not None and any((folder / mark).is_file() for mark in _SAVED):
            tables = package.load_from_disk(str(folder))
        else:
            place = name.removeprefix(PREFIX) if folder is None else str(folder)
            tables = package.load_dataset(place)
    except Exception as error:  # the errors of the package have no common base class
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise MissingInputError(
            f"{name} could not be loaded ({reason}). Check the name and the network."
        ) from error
    return tables if isinstance(tables, Mapping) else {"train": tables}


def _in(wanted: Sequence[str], found: Any) -> str | None:
    """The first name that is there."""
    return next((name for name in wanted if name in found), None)


def _first(wanted: Sequence[str], found: Any, what: str, cure: str) -> str:
    name = _in(wanted, found)
    if name is None:
        raise UsageError(
            f"{what} must be named {' or '.join(wanted)}, got {', '.join(found)}. {cure}"
        )
    return name
