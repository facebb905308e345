"""A pool of N samples with its subsets: their modes, ridge paths and learning curve.

The pool is given as features or as a Gram matrix, in memory or in a file, and every function
answers from each. The notation is that of `rmtgen.ridge`; M is the number of test samples.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes, gram_modes_batch
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.linalg.verified import problems_per_call
from rmtgen.ridge.columns import CURVE_COLUMNS, ERROR_COLUMNS, RISK_COLUMNS
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.path import resolve_ridges, solve_path
from rmtgen.ridge.primal import tall_spectrum
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.stored import Kernel
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
        kernel: Features or Gram matrix, in memory or read from a file, with those of the test set.
        targets: Encoded training labels, (N, c).
        test_targets: Encoded test labels, (M, c); None without a test set.
    """

    kernel: Kernel
    targets: Targets
    test_targets: Targets | None

    @property
    def is_gram(self) -> bool:
        """Whether the kernel is given as a Gram matrix."""
        return not isinstance(self.kernel, FeatureKernel)

    @property
    def tests(self) -> int:
        """M; 0 without a test set."""
        return self.kernel.tests or 0

    def __len__(self) -> int:
        """N."""
        return len(self.kernel)

    @cached_property
    def diagonal(self) -> Float64[Tensor, " N"]:
        """K_ii of every sample."""
        return self.kernel.diagonal()

    @property
    def trace(self) -> float:
        """Trace of the Gram matrix K (N, N) of the pool."""
        return self.diagonal.sum().item()

    @property
    def largest_diagonal(self) -> float:
        """Largest K_ii over the pool."""
        return self.diagonal.max().item()

    def block(self, most: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"] | None]:
        """K of the first n ≤ `most` samples, and k(test, train) of the first m ≤ `most` test ones.

        The second is None without a test set.
        """
        return self.kernel.block(most)

    def modes(self, orders: Sequence[Int64[np.ndarray, " n"]], memory: int) -> Iterator[Modes]:
        """The modes of several subsets of one size n, in turn.

        Where that pays, one call solves as many Gram matrices as `memory` allows.

        Args:
            orders: Positions in the pool of the n samples, per subset.
            memory: Bytes that the eigensolves of Gram matrices may take at once.
        """
        n, intercept, kernel = len(orders[0]), self.targets.intercept, self.kernel
        chosen = (kernel.chosen(self._positions(order)) for order in orders)
        if not isinstance(kernel, GramKernel):
            yield from (one.modes(n, intercept) for one in chosen)
            return
        at_once = problems_per_call(n, memory, GRAM_COPIES, kernel.device)
        while some := list(itertools.islice(chosen, at_once)):
            grams = torch.stack([one.train for one in some])
            yield from gram_modes_batch(grams, intercept, memory=memory)

    def spectra(self, orders: Sequence[Int64[np.ndarray, " n"]], memory: int) -> Iterator[Spectrum]:
        """The spectra of several subsets of one size n, in turn, with their targets.

        Of more samples than features no n×p is held, as modes would.

        Args:
            orders: As for `modes`.
            memory: As for `modes`.
        """
        n = len(orders[0])
        if not self.is_gram and n - self.targets.intercept > self.kernel.train.shape[1]:
            yield from (tall_spectrum(self.problem(order, loo=False)) for order in orders)
            return
        for order, modes in zip(orders, self.modes(orders, memory), strict=True):
            yield Spectrum.of(modes, self.targets.values[self._positions(order)])

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

    @public
    def path(  # noqa: PLR0913 - as ridge_path, whose problem is a subset here
        self,
        order: Int64[np.ndarray, " n"],
        *,
        ridges: ArrayLike | None = None,
        sum_ridges: ArrayLike | None = None,
        sizes: ArrayLike | None = None,
        loo: bool = True,
        solver: str = "auto",
        memory: float = math.inf,
        spill: Path | None = None,
    ) -> pd.DataFrame:
        """`ridge_path` of the samples at the positions `order`.

        Args:
            order: Positions in the pool; a size takes the first of them.
            ridges: λ ≥ 0. Exactly one of `ridges` and `sum_ridges`.
            sum_ridges: δ = nλ.
            sizes: Sample sizes.
            loo: Compute the leave-one-out columns.
            solver: As in `ridge_path`.
            memory: Bytes that a solver may take beside the pool.
            spill: Folder for what a solver cannot hold.
        """
        problem = self.problem(order, loo=loo)
        kernel = replace(problem.kernel, budget=memory, spill=spill)
        grid = Grid.checked(ridges, sum_ridges)
        return solve_path(replace(problem, kernel=kernel), grid, sizes, solver)

    def problem(self, order: Int64[np.ndarray, " n"], *, loo: bool) -> Problem:
        """The ridge problem of the samples at some positions."""
        chosen, targets = self._positions(order), self.targets.values
        tests = None if self.test_targets is None else self.test_targets.values
        some = targets[chosen] if isinstance(targets, Tensor) else targets.chosen(chosen)
        return Problem.checked(
            self.kernel.chosen(chosen), some, tests, loo=loo, intercept=self.targets.intercept
        )

    def _positions(self, order: Int64[np.ndarray, " n"]) -> Int64[Tensor, " n"]:
        return torch.from_numpy(order).to(self.kernel.device)


def dense_sizes(least: int, most: int, *, is_gram: bool) -> Int64[np.ndarray, " t"]:
    """Sizes of a learning curve dense in n, in geometric steps.

    Args:
        least: Smallest size.
        most: Largest size.
        is_gram: Whether the pool is a Gram matrix, where many sizes share one factor.
    """
    return np.unique(np.geomspace(least, most, CURVE_SIZES[is_gram]).round().astype(int))
