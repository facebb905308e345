"""The pool: N training samples that every (n, trial) is drawn from, with the M test samples, as
features or as a Gram matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rmtgen.errors import NumericalError
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes, feature_modes, gram_modes_batch
from rmtgen.ridge import COLUMNS, resolve_ridges, ridge_path, ridge_path_features
from rmtgen.ridge.targets import Targets, encode_targets
from rmtgen.runs.config import Config
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.gram_store import GramStore

RISK_COLUMNS = ("n", "trial", "ridge", "relative_ridge", *COLUMNS[2:], "outputs")
"""Columns of risk.csv. Risks are summed over the outputs; divide by `outputs` for the mean."""
CURVE_COLUMNS = ("n", "relative_sum_ridge", *COLUMNS[1:], "outputs")
"""Columns of curve.csv, the learning curve dense in n. `relative_sum_ridge` is δ = nλ over tr K of
the pool."""
CURVE_RIDGES = (1e-5, 1e-3, 1e-1)
"""Its δ/tr K: all well above the rounding of a float32 Gram matrix, so that one Cholesky factor
serves every size."""
CURVE_SIZES = {True: 200, False: 50}
"""Its sizes, in geometric steps: many where they share a factor (a Gram matrix), fewer where each
takes a decomposition (features)."""
GRAM_COPIES = 6
"""n×n float64 matrices that an eigensolve with its checks holds at its peak."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What the eigensolves and the ridge path read, on the device they run on.

    Attributes:
        train: (N, p) features or (N, N) Gram matrix, float64 or the Gram store's dtype.
        test: (M, p) features or (M, N) Gram rows.
        is_gram: which of the two.
        targets: encoded training labels, (N, c).
        test_targets: encoded test labels, (M, c).
    """

    train: Tensor
    test: Tensor
    is_gram: bool
    targets: Targets
    test_targets: Targets

    @classmethod
    def load(cls, folder: Path, config: Config, device: torch.device) -> "Pool":
        """Read a run's features, or its Gram matrix where that is the smaller problem (N ≤ p) or
        was asked for.

        Raises:
            MissingInputError, CorruptInputError: from the stores, by name.
            NumericalError: the pool has no power at all: every feature is zero.
        """
        features = FeatureStore.open(folder)
        layout = features.layout
        is_gram = solves_gram(config, layout.dim)
        if is_gram:
            gram = torch.from_numpy(GramStore.open(folder).read())
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
        pool = cls(train.to(device), test.to(device), is_gram, targets, test_targets)
        if not pool.trace > 0:
            raise NumericalError(
                "the Gram matrix of the pool has trace 0: every feature is zero. Choose another"
                " backbone or img_size."
            )
        return pool

    @property
    def trace(self) -> float:
        """Trace of the pool's Gram matrix K (N×N)."""
        return float(
            self.train.double().diagonal().sum() if self.is_gram else self.train.square().sum()
        )

    @property
    def largest_diagonal(self) -> float:
        """Largest K_ii over the pool."""
        return float(
            (self.train.diagonal() if self.is_gram else self.train.square().sum(dim=1)).max()
        )

    def block(self, most: int) -> tuple[Tensor, Tensor]:
        """K of the first samples of the pool, and the rows of the first test samples against them,
        at most `most` of either.
        """
        if self.is_gram:
            return self.train[:most, :most], self.test[:most, :most]
        train = self.train[:most]
        return train @ train.mT, self.test[:most] @ train.mT

    def modes(self, orders: Sequence[np.ndarray], memory: int) -> Iterator[Modes]:
        """The eigen-modes of several subsets of equal size n, in turn: on CUDA as many in one call
        as `memory` allows, else one by one.

        Args:
            orders: for each problem, the positions of its n samples in the pool.
            memory: bytes that the eigensolves of a Gram matrix may take at once.
        """
        subsets = [torch.from_numpy(order).to(self.train.device) for order in orders]
        intercept = self.targets.intercept
        if not self.is_gram:
            yield from (
                feature_modes(self.train[subset], intercept=intercept) for subset in subsets
            )
            return
        at_once = (
            max(1, memory // (GRAM_COPIES * 8 * len(orders[0]) ** 2)) if self.train.is_cuda else 1
        )
        for start in range(0, len(subsets), at_once):
            grams = torch.stack(
                [self.train[subset[:, None], subset] for subset in subsets[start : start + at_once]]
            )
            yield from gram_modes_batch(grams, intercept, memory=memory)

    def risk(self, cell: Cell, config: Config) -> pd.DataFrame:
        """The ridge path of one (n, trial), tested on the whole test set: one row a ridge, the
        columns of `RISK_COLUMNS`.

        Relative ridges r become λ = r·tr K/N, one value for all sizes.
        """
        path = self._path(
            cell, config, ridges=resolve_ridges(config.ridges, self.trace, len(self.train))
        )
        outputs = path.attrs["outputs"]
        return path.assign(trial=cell.trial, relative_ridge=config.ridges, outputs=outputs)[
            list(RISK_COLUMNS)
        ]

    def curve(self, config: Config) -> pd.DataFrame:
        """The learning curve of the first trial at sum ridges held fixed, dense in n, with the
        columns of `CURVE_COLUMNS`.
        """
        sizes = curve_sizes(config, self.is_gram)
        path = self._path(
            Cell(config.train, 0),
            config,
            sizes=sizes,
            sum_ridges=self.trace * np.array(CURVE_RIDGES),
        )
        relative, outputs = np.tile(CURVE_RIDGES, len(sizes)), path.attrs["outputs"]
        return path.assign(relative_sum_ridge=relative, outputs=outputs)[list(CURVE_COLUMNS)]

    def _path(self, cell: Cell, config: Config, **grid: np.ndarray) -> pd.DataFrame:
        order = torch.from_numpy(cell.order(config.seed, config.train)).to(self.train.device)
        settings = {
            "loo": config.loo,
            "intercept": self.targets.intercept,
            "test_targets": self.test_targets.values,
        }
        targets = self.targets.values[order]
        if self.is_gram:
            gram = self.train[order[:, None], order]
            return ridge_path(gram, targets, test_gram=self.test[:, order], **settings, **grid)
        return ridge_path_features(
            self.train[order], targets, test_features=self.test, **settings, **grid
        )


def cells(config: Config) -> list[Cell]:
    """Every (n, trial) of a run, by size. At n = N all trials are the same set, so there is one."""
    return [
        Cell(n, trial)
        for n in config.sizes
        for trial in range(config.trials if n < config.train else 1)
    ]


def solves_gram(config: Config, dim: int) -> bool:
    """Whether a run is solved from its Gram matrix: where that is the smaller problem (N ≤ p) or
    was asked for.
    """
    return config.solve_from == "gram" or (config.solve_from == "auto" and config.train <= dim)


def curve_sizes(config: Config, is_gram: bool) -> np.ndarray:
    """The sizes of the learning curve dense in n."""
    return np.unique(
        np.geomspace(min(config.sizes), config.train, CURVE_SIZES[is_gram]).round().astype(int)
    )
