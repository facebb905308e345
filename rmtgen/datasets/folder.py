"""`folder:PATH`: class folders of images, in a folder or an uncompressed tar, split or not.

A tar is read in place. The images of a split are sorted by name, so that their order depends on
neither the file system nor the archive. What is not read is counted, by reason, in one warning.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rmtgen.datasets import archive
from rmtgen.datasets.images import FileImages, LabelledImages, TarImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.layout import LAYOUTS, Layout, Part, arrange
from rmtgen.datasets.listing import Listing, PassedOver, folder_names, sort_out
from rmtgen.datasets.partition import check_share, divide, test_counts
from rmtgen.datasets.source import Access, DataSource, given_path
from rmtgen.datasets.subsets import SPLITS
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError, warn
from rmtgen.names import printable

log = logging.getLogger(__name__)


class FolderSource(DataSource):
    """A folder or a `.tar` with one folder per class; labels number the sorted class folders.

    A folder with train/ and test/ is read as it is divided; without a test/, validation/ takes its
    place. A folder of classes alone is divided by `divide`.
    """

    argument = "PATH"
    divisible = True

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of its sorted file names.

        Raises:
            MissingInputError: The path, a split, or its images do not exist.
            CorruptInputError: The archive is damaged or holds an unsafe member; or the splits have
                different classes.
            UsageError: The path is a file but not a `.tar`; or a share is asked for, but the
                folder is divided already.
        """
        share = check_share(access.share)
        listing, layout = _read(given_path(name), access.max_pixels)
        parts = layout.parts
        origin: dict[str, object] = {"passed_over": listing.passed_over.counts()}
        if layout.is_split:
            if access.share is not None:
                raise UsageError(
                    f"split={access.share} divides a folder of CLASS/IMAGE: {listing.shown} has"
                    f" {' and '.join(f'{top}/' for top in layout.folders.values())} already. Leave"
                    " it out, or give the folder inside."
                )
            origin |= {"folders": {key: printable(top) for key, top in layout.folders.items()}}
        else:
            share = 0.0 if access.undivided else share
            parts = _divided(listing, layout, share, access.seed)
            origin |= {"split": share, "split_seed": access.seed}
        _check(listing, layout, parts, splits)
        _tell(listing, layout, parts)
        classes = sorted(set().union(*(part.classes.tolist() for part in parts.values())))
        labels = {
            split: np.searchsorted(classes, part.classes).astype(np.int64)
            for split, part in parts.items()
        }
        return {
            split: LabelledImages(
                name,
                split,
                listing.images.select(parts[split].rows),
                labels[split],
                tuple(classes),
                np.arange(len(labels[split])) if layout.is_split else parts[split].rows,
                origin,
            )
            for split in splits
        }

    def files(self, name: str, root: Path) -> list[Path]:
        """The folder or archive."""
        return [given_path(name)]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int]:
        """The numbers of images, from their names."""
        _, layout = _read(given_path(name), 1)
        if layout.is_split:
            train, test = (len(layout.parts[split].rows) for split in SPLITS)
            return train, test
        classes = layout.parts["all"].classes
        if share == 0:
            return len(classes), 0
        test = sum(test_counts(classes, check_share(share)).values())
        return len(classes) - test, test


def _read(path: Path, max_pixels: int) -> tuple[Listing, Layout]:
    """The images in a folder or a tar, and how they are arranged."""
    listing = _listed(path, max_pixels)
    layout = arrange(listing.names)
    for name, reason in layout.stray:
        listing.passed_over.add(name, reason)
    return listing, layout


def _listed(path: Path, max_pixels: int) -> Listing:
    passed_over = PassedOver()
    if path.is_dir():
        names = folder_names(path, passed_over)
        images = FileImages([f"{path}/{name}" for name in names], max_pixels)
        return Listing(path, names, images, passed_over)
    places = archive.read_places(path, LAYOUTS)
    names = sort_out(places, passed_over)
    found = np.array([places[name] for name in names], dtype=np.int64).reshape(-1, 2)
    members = TarImages(str(path), names, found[:, 0], found[:, 1], max_pixels)
    return Listing(path, names, members, passed_over)


