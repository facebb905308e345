"""Sample weights, by a problem without weights that is equivalent.

The objective (1/n) Σ w_i‖y_i − f(x_i)‖² + λ‖f‖² is that of the samples √w_i·x_i and √w_i·y_i: with
S = diag(√w), SKS takes the place of K and SY that of Y. An intercept b adds √w_i·b to each sample,
so that it takes out the direction q = √w/‖√w‖ in place of 1/√n. The reflection R that exchanges q
and −1/√n leaves an ordinary intercept b' = −b √(Σw/n), with RSKSR and RSY.

GCV is the same in every basis, and so are f and ‖f‖². Leave-one-out is not: R takes its residuals
back to √w_i(y_i − f^(−i)(x_i)), whose mean square is (1/n) Σ w_i‖y_i − f^(−i)(x_i)‖².
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rmtgen.linalg.centring import reflected_matrix_
from rmtgen.linalg.rows import Matrix, Rows, gathered
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.stored import Kernel


@dataclass(frozen=True, eq=False)
class Reflection:
    """R = I − 2vvᵀ.

    Attributes:
        vector: v, a unit vector.
    """

    vector: Float64[Tensor, " n"]

    @classmethod
    def of(cls, root: Float64[Tensor, " n"]) -> "Reflection":
        """The one that exchanges q, along `root` > 0, and −1/√n."""
        vector = root / root.norm() + len(root) ** -0.5
        return cls(vector / vector.norm())

    def __call__(self, columns: Float64[Tensor, "n k"]) -> Float64[Tensor, "n k"]:
        """R times columns."""
        return torch.addr(columns, self.vector, self.vector @ columns, alpha=-2)


@dataclass(frozen=True, eq=False)
class Plain:
    """A problem without weights.

    Attributes:
        kernel: K, or what weights make of it.
        targets: Y, or what they make of it.
        intercept: Whether an unpenalised intercept is fitted.
        root: √w of each sample; None without weights.
        turn: R; None without weights or without an intercept.
    """

    kernel: FeatureKernel | GramKernel
    targets: Float64[Tensor, "n c"]
    intercept: bool
    root: Float64[Tensor, " n"] | None = None
    turn: Reflection | None = None

    @classmethod
    def of(
        cls,
        kernel: FeatureKernel | GramKernel,
        targets: Float64[Tensor, "n c"],
        intercept: bool,
        weights: Float64[Tensor, " n"] | None,
    ) -> "Plain":
        """The problem that is equivalent to that of `weights` > 0; of None, the same problem.

        Raises:
            NumericalError: A Gram matrix that is not symmetric.
        """
        if weights is None:
            return cls(kernel, targets, intercept)
        root = weights.sqrt()
        turn = Reflection.of(root) if intercept else None
        targets = root[:, None] * targets
        turned = targets if turn is None else turn(targets)
        return cls(_weighted(kernel, root, turn), turned, intercept, root, turn)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def taken_back(self, columns: Float64[Tensor, "n k"]) -> Float64[Tensor, "n k"]:
        """R times columns: in the basis of the samples, each times √w."""
        return columns if self.turn is None else self.turn(columns)


class Scaled(Rows):
    """A matrix each row of which is taken times a number when it is read.

    Attributes:
        source: The matrix.
        factors: The numbers.
    """

    dtype = torch.float64

    def __init__(self, source: Matrix, factors: Float64[Tensor, " n"]):
        self.source, self.factors = source, factors
        self.shape, self.device = (source.shape[0], source.shape[1]), source.device

    def __getitem__(self, part: slice | Int64[Tensor, " k"]) -> Float64[Tensor, "k columns"]:
        return self.source[part] * self.factors[part, None]

    def chosen(self, positions: slice | Int64[Tensor, " k"]) -> "Scaled":
        """Some of the rows."""
        if isinstance(self.source, Rows):
            source: Matrix = self.source.chosen(positions)
        elif isinstance(positions, slice):
            source = self.source[positions]
        else:
            source = gathered(self.source, positions)
        return Scaled(source, self.factors[positions])


def scaled_problem(problem: Problem, root: Float64[Tensor, " n"]) -> Problem:
    """A problem without an intercept, each sample taken times √w; without test samples and classes.

    Rows of features and of targets are made as they are read.

    Args:
        problem: The problem.
        root: √w > 0.

    Raises:
        NumericalError: A Gram matrix that is not symmetric.
    """
    kernel = _without_tests(problem.kernel)
    if isinstance(kernel, FeatureKernel):
        kernel = replace(kernel, train=Scaled(kernel.train, root))
    else:
        kernel = _weighted(kernel, root, None)
    targets = Scaled(problem.targets, root)
    empty = {"test_targets": None, "code": None, "test_code": None}
    return replace(problem, kernel=kernel, targets=targets, **empty)


def _without_tests(kernel: Kernel) -> FeatureKernel | GramKernel:
    """The training samples in memory, or as they are read."""
    if isinstance(kernel, (FeatureKernel, GramKernel)):
        return replace(kernel, test=None)
    return GramKernel(kernel.symmetric(len(kernel)), None)


def _weighted(
    kernel: FeatureKernel | GramKernel, root: Float64[Tensor, " n"], turn: Reflection | None
) -> FeatureKernel | GramKernel:
    """The kernel RSKSR; that of a float32 Gram matrix is again float32, whose rounding it has."""
    if isinstance(kernel, FeatureKernel):
        rows = root[:, None] * kernel.train.double()
        return replace(kernel, train=rows if turn is None else turn(rows))
    matrix = kernel.symmetric(len(kernel)).mul_(root).mul_(root[:, None])
    if turn is not None:
        reflected_matrix_(matrix, turn.vector)
    return replace(kernel, train=matrix.to(kernel.train.dtype))
