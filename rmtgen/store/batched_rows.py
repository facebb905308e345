"""Rows of features that are read batch by batch, whatever they are stored as."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmtgen.store.spill import nameless


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """What a store of features holds.

    Attributes:
        train_labels: int64, (N,); bool or float64, (N, c).
        test_labels: Likewise, of M images.
        classes: Names of the classes, or of the c columns.
        dim: Feature dimension p.
        batch_size: Images per shard.
    """

    train_labels: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    dim: int
    batch_size: int

    def labels(self, split: str) -> np.ndarray:
        """The labels of "train" or "test"."""
        return {"train": self.train_labels, "test": self.test_labels}[split]

    def batches(self, split: str) -> range:
        """The numbers of the batches of a split."""
        return range(-(-len(self.labels(split)) // self.batch_size))

    def span(self, split: str, batch: int) -> slice:
        """The positions of the images of one batch."""
        start = batch * self.batch_size
        return slice(start, min(start + self.batch_size, len(self.labels(split))))

    def shape(self, split: str, batch: int) -> tuple[int, int]:
        """Number of rows and columns of one batch."""
        span = self.span(split, batch)
        return span.stop - span.start, self.dim


class BatchedRows(ABC):
    """Features of N training and M test images.

    Attributes:
        layout: Labels, dimension and batch size.
    """

    layout: FeatureLayout

    @abstractmethod
    def check_batch(self, split: str, batch: int) -> None:
        """Check that a batch is there and its files large enough, before memory is taken.

        Raises:
            MissingInputError, CorruptInputError: It is not.
        """

    @abstractmethod
    def read_batch(self, split: str, batch: int) -> np.ndarray:
        """The rows of a batch, floating, of the shape that the layout says.

        Raises:
            MissingInputError, CorruptInputError: As `check_batch`; or it is not what was written.
        """

    def read(self, split: str) -> np.ndarray:
        """All features of a split, (N, dim) float32.

        Raises:
            MissingInputError: A shard does not exist; the message names the first.
            CorruptInputError: A shard is damaged; the message names the first.
        """
        self._check(split)
        out = np.empty((len(self.layout.labels(split)), self.layout.dim), dtype=np.float32)
        for batch in self.layout.batches(split):
            out[self.layout.span(split, batch)] = self.read_batch(split, batch)
        return out

    def first(self, split: str, rows: int) -> np.ndarray:
        """The features of the first images of a split, (rows, dim) float32.

        Raises:
            MissingInputError, CorruptInputError: As `read`, of the shards that hold them.
        """
        found = []
        for batch in self.layout.batches(split):
            if self.layout.span(split, batch).start < rows:
                self.check_batch(split, batch)
                found.append(self.read_batch(split, batch))
        return np.concatenate(found)[:rows].astype(np.float32, copy=False)

    def mapped(self, split: str, place: Path) -> np.memmap:
        """All features of a split, as rows of a file of which the system holds what fits.

        The file has no name: it is gone with the array, whatever becomes of the process.

        Args:
            split: "train" or "test".
            place: Folder of the file.

        Returns:
            (N, dim) float32; what is written to it stays in memory.

        Raises:
            MissingInputError, CorruptInputError: As `read`.
            StorageError: The disk refuses.
        """
        self._check(split)
        shape = len(self.layout.labels(split)), self.layout.dim
        with nameless(place) as file:
            for batch in self.layout.batches(split):
                file.write(self.read_batch(split, batch).astype(np.float32).tobytes())
            file.flush()
            return np.memmap(file, np.float32, "c", shape=shape)

    def _check(self, split: str) -> None:
        for batch in self.layout.batches(split):
            self.check_batch(split, batch)
