"""The forms in which a ridge problem is given its kernel.

They are a Gram matrix in memory, and features of a linear kernel; `stored` has a Gram matrix in a
store. The notation is that of `rmtgen.ridge`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rmtgen.checks import finite_matrix, largest_entry, square_matrix
from rmtgen.errors import UsageError
from rmtgen.linalg.modes import Modes, feature_modes, gram_modes, symmetrised
from rmtgen.linalg.rows import Matrix, first, gathered

SAFE = 200
"""Largest exponent of two of K, up or down, at which K is used as it is: fourth powers fit."""
ROWS = 1024
"""Number of samples whose features are converted to float64 at a time."""


def _test_block(
    train: Tensor, test: np.ndarray | Tensor | None, name: str, rule: str, cure: str
) -> Tensor | None:
    if test is None:
        return None
    test = finite_matrix(test, name).to(train.device)
    if test.shape[1] != train.shape[1]:
        raise UsageError(
            f"{name} {rule}: expected (m, {train.shape[1]}), got {tuple(test.shape)}. {cure}"
        )
    return test


@dataclass(frozen=True, eq=False)
class _InMemory:
    """Blocks in memory: what a Gram matrix and features have in common."""

    train: Matrix
    test: Float[Tensor, "m _"] | None

    power = 1
    """Power of the entries that K is: 1 of a Gram matrix, 2 of features."""
    budget: float = math.inf
    """Number of bytes that a solver may take; infinite: all that are available."""
    spill: Path | None = None
    """Folder for what a solver cannot hold; None: there is none."""
    probes: int = 16
    """Number of random sign vectors in estimates of a trace."""
    seed: int = 0
    """Seed of the signs."""

    @property
    def device(self) -> torch.device:
        """Device on which the work runs."""
        return self.train.device

    @property
    def tests(self) -> int | None:
        """m, None without test samples."""
        return None if self.test is None else len(self.test)

    def __len__(self) -> int:
        """N, the number of samples in the pool."""
        return len(self.train)

    def unit(self) -> float:
        """A power of two by which K can be divided to keep squares of it, and of its inverse.

        It is 1 unless K is tiny or huge.
        """
        largest = max(largest_entry(rows) for rows in self.train.split(ROWS))
        exponent = math.frexp(largest)[1] * self.power
        return 1.0 if abs(exponent) <= SAFE else 2.0 ** (exponent // 2 * 2)

    def over(self, unit: float) -> "_InMemory":
        """K/u in float64, for u an even power of two."""
        factor = unit ** (-1 / self.power)
        blocks = (self.train, self.test)
        scaled = [None if block is None else block[:].double() * factor for block in blocks]
        return replace(self, **dict(zip(("train", "test"), scaled, strict=True)))


@dataclass(frozen=True, eq=False)
class GramKernel(_InMemory):
    """K of the pool and k(test, pool), each in its own precision."""

    @classmethod
    def checked(
        cls,
        gram: np.ndarray | Tensor,
        test: np.ndarray | Tensor | None,
        budget: float = math.inf,
    ) -> "GramKernel":
        """Finite blocks on the device of `gram`.

        Raises:
            UsageError: Shapes that do not fit.
            NumericalError: Entries that are not finite.
        """
        train = square_matrix(gram, "gram", cure="Pass the test rows as test_gram.")
        rule, cure = (
            "needs one column per training sample",
            "Build both blocks from one split: `rmtgen gram`.",
        )
        return cls(train, _test_block(train, test, "test_gram", rule, cure), budget)

    @property
    def single(self) -> bool:
        """Whether K was rounded to float32."""
        return self.train.dtype == torch.float32

    def chosen(self, order: Int64[Tensor, " n"]) -> "GramKernel":
        """The kernel of some samples of the pool, a copy of their entries."""
        test = None if self.test is None else self.test[:, order]
        return replace(self, train=self.train[order[:, None], order], test=test)

    def diagonal(self) -> Float64[Tensor, " N"]:
        """K_ii of the pool."""
        return self.train.diagonal().double()

    def block(self, most: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"] | None]:
        """K of the first n ≤ `most` samples, and k(test) of the first m ≤ `most`."""
        return self.train[:most, :most], None if self.test is None else self.test[:most, :most]

    def modes(self, n: int, intercept: bool) -> Modes:
        """Modes of the first n samples."""
        return gram_modes(self.train[:n, :n], intercept=intercept)

    def symmetric(self, n: int) -> Float64[Tensor, "n n"]:
        """(K + Kᵀ)/2 of the first n samples, a new matrix.

        Raises:
            NumericalError: K is not symmetric to rounding.
        """
        return symmetrised(self.train[:n, :n])

    def multiply(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        """K of the first n samples times `columns`."""
        return times(self.train[: len(columns), : len(columns)], columns)

    def multiply_tests(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "m b"]:
        """k(test, pool) of the first n samples times `columns`."""
        return times(self.test[:, : len(columns)], columns)

    def test_block(self, n: int) -> Float64[Tensor, "n m"]:
        """k(pool, test) of the first n samples."""
        return self.test[:, :n].double().mT

    def test_scores(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U and k(test)Y₀, the test samples' part of both terms of GY.

        K and k(test) are blocks of one positive semidefinite matrix, so that the second vanishes in
        exact arithmetic. What modes below the tolerance leave of it is kept. Rounding is set to 0:
        a small δ would amplify it.
        """
        n = modes.n
        rows = self.test[:, :n].double()
        noise = (
            max(n, 10)
            * torch.finfo(self.test.dtype).eps
            * rows.norm(dim=1)[:, None]
            * null_part.norm(dim=0)
        )
        if modes.intercept:
            rows = rows - self.train[:n, :n].mean(dim=0, dtype=torch.float64)
            rows = rows.sub_(rows.mean(dim=1, keepdim=True))
        null_scores = rows @ null_part
        return rows @ modes.vectors, null_scores.where(null_scores.abs() > noise, 0.0)