def _divided(listing: Listing, layout: Layout, share: float, seed: int) -> dict[str, Part]:
    """The images of a folder of classes for training and for the test, none without a share."""
    part, around = layout.parts["all"], layout.depth - 1
    if not share:
        return {"train": part, "test": Part(part.rows[:0], part.classes[:0])}
    names = ["/".join(listing.names[row].split("/")[around:]) for row in part.rows]
    images = listing.images.select(part.rows)
    is_test = divide(images, names, part.classes, share=share, seed=seed)
    return {
        "train": Part(part.rows[~is_test], part.classes[~is_test]),
        "test": Part(part.rows[is_test], part.classes[is_test]),
    }


def _check(
    listing: Listing, layout: Layout, parts: Mapping[str, Part], splits: Sequence[str]
) -> None:
    """Require images of every split, and of the same classes in both."""
    for split in splits:
        if not len(parts[split].rows):
            raise MissingInputError(_missing(listing, layout, split))
    if layout.is_split and all(len(part.rows) for part in parts.values()):
        _check_same_classes(listing, layout, parts)


def _missing(listing: Listing, layout: Layout, split: str) -> str:
    found = f"{listing.shown} must hold {LAYOUTS}, got no image"
    if layout.is_split:
        other = next(folder for key, folder in layout.folders.items() if key != split)
        top = layout.folders.get(split, split)
        found += f" under {top}/. To divide {other}/ itself, give its path."
    elif len(layout.parts["all"].rows):
        return (
            f"{listing.shown} must hold two images of a class, one of them for the test, got no"
            " class with more than one that differs. Add images, or a folder test/."
        )
    if layout.is_split:
        return f"{found} {_left_out(listing, layout)}".strip()
    cure = "Sort them into a folder a class, or list them with their labels: csv:PATH."
    return " ".join(filter(None, (f"{found}.", _left_out(listing, layout), cure)))


def _check_same_classes(listing: Listing, layout: Layout, parts: Mapping[str, Part]) -> None:
    train, test = (set(parts[split].classes.tolist()) for split in SPLITS)
    if train != test:
        raise CorruptInputError(
            f"train/ and test/ must hold images of the same classes: {listing.shown} has"
            f" {len(train)} and {len(test)} (only in {layout.folders['train']}/:"
            f" {_few(train - test)}; only in {layout.folders['test']}/: {_few(test - train)})."
            f" Rename, fill or remove those folders. {_left_out(listing, layout)}".rstrip()
        )


def _few(classes: set[str]) -> str:
    return (
        ", ".join(sorted(classes)[:5]) + (", …" if len(classes) > 5 else "") if classes else "none"
    )


def _left_out(listing: Listing, layout: Layout) -> str:
    """What was passed over, and the class folders of which nothing remains; empty if nothing."""
    said = listing.passed_over.sentence()
    barren = layout.barren(listing.names, listing.passed_over.names)
    if barren:
        shown = [f"{printable(folder)}/ ({reason})" for folder, reason in barren.items()]
        said += f"; no image in {', '.join(shown[:5])}{', …' if len(shown) > 5 else ''}"
    return f"{said}." if said else ""


def _tell(listing: Listing, layout: Layout, parts: Mapping[str, Part]) -> None:
    """Warn of what was left out; note how the images were divided."""
    if said := _left_out(listing, layout):
        warn(f"{listing.shown}: {said}")
    for name, folders in layout.merged.items():
        shown = " and ".join(map(printable, folders))
        warn(f"{listing.shown}: the folders {shown} are one class, {name}.")
    if not layout.is_split and len(parts["test"].rows):
        train, test = (len(parts[split].rows) for split in SPLITS)
        log.info(f"{listing.shown} is divided: {train} images for training, {test} for the test")
    elif layout.folders.get("test", "test").lower() not in ("test", "testing"):
        log.info(f"{listing.shown}: {layout.folders['test']}/ is the test set")
