"""The interface of a data set: what a name of the catalogue can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import LabelledImages
from rmtgen.scalars import path


@dataclass(frozen=True)
class Access:
    """How a data set is opened.

    Attributes:
        root: Folder of the local copies of data sets that have no path of their own.
        download: Download what is missing.
        share: Share of test images in a folder without train/ and test/; None: the default.
        seed: Seed of that division.
        max_pixels: The largest number of pixels of an encoded image.
        undivided: Take all images of such a folder for training, and none for the test.
    """

    root: Path
    download: bool = False
    share: float | None = None
    seed: int = 0
    max_pixels: int = MAX_PIXELS
    undivided: bool = False


def data_root(root: str | Path) -> Path:
    """The folder of the local copies, `~` resolved.

    Raises:
        UsageError: `root` is not a path.
    """
    return path(root, "root")


class DataSource(ABC):
    """One entry of the catalogue: a data set, or a family of data sets with a common prefix.

    Attributes:
        argument: What follows the prefix in a name, as shown in messages; empty for one data set.
    """

    argument: str = ""

    @abstractmethod
    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """At least the requested splits, in full, each in the order of its source.

        Args:
            name: The full name of the data set, as the user gave it.
            splits: "train", "test", or both.
            access: How it is opened.

        Raises:
            MissingInputError: The data do not exist, or the download failed.
            CorruptInputError: The data are damaged.
        """

    @abstractmethod
    def files(self, name: str, root: Path) -> list[Path]:
        """The local files and folders that the images are read from, whether they exist or not.

        The function reads no image and imports no torch: a cached stage calls it.
        """

    def sizes(self, name: str, share: float | None) -> tuple[int, int] | None:
        """The numbers of training and test images; None, as here, if they are not known.

        A share of 0 leaves a folder that is not divided undivided.

        The function reads no image and imports no torch.

        Raises:
            RmtgenError: As `open`.
        """
        return None