@dataclass(frozen=True, eq=False)
class FeatureKernel(_InMemory):
    """X of the pool and of the test set; K = XXᵀ is never formed.

    The rows of the pool are read in blocks where the whole would be a copy: they may lie in a
    mapped file, in another order.
    """

    @classmethod
    def checked(
        cls,
        features: np.ndarray | Tensor,
        test: np.ndarray | Tensor | None,
        budget: float = math.inf,
        spill: Path | None = None,
    ) -> "FeatureKernel":
        """Finite blocks on the device of `features`.

        Raises:
            UsageError: Shapes that do not fit.
            NumericalError: Entries that are not finite.
        """
        train = finite_matrix(features, "features")
        rule, cure = "need the train features' width", "Extract both with one backbone."
        return cls(train, _test_block(train, test, "test_features", rule, cure), budget, spill)

    power = 2
    single = False
    """K is that of the features as given, whatever their type."""

    def chosen(self, order: Int64[Tensor, " n"]) -> "FeatureKernel":
        """The kernel of some samples of the pool; their rows are not copied."""
        return replace(self, train=gathered(self.train, order))

    def diagonal(self) -> Float64[Tensor, " N"]:
        """K_ii of the pool."""
        return torch.cat([rows.double().square().sum(dim=1) for rows in self.train.split(ROWS)])

    def block(self, most: int) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, "m n"] | None]:
        """K of the first n ≤ `most` samples, and k(test) of the first m ≤ `most`."""
        rows = self.train[:most].double()
        tests = None if self.test is None else self.test[:most].double() @ rows.mT
        return rows @ rows.mT, tests

    def modes(self, n: int, intercept: bool) -> Modes:
        """Modes of the first n samples."""
        return feature_modes(self.train[:n], intercept=intercept)

    def symmetric(self, n: int) -> Float64[Tensor, "n n"]:
        """K = XXᵀ of the first n samples, in float64."""
        rows = self.train[:n].double()
        return rows @ rows.mT

    def panel(self, low: int, out: Float64[Tensor, "b high"]) -> None:
        """Fill in rows low … high of K up to the diagonal, high = low + b."""
        left = self.train[low : out.shape[1]].double()
        for start in range(0, out.shape[1], ROWS):
            part = out[:, start : start + ROWS]
            torch.mm(left, self.train[start : start + part.shape[1]].double().mT, out=part)

    def panel_bytes(self, rows: int) -> int:
        """Number of bytes that a panel of so many rows takes beside itself."""
        return 8 * self.train.shape[1] * (rows + ROWS)

    def identity(self, n: int) -> str:
        """Digest of the first n samples, and of those of the test set."""
        return digest_of([first(self.train, n), *([] if self.test is None else [self.test])])

    def multiply(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "n b"]:
        """K of the first n samples times `columns`."""
        return times(first(self.train, len(columns)), self._weights(columns))

    def multiply_tests(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "m b"]:
        """k(test, pool) of the first n samples times `columns`."""
        return times(self.test, self._weights(columns))

    def _weights(self, columns: Float64[Tensor, "n b"]) -> Float64[Tensor, "p b"]:
        """Xᵀ times `columns`."""
        weights = columns.new_zeros(self.train.shape[1], columns.shape[1])
        for rows, part in zip(self.train.split(ROWS), columns.split(ROWS), strict=False):
            weights.addmm_(rows[: len(part)].double().mT, part)
        return weights

    def test_block(self, n: int) -> Float64[Tensor, "n m"]:
        """k(pool, test) of the first n samples, in float64."""
        return self.train[:n].double() @ self.test.double().mT

    def test_scores(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U = X_test V diag(σ), and 0: features have no component in the null space."""
        rows = self.test.double()
        if modes.intercept:
            rows = rows - self.train[: modes.n].mean(dim=0, dtype=torch.float64)
        return (rows @ modes.feature_vectors) * modes.values.sqrt(), null_part.new_zeros(
            len(rows), null_part.shape[1]
        )


def times(matrix: Matrix, columns: Float64[Tensor, "c b"]) -> Float64[Tensor, "r b"]:
    """A product in float64, a few rows of the matrix at a time."""
    return torch.cat([rows.double() @ columns for rows in matrix.split(ROWS)])


def digest_of(matrices: Sequence[Matrix]) -> str:
    """Digest of some matrices, with their types and shapes."""
    hasher = blake2b(digest_size=16)
    for matrix in matrices:
        hasher.update(f"{matrix.dtype} {tuple(matrix.shape)}".encode())
        for rows in matrix.split(ROWS):
            hasher.update(rows.contiguous().view(-1).view(torch.uint8).numpy())
    return hasher.hexdigest()
