"""`features:FILE`: features of one's own in the place of images, one row each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from rmtgen.datasets.assembly import Table, assemble, count
from rmtgen.datasets.feature_file import FeatureFile, feature_type, labels_in
from rmtgen.datasets.images import LabelledImages, StoredImages, content_digest
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.source import Access, DataSource, given_path
from rmtgen.errors import DamagedImageError, MissingInputError, RmtgenError, UsageError

SHARED_LABELS = "labels.npy"
"""Name of the file of labels that the feature files of a folder share."""
_OWN_LABELS = ".labels.npy"
"""What takes the place of the suffix of a feature file in the name of its labels."""


class FeatureRows(StoredImages):
    """Rows of features, in the place of the images that they were made from.

    They are kept where they lie, and taken as float32.
    """

    def __init__(self, shown: str, features: np.ndarray, positions: np.ndarray):
        """Keep features, (n, p), and the positions of the rows that are meant, int64 (m,)."""
        self.shown, self.features, self.positions = shown, features, positions

    def __len__(self) -> int:
        return len(self.positions)

    def rows(self, span: slice) -> Float32[np.ndarray, "b p"]:
        """Some of the rows, one after another."""
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: `examine`
            return np.asarray(self.features[self.positions[span]], dtype=np.float32)

    def read(self, position: int) -> bytes:
        """One row."""
        return self.rows(slice(position, position + 1)).tobytes()

    def decode(self, content: bytes, where: str) -> Image.Image:
        """Refuse: there is no image.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"a network reads images: {where} is a row of features. Give a data set of images, or"
            " read the features with rmtgen.datasets.load_features."
        )

    def examine(self, position: int) -> bytes:
        """Check one row, and return the `content_digest` of its bytes.

        Raises:
            DamagedImageError: A feature is not finite in float32.
        """
        row = self.rows(slice(position, position + 1))[0]
        bad = np.flatnonzero(~np.isfinite(row))
        if len(bad):
            found = self.features[self.positions[position], bad[0]]
            raise DamagedImageError(
                f"features must be finite numbers of float32: {self.locate(position)} has {found}"
                f" in column {bad[0]}, both from 0."
            )
        return content_digest(row.tobytes())

    def locate(self, position: int) -> str:
        """The file, and the number of the row in it."""
        return f"{self.shown} row {self.positions[position]}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "FeatureRows":
        """The rows at `positions`."""
        chosen = self.positions[np.asarray(positions, dtype=np.int64)]
        return FeatureRows(self.shown, self.features, chosen)

    def file_sizes(self) -> np.ndarray:
        """The bytes of each row, which are as many."""
        return np.full(len(self), 4 * self.features.shape[1], dtype=np.int64)


class FeatureSource(DataSource):
    """Features of one's own in an .npy or .npz, a row for each image, with their labels.

    Labels are an array of the .npz, or arrays of it that are named as columns. Without them they
    are in NAME.labels.npy beside NAME.npy, or in labels.npy there, which several files of the same
    images share. Rows are divided by `divide`.
    """

    argument = "PATH"
    divisible = True
    tabular = True

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of the rows.

        Raises:
            MissingInputError: The file does not exist, or there are no labels.
            CorruptInputError: It is damaged.
            UsageError: It holds no features, or labels that do not fit.
        """
        stored = FeatureFile(given_path(name))
        table = _table(stored, access.labelling, access.skip)
        stored.verify()
        return assemble(name, table, splits, access)

    def files(self, name: str, root: Path) -> list[Path]:
        """The file, and that of its labels if it has none."""
        path = given_path(name)
        try:
            labelled = FeatureFile(path).labelled
        except RmtgenError:  # it is raised again, with its reason, when the rows are read
            return [path]
        beside = None if labelled else _beside(path)
        return [path] if beside is None else [path, beside]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int]:
        """The numbers of rows, from the header, and from the labels for a division."""
        stored = FeatureFile(given_path(name))
        if share == 0 and not skip:
            return stored.shape()[0], 0
        return count(_table(stored, labelling, skip), share)


def dimension(name: str) -> int:
    """The number p of features in the rows of a data set `features:PATH`.

    Raises:
        MissingInputError, StorageError, CorruptInputError, UsageError: As `FeatureSource.open`.
    """
    stored = FeatureFile(given_path(name))
    feature_type(stored.features(), stored.shown)
    return stored.shape()[1]


def _table(stored: FeatureFile, labelling: Labelling, skip: bool) -> Table:
    """The rows with their labels; to `skip` leaves out those without."""
    features = stored.features()
    feature_type(features, stored.shown)
    labels = stored.labels(labelling)
    if labels is None:
        beside = _beside(stored.file.path)
        if beside is None:
            raise MissingInputError(
                f"every row needs a label: {stored.shown} holds features alone, and neither"
                f" {_own_labels(stored.file.path).name} nor {SHARED_LABELS} is beside it. Save the"
                " labels there, or both in one file: numpy.savez(path, features=…, labels=…)."
            )
        labels = labels_in(beside, labelling)
    kept, coded = labels.read(len(features), labelling, skip)
    rows, passed_over = np.array(kept, dtype=np.int64), PassedOver()
    for row in sorted(set(range(len(features))) - set(kept)):
        passed_over.add(f"row {row}", "no label")
    return Table(
        shown=stored.shown,
        images=FeatureRows(stored.shown, features, rows),
        names=[str(row) for row in kept],
        roles=None,
        rows=rows,
        undivided="",
        passed_over=passed_over,
        **coded._asdict(),
    )


def _own_labels(path: Path) -> Path:
    return path.with_name(path.stem + _OWN_LABELS)


def _beside(path: Path) -> Path | None:
    """The file of the labels of a file of features; None where there is none."""
    places = (_own_labels(path), path.with_name(SHARED_LABELS))
    return next((place for place in places if place.exists() and place != path), None)
