"""FeatureStore: the features of N train and M test images on disk, one durable shard a batch behind
one `features.h5`.

`features.h5` has the virtual datasets "train" (N, p) and "test" (M, p), float32, over the shards in
`features/`, and the plain datasets "train_labels" and "test_labels" (int64). A batch that is not
there yet reads as NaN through HDF5; `FeatureStore.read` refuses it.
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
PARTS = "features"


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """The labels of both splits, the names of the classes, the feature dimension and the batch
    size.
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
        """The numbers of a split's batches."""
        return range(-(-len(self.labels(split)) // self.batch_size))

    def span(self, split: str, batch: int) -> slice:
        """The images of one batch."""
        start = batch * self.batch_size
        return slice(start, min(start + self.batch_size, len(self.labels(split))))


class FeatureStore:
    """Features on disk. `create` one to fill, `open` one that exists; reading verifies every
    shard's digest.
    """

    def __init__(self, folder: Path, layout: FeatureLayout, basis: str | None = None):
        self.folder, self.layout = folder, layout
        self.shards = ShardSet(folder / PARTS, basis)

    @classmethod
    def create(cls, folder: Path, layout: FeatureLayout, basis: str) -> "FeatureStore":
        """Start a store in `folder`, or go on with the unfinished one made from the same `basis`.

        Raises:
            StaleInputError: the shards there were made from something else.
            StorageError: the disk refuses.
        """
        store = cls(durable.make_folder(folder), layout, basis)
        labels = {f"{split}_labels": layout.labels(split) for split in ("train", "test")}
        views = {split: store._view(split) for split in ("train", "test")}
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
            MissingInputError: there is no `features.h5`.
            CorruptInputError: it is not a feature store.
        """
        view = folder / VIEW
        if not view.exists():
            raise MissingInputError(f"no features at {view}. Make them: `make extract`.")
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
                f"{view} is not a feature store ({error}). Delete it and run `make extract`."
            ) from error
        return cls(folder, layout)

    def pending(self, split: str) -> list[int]:
        """The numbers of the batches still to be written."""
        return [
            batch for batch in self.layout.batches(split) if _name(split, batch) not in self.shards
        ]

    def write(self, split: str, batch: int, features: np.ndarray) -> None:
        """Store one batch, durable when this returns. `features` is (images in the batch, dim)
        float32.
        """
        self.shards.write(
            _name(split, batch), {"features": features.astype(np.float32, copy=False)}
        )

    def read(self, split: str) -> np.ndarray:
        """All features of a split, (N, dim) float32.

        Raises:
            MissingInputError, CorruptInputError: naming the first shard that is missing or damaged.
        """
        out = np.empty((len(self.layout.labels(split)), self.layout.dim), dtype=np.float32)
        for batch in self.layout.batches(split):
            out[self.layout.span(split, batch)] = self.shards.read(_name(split, batch))["features"]
        return out

    def files(self) -> list[Path]:
        """Every file of the store."""
        names = [
            _name(split, batch)
            for split in ("train", "test")
            for batch in self.layout.batches(split)
        ]
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
