"""The interface of a data set: what a name of the catalogue can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from rmtgen.datasets.images import LabelledImages


class DataSource(ABC):
    """One entry of the catalogue: a data set, or a family of data sets with a common prefix.

    Attributes:
        argument: What follows the prefix in a name, as shown in messages; empty for one data set.
    """

    argument: str = ""

    @abstractmethod
    def open(
        self, name: str, splits: Sequence[str], *, root: Path, download: bool
    ) -> dict[str, LabelledImages]:
        """At least the requested splits, in full, each in the order of its source.

        Args:
            name: The full name of the data set, as the user gave it.
            splits: "train", "test", or both.
            root: Folder of the local copies of data sets that have no path of their own.
            download: Download what is missing.

        Raises:
            MissingInputError: The data do not exist, or the download failed.
            CorruptInputError: The data are damaged.
        """

    @abstractmethod
    def files(self, name: str, root: Path) -> list[Path]:
        """The local files and folders that the images are read from, whether they exist or not.

        The function reads no image and imports no torch: a cached stage calls it.
        """
