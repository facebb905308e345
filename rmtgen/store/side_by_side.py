"""Features of several stores side by side, each over a scale; they are read where they lie."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rmtgen.errors import CorruptInputError
from rmtgen.store.batched_rows import BatchedRows


class SideBySide(BatchedRows):
    """The rows of several stores of the same images as one, each member over its scale.

    A batch is put together as it is read: in memory are one batch of each member, and what the
    caller asks for.
    """

    def __init__(self, members: Sequence[BatchedRows], scales: Sequence[float], labelled: int = 0):
        """Take the stores.

        Args:
            members: At least one, of the same images in one order.
            scales: What the features of each are divided by, > 0.
            labelled: Position of the member whose labels and classes count.

        Raises:
            CorruptInputError: They are not of as many images, in batches of one size.
        """
        self._members, self._scales = tuple(members), tuple(scales)
        shapes = [
            (len(one.train_labels), len(one.test_labels), one.batch_size)
            for one in (member.layout for member in members)
        ]
        if len(set(shapes)) > 1:
            raise CorruptInputError(
                "features side by side must be of the same images, in batches of one size: got"
                f" {', '.join('{} + {} in batches of {}'.format(*shape) for shape in shapes)}."
                " Extract them with the same train, test and batch_size."
            )
        dim = sum(member.layout.dim for member in members)
        self.layout = dataclasses.replace(members[labelled].layout, dim=dim)

    def check_batch(self, split: str, batch: int) -> None:
        """Check that a batch of every member is there."""
        for member in self._members:
            member.check_batch(split, batch)

    def read_batch(self, split: str, batch: int) -> np.ndarray:
        """The rows of a batch, (b, p) float32."""
        scaled = zip(self._members, self._scales, strict=True)
        blocks = [member.read_batch(split, batch) / scale for member, scale in scaled]
        return np.concatenate(blocks, axis=1, dtype=np.float32)
