"""What a configuration makes of a pool: how it is loaded, and which subsets of it are solved."""

from pathlib import Path

import numpy as np
import torch

from rmtgen.errors import CorruptInputError, NumericalError
from rmtgen.linalg.cells import Cell
from rmtgen.ridge.columns import ESTIMATING
from rmtgen.ridge.pool import Pool, dense_sizes
from rmtgen.ridge.targets import Targets, encode_targets
from rmtgen.runs.config import Config
from rmtgen.runs.graph import solves_gram
from rmtgen.runs.manifest import recorded
from rmtgen.store.feature_store import VIEW as FEATURES
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import VIEW as GRAM
from rmtgen.store.gram_store import GramStore


def load_pool(folder: Path, config: Config, device: torch.device) -> Pool:
    """Read a run's features, or its Gram matrix where `solves_gram`.

    Raises:
        MissingInputError, CorruptInputError: From the stores, by name.
        NumericalError: Every feature of the pool is zero.
    """
    features = FeatureStore.open(folder, recorded(folder, "extract"))
    layout = features.layout
    _check_counts(folder / FEATURES, (len(layout.train_labels), len(layout.test_labels)), config)
    is_gram = solves_gram(config, layout.dim)
    if is_gram:
        store = GramStore.open(folder, recorded(folder, "gram"))
        _check_counts(folder / GRAM, (store.layout.n_train, store.layout.n_test), config)
        gram = torch.from_numpy(store.read())
        train, test = gram[: config.train], gram[config.train :]
    else:
        train, test = (
            torch.from_numpy(features.read(split)).double() for split in ("train", "test")
        )
    encoded = [
        encode_targets(layout.labels(split), len(layout.classes), config.targets)
        for split in ("train", "test")
    ]
    targets, test_targets = (Targets(one.values.to(device), one.intercept) for one in encoded)
    pool = Pool(train.to(device), test.to(device), is_gram, targets, test_targets)
    if not pool.trace > 0:
        raise NumericalError(
            "the Gram matrix of the pool has trace 0: every feature is zero. Choose another"
            " backbone or img_size."
        )
    return pool


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


def curve_sizes(config: Config, is_gram: bool) -> np.ndarray:
    """The sizes of the learning curve: dense, but where an estimate shares nothing between them."""
    if config.solver == ESTIMATING:
        return np.array(config.sizes)
    return dense_sizes(min(config.sizes), config.train, is_gram=is_gram)
