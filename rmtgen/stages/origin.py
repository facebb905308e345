"""Where the rows that stage `extract` stores come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from rmtgen.datasets import Split
from rmtgen.store.feature_store import FeatureStore

Make = Callable[[str, Sequence[int]], Iterable[tuple[int, Tensor]]]
"""From a split's name and numbers of batches to the rows of each."""


class Origin(Protocol):
    """Where the rows of a run come from.

    Attributes:
        split: The images, or what is in their place.
        dim: Number of columns of a row.
        columns: What the columns are, for people.
        made_from: Digests of what rows are made from, beside files and the draw of the images.
        details: What the manifest records of it.
    """

    split: Split
    dim: int
    columns: str
    made_from: Mapping[str, str]
    details: Mapping[str, Any]

    def make(self, store: FeatureStore) -> Make:
        """How the rows of a batch are made."""

    def alone(self, seconds: float) -> float:
        """Seconds of rows that took so many here, had nothing been there from other runs."""

    def facts(self) -> dict[str, Any]:
        """What the manifest records of the origin besides, which takes a moment to find."""

    def findings(self, store: FeatureStore) -> tuple[dict[str, Any], str]:
        """What the manifest records of the rows once all are stored, and a remark on them."""
