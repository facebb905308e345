"""The two forms in which a ridge problem is handed its kernel: a Gram matrix, or features of a linear kernel.

The notation is that of `rmtgen.ridge`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.errors import UsageError
from rmtgen.spectrum import Modes, feature_modes, gram_modes, symmetrised
from rmtgen.targets import finite_matrix


def _test_block(train: Tensor, test: np.ndarray | Tensor | None, name: str, rule: str, cure: str) -> Tensor | None:
    if test is None:
        return None
    test = finite_matrix(test, name).to(train.device)
    if test.shape[1] != train.shape[1]:
        raise UsageError(f"{name} {rule}: expected (m, {train.shape[1]}), got {tuple(test.shape)}. {cure}")
    return test


@dataclass(frozen=True, eq=False)
class GramKernel:
    """K of the pool and k(test, pool), each in its own precision."""

    train: Float[Tensor, "N N"]
    test: Float[Tensor, "m N"] | None

    @classmethod
    def checked(cls, gram: np.ndarray | Tensor, test: np.ndarray | Tensor | None) -> "GramKernel":
        """Finite blocks on the device of `gram`.

        Raises:
            UsageError: Shapes that make no sense.
            NumericalError: Entries that are not finite.
        """
        train = finite_matrix(gram, "gram")
        n = len(train)
        if train.shape != (n, n):
            raise UsageError(
                f"gram must be square: expected ({n}, {n}), got {tuple(train.shape)}. Pass the test rows as test_gram."
            )
        rule, cure = "needs one column per training sample", "Build both blocks from one split: `make gram`."
        return cls(train, _test_block(train, test, "test_gram", rule, cure))

    def modes(self, n: int, intercept: bool) -> Modes:
        """The eigen-modes of the first n samples."""
        return gram_modes(self.train[:n, :n], intercept=intercept)

    def symmetric(self, n: int) -> Float64[Tensor, "n n"]:
        """(K + Kᵀ)/2 of the first n samples, a matrix of its own.

        Raises:
            NumericalError: K is not symmetric to rounding.
        """
        return symmetrised(self.train[:n, :n])

    def across(self, n: int) -> Float64[Tensor, "n m"]:
        """k(pool, test) of the first n samples."""
        return self.test[:, :n].double().mT

    def onto(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U and k(test)Y₀, the test samples' part of both terms of GY.

        K and k(test) are blocks of one positive semidefinite matrix, so the latter vanishes in exact arithmetic. What
        modes below the tolerance leave of it is kept, but rounding is set to 0, or a small δ would blow it up.
        """
        n = modes.n
        rows = self.test[:, :n].double()
        noise = 10 * torch.finfo(self.test.dtype).eps * rows.norm(dim=1)[:, None] * null_part.norm(dim=0)
        if modes.intercept:
            rows = rows - self.train[:n, :n].mean(dim=0, dtype=torch.float64)
            rows = rows.sub_(rows.mean(dim=1, keepdim=True))
        null_scores = rows @ null_part
        return rows @ modes.vectors, null_scores.where(null_scores.abs() > noise, 0.0)


@dataclass(frozen=True, eq=False)
class FeatureKernel:
    """X of the pool and of the test set; K = XXᵀ is never formed."""

    train: Float[Tensor, "N p"]
    test: Float[Tensor, "m p"] | None

    @classmethod
    def checked(cls, features: np.ndarray | Tensor, test: np.ndarray | Tensor | None) -> "FeatureKernel":
        """Finite blocks on the device of `features`.

        Raises:
            UsageError: Shapes that make no sense.
            NumericalError: Entries that are not finite.
        """
        train = finite_matrix(features, "features")
        rule, cure = "need the train features' width", "Extract both with one backbone."
        return cls(train, _test_block(train, test, "test_features", rule, cure))

    def modes(self, n: int, intercept: bool) -> Modes:
        """The eigen-modes of the first n samples."""
        return feature_modes(self.train[:n], intercept=intercept)

    def symmetric(self, n: int) -> Float64[Tensor, "n n"]:
        """K = XXᵀ of the first n samples, in float64."""
        rows = self.train[:n].double()
        return rows @ rows.mT

    def across(self, n: int) -> Float64[Tensor, "n m"]:
        """k(pool, test) of the first n samples, in float64."""
        return self.train[:n].double() @ self.test.double().mT

    def onto(
        self, modes: Modes, null_part: Float64[Tensor, "n c"]
    ) -> tuple[Float64[Tensor, "m r"], Float64[Tensor, "m c"]]:
        """k(test)U = X_test V diag(σ), and 0: features have no component in the null space."""
        rows = self.test.double()
        if modes.intercept:
            rows = rows - self.train[: modes.n].mean(dim=0, dtype=torch.float64)
        return (rows @ modes.feature_vectors) * modes.values.sqrt(), null_part.new_zeros(len(rows), null_part.shape[1])
