"""What a configuration makes of a pool: how it is loaded, and which subsets of it are solved."""

from pathlib import Path

import numpy as np
import torch

from rmtgen.errors import CorruptInputError, NumericalError
from rmtgen.linalg.cells import Cell
from rmtgen.ridge.columns import BUDGETED, ESTIMATING
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.outputs import split_targets
from rmtgen.ridge.pool import GRAM_COPIES, Pool, dense_sizes
from rmtgen.ridge.stored import StoredKernel
from rmtgen.runs.config import Config
from rmtgen.runs.features import open_features
from rmtgen.runs.graph import solves_gram
from rmtgen.runs.manifest import recorded
from rmtgen.store.batched_rows import BatchedRows
from rmtgen.store.feature_store import VIEW as FEATURES
from rmtgen.store.gram_store import VIEW as GRAM
from rmtgen.store.gram_store import GramStore
from rmtgen.units import readable_bytes


def load_pool(folder: Path, config: Config, device: torch.device) -> Pool:
    """Open a run's features, or its Gram matrix where `solves_gram`.

    Features are float32, in memory; with a `spill` on a CPU those of training are read from a file
    there. A Gram matrix is read whole, but for a solver that keeps to a budget tile by tile.

    Raises:
        MissingInputError, CorruptInputError: From the stores, by name.
        NumericalError: Every feature of the pool is zero, or an entry is not finite.
        StorageError: `spill` refuses.
    """
    features = open_features(folder)
    layout = features.layout
    _check_counts(folder / FEATURES, (len(layout.train_labels), len(layout.test_labels)), config)
    is_gram = solves_gram(config, layout.dim)
    kernel = _gram(folder, config, device) if is_gram else _features(features, config, device)
    labels = layout.train_labels, layout.test_labels
    outputs = len(layout.classes)
    targets, test_targets = split_targets(*labels, outputs, config.targets, device)
    return _checked(Pool(kernel, targets, test_targets if config.test else None))


def load_first(store: BatchedRows, config: Config, images: int, device: torch.device) -> Pool:
    """The features of the first images of a run, of which later ones need not be there.

    Raises:
        MissingInputError, CorruptInputError: From the store, by name.
        NumericalError: Every feature is zero, or an entry is not finite.
    """
    rows = torch.from_numpy(store.first("train", images)).to(device)
    labels = store.layout.train_labels[:images]
    outputs = len(store.layout.classes)
    targets, _ = split_targets(labels, labels[:0], outputs, config.targets, device)
    return _checked(Pool(FeatureKernel.checked(rows, None), targets, None))


def _checked(pool: Pool) -> Pool:
    if not pool.trace > 0:
        raise NumericalError(
            "the Gram matrix of the pool has trace 0: every feature is zero. Choose another"
            " backbone or img_size."
        )
    return pool


def _gram(folder: Path, config: Config, device: torch.device) -> GramKernel | StoredKernel:
    store = GramStore.open(folder, recorded(folder, "gram"))
    _check_counts(folder / GRAM, (store.layout.n_train, store.layout.n_test), config)
    if config.solver in BUDGETED:
        return StoredKernel(store, device)
    gram = torch.from_numpy(store.read()).to(device)
    return GramKernel.checked(gram[: config.train], gram[config.train :] if config.test else None)


def _features(store: BatchedRows, config: Config, device: torch.device) -> FeatureKernel:
    test = torch.from_numpy(store.read("test")).to(device) if config.test else None
    if config.spill and device.type == "cpu":
        place = Path(config.spill)
        train = store.mapped("train", place)
        return FeatureKernel.checked(torch.from_numpy(train), test, spill=place)
    return FeatureKernel.checked(torch.from_numpy(store.read("train")).to(device), test)


def _check_counts(path: Path, found: tuple[int, int], config: Config) -> None:
    if found != (config.train, config.test):
        raise CorruptInputError(
            f"{path} must be of {config.train} + {config.test} images, as the settings say: got"
            f" {found[0]} + {found[1]}. Delete it and run its stage again."
        )


def cells(config: Config) -> list[Cell]:
    """Every (n, trial) of a run, by size. At n = N all trials are the same set, so there is one."""
    return [
        Cell(n, trial)
        for n in config.sizes
        for trial in range(config.trials if n < config.train else 1)
    ]


def too_large(config: Config, n: int) -> str | None:
    """Why an eigensolve of n samples is not made of a Gram matrix that stays in its store.

    Returns:
        What it would take; None where it keeps to the budget.
    """
    taken = 8 * GRAM_COPIES * n**2
    if taken <= config.memory:
        return None
    return (
        f"an eigensolve of n = {n:,} takes {readable_bytes(taken)}, more than"
        f" memory={readable_bytes(config.memory)}"
    )


def curve_sizes(config: Config, is_gram: bool) -> np.ndarray:
    """The sizes of the learning curve: dense, but where an estimate shares nothing between them."""
    if config.solver == ESTIMATING:
        return np.array(config.sizes)
    return dense_sizes(min(config.sizes), config.train, is_gram=is_gram)
