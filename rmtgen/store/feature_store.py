"""The features of N training and M test images on disk: one shard per batch behind `features.h5`.

`features.h5` has the virtual datasets "train" (N, p) and "test" (M, p), float32, over the shards in
`features/`, and the plain datasets "train_labels" and "test_labels" (int64). A batch that does not
exist yet reads as NaN through HDF5; `FeatureStore.read` refuses it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.store import durable
from rmtgen.store.shards import Piece, ShardSet, View, hdf5_image

VIEW = "features.h5"
"""File name of the view."""

PARTS = "features"
"""Folder name of the shards."""

_SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """What a store of features holds.

    Attributes:
        train_labels: int64, (N,).
        test_labels: int64, (M,).
        classes: Names of the classes.
        dim: Feature dimension p.
        batch_size: Images per shard.
    """

    train_labels: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    dim: int
    batch_size: int

    def labels(self, split: str) -> np.ndarray:
        """The int64 labels of "train" or "test"."""
        return {"train": self.train_labels, "test": self.test_labels}[split]

    def batches(self, split: str) -> range:
        """The numbers of the batches of a split."""
        return range(-(-len(self.labels(split)) // self.batch_size))

    def span(self, split: str, batch: int) -> slice:
        """The positions of the images of one batch."""
        start = batch * self.batch_size
        return slice(start, min(start + self.batch_size, len(self.labels(split))))


class FeatureStore:
    """Features on disk: `create` a store to write to, or `open` an existing one.

    Reading verifies the digest of every shard.
    """

    def __init__(self, folder: Path, layout: FeatureLayout, fingerprint: str | None = None):
        self.folder, self.layout = folder, layout
        self.shards = ShardSet(folder / PARTS, fingerprint)

    @classmethod
    def create(cls, folder: Path, layout: FeatureLayout, fingerprint: str) -> "FeatureStore":
        """Start a store in `folder`, or resume the unfinished one with the same fingerprint.

        Raises:
            StaleInputError: The existing shards have another fingerprint.
            StorageError: The disk refuses.
        """
        store = cls(durable.make_folder(folder), layout, fingerprint)
        labels = {f"{split}_labels": layout.labels(split) for split in _SPLITS}
        views = {split: store._view(split) for split in _SPLITS}
        attributes = {
            "classes": json.dumps(layout.classes),
            "dim": layout.dim,
            "batch_size": layout.batch_size,
        }
        durable.write_bytes(folder / VIEW, hdf5_image(labels, views, attributes))
        return store

    @classmethod
    def open(cls, folder: Path) -> "FeatureStore":
        """Open the store in a run directory.

        Raises:
            MissingInputError: `features.h5` does not exist.
            CorruptInputError: It is not a feature store.
        """
        view = folder / VIEW
        if not view.exists():
            raise MissingInputError(f"no features at {view}. Make them: `rmtgen extract`.")
        try:
            with h5py.File(view, "r", locking="best-effort") as file:
                layout = FeatureLayout(
                    file["train_labels"][()],
                    file["test_labels"][()],
                    tuple(json.loads(file.attrs["classes"])),
                    int(file.attrs["dim"]),
                    int(file.attrs["batch_size"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise CorruptInputError(
                f"{view} is not a feature store ({error}). Delete it and run `rmtgen extract`."
            ) from error
        return cls(folder, layout)

    def pending(self, split: str) -> list[int]:
        """The numbers of the batches that are not written yet."""
        return [
            batch for batch in self.layout.batches(split) if _name(split, batch) not in self.shards
        ]

    def write(self, split: str, batch: int, features: np.ndarray) -> None:
        """Store one batch, which is durable on return.

        Args:
            split: "train" or "test".
            batch: Number of the batch.
            features: (images in the batch, dim), stored as float32.
        """
        self.shards.write(
            _name(split, batch), {"features": features.astype(np.float32, copy=False)}
        )

    def read(self, split: str) -> np.ndarray:
        """All features of a split, (N, dim) float32.

        Raises:
            MissingInputError: A shard does not exist; the message names the first.
            CorruptInputError: A shard is damaged; the message names the first.
        """
        out = np.empty((len(self.layout.labels(split)), self.layout.dim), dtype=np.float32)
        for batch in self.layout.batches(split):
            out[self.layout.span(split, batch)] = self.shards.read(_name(split, batch))["features"]
        return out

    def files(self) -> list[Path]:
        """Every file of the store."""
        names = [_name(split, batch) for split in _SPLITS for batch in self.layout.batches(split)]
        return [
            self.folder / VIEW,
            *(self.shards.path(name) for name in names),
            self.shards.journal,
        ]

    def _view(self, split: str) -> View:
        pieces = []
        for batch in self.layout.batches(split):
            span = self.layout.span(split, batch)
            shape = (span.stop - span.start, self.layout.dim)
            pieces.append(
                Piece((span, slice(0, self.layout.dim)), _name(split, batch), "features", shape)
            )
        return View((len(self.layout.labels(split)), self.layout.dim), "float32", PARTS, pieces)


def _name(split: str, batch: int) -> str:
    return f"{split}-{batch:06d}"
