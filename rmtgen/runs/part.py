"""The first images of a run, of which the features of others may be lacking still."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmtgen.runs.run import Run, TrainTest
from rmtgen.store.batched_rows import BatchedRows

if TYPE_CHECKING:
    from rmtgen.ranking.probe import Probe


@dataclass(frozen=True, eq=False, repr=False)
class PartRun(Run):
    """A run as its first images show it.

    Attributes:
        probe: The probe of the first n images of training.
        store: The features that are there.
    """

    probe: "Probe"
    store: BatchedRows

    @property
    def score(self) -> "Probe":
        """The probe of the first images."""
        return self.probe

    @property
    def labels(self) -> TrainTest:
        """Labels of the first images, (n,), and of those of the test, int64."""
        train, test = super().labels
        return TrainTest(train[: self.probe.n], test)

    @property
    def feature_store(self) -> BatchedRows:
        """The features that are there."""
        return self.store
