"""The interface of a data set: what a name of the catalogue can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.errors import MissingInputError, UsageError
from rmtgen.names import expanded, printable
from rmtgen.scalars import path
from rmtgen.store.tree import FileList


@dataclass(frozen=True)
class Access:
    """How a data set is opened.

    Attributes:
        root: Folder of the local copies of data sets that have no path of their own.
        download: Download what is missing.
        share: Share of test images in a folder without train/ and test/; None: the default.
        seed: Seed of that division.
        max_pixels: The largest number of pixels of an encoded image.
        skip: Leave out the entries of a table, or of shards, that have no image or no label.
        undivided: Take all images that are not divided for training, and none for the test.
        labelling: Which columns label the images, and what they mean.
    """

    root: Path
    download: bool = False
    share: float | None = None
    seed: int = 0
    max_pixels: int = MAX_PIXELS
    skip: bool = False
    undivided: bool = False
    labelling: Labelling = USUAL


def data_root(root: str | Path) -> Path:
    """The folder of the local copies, `~` resolved.

    Raises:
        UsageError: `root` is not a path.
    """
    return path(root, "root")


def given(name: str, argument: str) -> str:
    """What follows the prefix of a name.

    Raises:
        UsageError: Nothing does.
    """
    prefix, _, text = name.partition(":")
    if not text:
        raise UsageError(
            f"{prefix}: must be followed by a {argument.lower()}, got none. Write"
            f" {prefix}:{argument}."
        )
    return text


def given_path(name: str) -> Path:
    """The file or folder that a name leads to, there or not.

    Raises:
        UsageError: The name has no path.
        MissingInputError: The path cannot be looked up.
    """
    text = given(name, "PATH")
    found = expanded(text)
    try:
        found.exists()
    except OSError as error:
        raise MissingInputError(
            f"{printable(text)[:200]} cannot be read: {error.strerror}. Give another path."
        ) from error
    return found


class DataSource(ABC):
    """One entry of the catalogue: a data set, or a family of data sets with a common prefix.

    Attributes:
        argument: What follows the prefix in a name, as shown in messages; empty for one data set.
        divisible: Whether images without a test set of their own are divided.
        tabular: Whether it has columns, which may hold labels or values.
    """

    argument: str = ""
    divisible: bool = False
    tabular: bool = False

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

    def listed(self, name: str, labelling: Labelling) -> FileList | None:
        """The images that one of `files` lists; None, as here, if none of them is a list.

        The function reads no image and imports no torch.

        Args:
            name: The full name of the data set.
            labelling: As in `Access`.

        Raises:
            RmtgenError: As `open`.
        """
        return None

    def sizes(
        self,
        name: str,
        share: float | None,
        skip: bool = False,
        labelling: Labelling = USUAL,
    ) -> tuple[int, int] | None:
        """The numbers of training and test images; None, as here, if they are not known.

        The function reads no image and imports no torch.

        Args:
            name: The full name of the data set.
            share: As in `Access`; 0: images that are not divided are for training.
            skip: As in `Access`.
            labelling: As in `Access`.

        Raises:
            RmtgenError: As `open`.
        """
        return None
