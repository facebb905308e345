"""From a table of images and classes to labelled splits: those it states, or a division."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rmtgen.datasets.images import LabelledImages, StoredImages
from rmtgen.datasets.labelling import class_numbers, class_order
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.partition import check_share, divide, test_counts
from rmtgen.datasets.source import Access
from rmtgen.datasets.subsets import SPLITS
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError, warn

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Table:
    """Images in the order of their source, each with its class.

    Attributes:
        shown: The source, for messages.
        images: The n images.
        names: Their names, which decide how a division falls.
        classes: The name of the class of each, n texts.
        roles: The role of each: "train", "test" or "validation"; None if the source states none.
        rows: int64, (n,): the position of each image in its source.
        undivided: What to do so that the images are divided, for messages.
        passed_over: What else the source has.
        named: Names of classes in order, some of which may have no image; None: in their own order.
        matrix: Labels or values (n, c) as `rmtgen.tasks` has them; None for classes. All images are
            of one class then, without a name.
        columns: The names of its columns.
    """

    shown: str
    images: StoredImages
    names: Sequence[str]
    classes: Sequence[str]
    roles: Sequence[str] | None
    rows: np.ndarray
    undivided: str
    passed_over: PassedOver = field(default_factory=PassedOver)
    named: Sequence[str] | None = None
    matrix: np.ndarray | None = None
    columns: tuple[str, ...] = ()

    @property
    def test_role(self) -> str:
        """The role that is the test set: "test", or "validation" where no image has that."""
        return "test" if self.roles is None or "test" in self.roles else "validation"

    def stated(self) -> dict[str, np.ndarray]:
        """The positions of the images of each split by their roles, which must be known."""
        roles = np.array(self.roles, dtype=object)
        wanted = {"train": "train", "test": self.test_role}
        return {split: np.flatnonzero(roles == role) for split, role in wanted.items()}


def count(table: Table, share: float | None) -> tuple[int, int]:
    """The numbers of training and test images, none of which is read."""
    if table.roles is not None:
        train, test = (len(rows) for rows in table.stated().values())
        return train, test
    if share == 0:
        return len(table.classes), 0
    tested = sum(test_counts(np.array(table.classes, dtype=object), check_share(share)).values())
    return len(table.classes) - tested, tested


def assemble(
    name: str, table: Table, splits: Sequence[str], access: Access
) -> dict[str, LabelledImages]:
    """The splits of a table, in its order.

    Args:
        name: The full name of the data set.
        table: Its images.
        splits: "train", "test", or both.
        access: The share and the seed of a division.

    Raises:
        MissingInputError: A split has no image.
        CorruptInputError: The test set has a class that the training set lacks.
        UsageError: A share is asked for, but the splits are stated.
    """
    share = 0.0 if access.undivided else check_share(access.share)
    if table.roles is None:
        parts = _divided(table, share, access.seed)
        origin: dict[str, object] = {"split": share, "split_seed": access.seed}
    else:
        parts = _stated(table, access.share)
        origin = {"splits": {"train": "train", "test": table.test_role}}
    _check(table, parts, splits)
    _tell(table, parts)
    origin |= {"passed_over": table.passed_over.counts()}
    labels, names = _labels(table, parts)
    return {
        split: LabelledImages(
            name,
            split,
            table.images.select(parts[split]),
            labels[split],
            names,
            table.rows[parts[split]],
            origin,
        )
        for split in splits
    }


def _labels(
    table: Table, parts: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The labels of each split, and the names of classes, labels or values."""
    if table.matrix is not None:
        return {split: table.matrix[rows] for split, rows in parts.items()}, table.columns
    used = [table.classes[row] for rows in parts.values() for row in rows.tolist()]
    classes = class_order(used, table.shown) if table.named is None else _present(table, used)
    numbers = {
        split: class_numbers([table.classes[row] for row in rows.tolist()], classes)
        for split, rows in parts.items()
    }
    return numbers, tuple(classes)


def _present(table: Table, used: Sequence[str]) -> list[str]:
    present = set(used)
    return [name for name in table.named or () if name in present]


def _divided(table: Table, share: float, seed: int) -> dict[str, np.ndarray]:
    if not share:
        return {"train": np.arange(len(table.classes)), "test": np.arange(0)}
    names = [f"{group}/{name}" for group, name in zip(table.classes, table.names, strict=True)]
    groups = np.array(table.classes, dtype=object)
    is_test = divide(table.images, names, groups, share=share, seed=seed)
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def _stated(table: Table, share: float | None) -> dict[str, np.ndarray]:
    """The images by their roles; those of a validation set beside a test set are passed over."""
    if share is not None:
        raise UsageError(
            f"split={share} divides images without a test set: {table.shown} states its splits"
            f" already. Leave it out, or {table.undivided}."
        )
    roles = table.roles or ()
    if table.test_role == "test":
        for name, role in zip(table.names, roles, strict=True):
            if role == "validation":
                table.passed_over.add(name, "of the validation set")
    return table.stated()


def _check(table: Table, parts: Mapping[str, np.ndarray], splits: Sequence[str]) -> None:
    """Require images of every split, and of each test class in training."""
    empty = [split for split in splits if not len(parts[split])]
    if empty and table.roles is None:
        raise MissingInputError(
            f"{table.shown} must hold two images of a class, one of them for the test, got no class"
            " with more than one that differs. Add images, or state the splits."
        )
    if empty:
        found = ", ".join(f"{len(rows)} for {split}" for split, rows in parts.items())
        raise MissingInputError(
            f"{table.shown} must hold images for training and for the test, got {found}. Add some,"
            f" or {table.undivided}, so that the rest is divided."
        )
    groups = {split: {table.classes[row] for row in rows.tolist()} for split, rows in parts.items()}
    if groups["train"] and (strange := sorted(groups["test"] - groups["train"])):
        shown = ", ".join(strange[:5]) + (", …" if len(strange) > 5 else "")
        raise CorruptInputError(
            f"every class of the test set needs images for training: {table.shown} has"
            f" {len(strange)} without ({shown}). Add or rename images, or {table.undivided}."
        )


def _tell(table: Table, parts: Mapping[str, np.ndarray]) -> None:
    """Warn of what was left out; note where the test set comes from."""
    if said := table.passed_over.sentence():
        warn(f"{table.shown}: {said}.")
    train, test = (len(parts[split]) for split in SPLITS)
    if table.roles is None and test:
        log.info(f"{table.shown} is divided: {train} images for training, {test} for the test")
    elif table.test_role == "validation":
        log.info(f"{table.shown}: the validation set is the test set")
