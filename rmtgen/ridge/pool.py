"""A pool of N samples with its subsets: their modes, ridge paths and learning curve.

The pool is held as features or as a Gram matrix, and every function answers from either. The
notation is that of `rmtgen.ridge`; M is the number of test samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes, feature_modes, gram_modes_batch
from rmtgen.linalg.verified import problems_per_call
from rmtgen.ridge.columns import CURVE_COLUMNS, ERROR_COLUMNS, RISK_COLUMNS
from rmtgen.ridge.path import resolve_ridges, ridge_path, ridge_path_features
from rmtgen.ridge.targets import Targets

CURVE_RIDGES = (1e-5, 1e-3, 1e-1)
"""Values of δ/tr K of the learning curve, all well above the rounding of a float32 Gram matrix, so
that one Cholesky factor serves every size."""
CURVE_SIZES = {True: 200, False: 50}
"""Numbers of sizes of the learning curve, in geometric steps: many where the sizes share a factor
(a Gram matrix), fewer where each takes a decomposition (features)."""
GRAM_COPIES = 6
"""Number of n×n float64 matrices that an eigensolve with its checks holds at its peak."""


@dataclass(frozen=True, eq=False)
class Pool:
    """N training samples that subsets are drawn from, with M test samples, on one device.

    Attributes:
        train: Features (N, p) or Gram matrix (N, N), float32 or float64.
        test: Features (M, p) or rows k(test, train) (M, N); None without a test set.
        is_gram: Whether `train` is a Gram matrix.
        targets: Encoded training labels, (N, c).
        test_targets: Encoded test labels, (M, c); None without a test set.
    """

    train: Float[Tensor, "N _"]
    test: Float[Tensor, "M _"] | None
    is_gram: bool
    targets: Targets
    test_targets: Targets | None

    def __len__(self) -> int:
        """N."""
        return len(self.train)

    @property
    def trace(self) -> float:
        """Trace of the Gram matrix K (N, N) of the pool."""
        return float(
            self.train.double().diagonal().sum() if self.is_gram else self.train.square().sum()
        )

    @property
    def largest_diagonal(self) -> float:
        """Largest K_ii over the pool."""
        return float(
            (self.train.diagonal() if self.is_gram else self.train.square().sum(dim=1)).max()
        )

    def block(self, most: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"] | None]:
        """K of the first n ≤ `most` samples, and k(test, train) of the first m ≤ `most` test ones.

        The second is None without a test set.
        """
        tests = None if self.test is None else self.test[:most]
        if self.is_gram:
            return self.train[:most, :most], None if tests is None else tests[:, :most]
        train = self.train[:most]
        return train @ train.mT, None if tests is None else tests @ train.mT

    def modes(self, orders: Sequence[Int64[np.ndarray, " n"]], memory: int) -> Iterator[Modes]:
        """The modes of several subsets of one size n, in turn.

        Where that pays, one call solves as many Gram matrices as `memory` allows.

        Args:
            orders: Positions in the pool of the n samples, per subset.
            memory: Bytes that the eigensolves of Gram matrices may take at once.
        """
        subsets = [torch.from_numpy(order).to(self.train.device) for order in orders]
        intercept = self.targets.intercept
        if not self.is_gram:
            yield from (
                feature_modes(self.train[subset], intercept=intercept) for subset in subsets
            )
            return
        at_once = problems_per_call(len(orders[0]), memory, GRAM_COPIES, self.train.device)
        for start in range(0, len(subsets), at_once):
            grams = torch.stack(
                [self.train[subset[:, None], subset] for subset in subsets[start : start + at_once]]
            )
            yield from gram_modes_batch(grams, intercept, memory=memory)

    def risk(
        self, cell: Cell, relative_ridges: ArrayLike, *, seed: int, **options: Any
    ) -> pd.DataFrame:
        """The ridge path of one (n, trial), tested on the whole test set.

        Args:
            cell: The subset, the first n of the trial's shuffle.
            relative_ridges: Ratios r ≥ 0; λ = r·tr K/N is the same at every size.
            seed: Seed of the shuffles.
            **options: As `path` takes them.

        Returns:
            One row per ridge, with the columns `RISK_COLUMNS`, and from an estimate also
            `ERROR_COLUMNS`.
        """
        ridges = resolve_ridges(relative_ridges, self.trace, len(self))
        path = self.path(cell.order(seed, len(self)), ridges=ridges, **options)
        outputs = path.attrs["outputs"]
        return path.assign(trial=cell.trial, relative_ridge=relative_ridges, outputs=outputs)[
            [*RISK_COLUMNS, *(column for column in ERROR_COLUMNS if column in path)]
        ]

    def curve(
        self,
        sizes: Sequence[int],
        relative_sum_ridges: Sequence[float],
        *,
        seed: int,
        **options: Any,
    ) -> pd.DataFrame:
        """The learning curve of the first trial at fixed sum ridges.

        Args:
            sizes: Sample sizes n.
            relative_sum_ridges: δ = nλ over tr K of the pool.
            seed: Seed of the shuffle.
            **options: As `path` takes them.

        Returns:
            One row per (size, sum ridge), with the columns `CURVE_COLUMNS`, and from an estimate
            also `ERROR_COLUMNS`.
        """
        order = Cell(len(self), 0).order(seed, len(self))
        sum_ridges = self.trace * np.array(relative_sum_ridges)
        path = self.path(order, sizes=sizes, sum_ridges=sum_ridges, **options)
        relative, outputs = np.tile(relative_sum_ridges, len(sizes)), path.attrs["outputs"]
        return path.assign(relative_sum_ridge=relative, outputs=outputs)[
            [*CURVE_COLUMNS, *(column for column in ERROR_COLUMNS if column in path)]
        ]

    def path(
        self, order: Int64[np.ndarray, " n"], *, loo: bool = True, **options: Any
    ) -> pd.DataFrame:
        """`ridge_path` of the samples at the positions `order`.

        Args:
            order: Positions in the pool; a size takes the first of them.
            loo: Compute the leave-one-out columns.
            **options: `ridges` or `sum_ridges`, `sizes`, and how they are solved, as `ridge_path`
                or `ridge_path_features` takes them.
        """
        chosen = torch.from_numpy(order).to(self.train.device)
        test_targets = None if self.test_targets is None else self.test_targets.values
        settings = {"loo": loo, "intercept": self.targets.intercept, "test_targets": test_targets}
        targets = self.targets.values[chosen]
        if self.is_gram:
            gram, tests = self.train[chosen[:, None], chosen], self.test
            tests = None if tests is None else tests[:, chosen]
            return ridge_path(gram, targets, test_gram=tests, **settings, **options)
        return ridge_path_features(
            self.train[chosen], targets, test_features=self.test, **settings, **options
        )


def dense_sizes(least: int, most: int, *, is_gram: bool) -> Int64[np.ndarray, " t"]:
    """Sizes of a learning curve dense in n, in geometric steps.

    Args:
        least: Smallest size.
        most: Largest size.
        is_gram: Whether the pool is a Gram matrix, where many sizes share one factor.
    """
    return np.unique(np.geomspace(least, most, CURVE_SIZES[is_gram]).round().astype(int))
