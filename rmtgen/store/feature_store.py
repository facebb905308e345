"""The features of N training and M test images on disk: one shard per batch behind `features.h5`.

M may be 0. `features.h5` has the virtual datasets "train" (N, p) and "test" (M, p), float32, over
the shards in `features/`, and the plain datasets "train_labels" and "test_labels": classes, int64;
several labels, bool (N, c); or values, float64 (N, c). A batch
that does not exist yet reads as NaN through HDF5; `FeatureStore.read` refuses it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.store import durable, files
from rmtgen.store.batched_rows import BatchedRows, FeatureLayout
from rmtgen.store.hdf5 import integer, open_hdf5, text
from rmtgen.store.shards import JOURNAL, Piece, ShardRecord, ShardSet, View, hdf5_image, required

VIEW = "features.h5"
"""File name of the view."""

PARTS = "features"
"""Folder name of the shards."""

_SPLITS = ("train", "test")


class FeatureStore(BatchedRows):
    """Features on disk: `create` a store to write to, or `open` an existing one.

    Reading verifies the digest of every shard.
    """

    def __init__(self, folder: Path, layout: FeatureLayout, shards: ShardSet):
        self.folder, self.layout, self.shards = folder, layout, shards

    @classmethod
    def create(
        cls, folder: Path, layout: FeatureLayout, fingerprint: str, writer: str | None = None
    ) -> "FeatureStore":
        """Start a store in `folder`, or resume the unfinished one with the same fingerprint.

        Args:
            folder: The run directory.
            layout: Labels, dimension and batch size.
            fingerprint: Digest of what the features are computed from.
            writer: Name of this process among several that fill the store at once; None for the
                only one.

        Raises:
            StaleInputError: The existing shards have another fingerprint.
            StorageError: The disk refuses.
        """
        labels = {f"{split}_labels": layout.labels(split) for split in _SPLITS}
        views = {split: _view(layout, split) for split in _SPLITS}
        attributes = {
            "classes": json.dumps(layout.classes),
            "dim": layout.dim,
            "batch_size": layout.batch_size,
        }
        image = hdf5_image(labels, views, attributes)
        view = ShardRecord.of(PARTS, image)
        shards = ShardSet(folder / PARTS, fingerprint, view=view, writer=writer)
        durable.write_bytes(durable.make_folder(folder) / VIEW, image, writer)
        return cls(folder, layout, shards)

    @classmethod
    def open(
        cls, folder: Path, recorded: Mapping[str, durable.Recorded] | None = None
    ) -> "FeatureStore":
        """Open the store in a run directory.

        Args:
            folder: The run directory.
            recorded: What the manifest of its stage records of its files, by name. None: what the
                journal of the shards records of `features.h5`.

        Raises:
            MissingInputError: `features.h5` does not exist.
            CorruptInputError: It is not a feature store, or not what was written.
        """
        view = folder / VIEW
        if not files.is_there(view):
            raise MissingInputError(f"no features at {view}. Make them: `rmtgen extract`.")
        known = required(recorded, folder, VIEW, f"{PARTS}/{JOURNAL}")
        shards = ShardSet(folder / PARTS, journal=known.get(f"{PARTS}/{JOURNAL}"))
        record, remedy = known.get(VIEW, shards.view), "Delete it and run `rmtgen extract`."
        with open_hdf5(view, record, remedy, what="a feature store", shards=PARTS) as file:
            layout = _read_layout(file)
        return cls(folder, layout, shards)

    def pending(self, split: str) -> list[int]:
        """The numbers of the batches that are not written yet."""
        return [
            batch
            for batch in self.layout.batches(split)
            if batch_name(split, batch) not in self.shards
        ]

    def write(self, split: str, batch: int, features: np.ndarray) -> None:
        """Store one batch, which is durable on return.

        Args:
            split: "train" or "test".
            batch: Number of the batch.
            features: (images in the batch, dim), stored as float32.
        """
        self.shards.write(
            batch_name(split, batch), {"features": features.astype(np.float32, copy=False)}
        )

    def check_batch(self, split: str, batch: int) -> None:
        """Check that a batch is there and its file large enough, before memory is taken."""
        record = self.shards.record(batch_name(split, batch))
        if record.size < 4 * math.prod(self.layout.shape(split, batch)):
            raise self._misshapen(split, batch)

    def read_batch(self, split: str, batch: int) -> np.ndarray:
        """The rows of a batch, whose digest is verified."""
        rows = self.shards.read(batch_name(split, batch)).get("features")
        if rows is None or rows.dtype.kind != "f" or rows.shape != self.layout.shape(split, batch):
            raise self._misshapen(split, batch)
        return rows

    def _misshapen(self, split: str, batch: int) -> CorruptInputError:
        return CorruptInputError(
            f"{self.shards.path(batch_name(split, batch))} must hold `features`, numbers of shape"
            f" {self.layout.shape(split, batch)}, and does not. Delete {self.folder / PARTS} and"
            " run `rmtgen extract`."
        )

    def files(self) -> list[Path]:
        """Every file of the store."""
        names = [
            batch_name(split, batch) for split in _SPLITS for batch in self.layout.batches(split)
        ]
        return [
            self.folder / VIEW,
            *(self.shards.path(name) for name in names),
            self.shards.journal,
        ]


def _view(layout: FeatureLayout, split: str) -> View:
    pieces = []
    for batch in layout.batches(split):
        place = layout.span(split, batch), slice(0, layout.dim)
        shape = layout.shape(split, batch)
        pieces.append(Piece(place, batch_name(split, batch), "features", shape))
    return View((len(layout.labels(split)), layout.dim), "float32", PARTS, pieces)


def _read_layout(file: h5py.File) -> FeatureLayout:
    """The layout that an open features.h5 states.

    Raises:
        KeyError, ValueError: It is none.
    """
    classes = files.parse_json(text(file, "classes").encode())
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes must be a list of names")
    dim, batch_size = integer(file, "dim"), integer(file, "batch_size")
    if min(dim, batch_size) < 1:
        raise ValueError(f"dim and batch_size must be positive, got {dim} and {batch_size}")
    train, test = (
        _read_labels(file, f"{split}_labels", len(classes), least)
        for split, least in zip(_SPLITS, (1, 0), strict=True)
    )
    if train.dtype != test.dtype:
        raise ValueError(f"labels must be of one type, got {train.dtype} and {test.dtype}")
    return FeatureLayout(train, test, tuple(classes), dim, batch_size)


def _read_labels(file: h5py.File, name: str, classes: int, least: int) -> np.ndarray:
    labels = file[name][()]
    if labels.ndim == 2 and labels.dtype in (np.bool_, np.float64):
        if labels.shape[1] != classes or len(labels) < least or not np.isfinite(labels).all():
            raise ValueError(f"{name} must be finite, in {classes} columns, got {labels.shape}")
        return labels
    if labels.ndim != 1 or labels.dtype != np.int64 or len(labels) < least:
        raise ValueError(f"{name} must be integers, got {labels.dtype} of shape {labels.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{name} must be positions among {classes} classes")
    return labels


def batch_name(split: str, batch: int) -> str:
    """Name of the shard of one batch of a split."""
    return f"{split}-{batch:06d}"
