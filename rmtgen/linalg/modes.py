"""The modes of a Gram matrix, from the matrix or from the features.

Notation: n samples, p features, c outputs, r modes kept, b problems. K = XXᵀ is not divided by n.
Everything here is float64; a float32 Gram matrix is promoted, and its own rounding sets the rank
tolerance.

An unpenalised intercept is double centring. With G = (K + nλI)⁻¹ and w = G1, residuals come from
P = G − wwᵀ/(1ᵀw), the pseudo-inverse of H(K + nλI)H, where H = I − 11ᵀ/n. So K is replaced by HKH
and Y by HY, and the direction 1 leaves the problem (`centring`): n_eff = n − 1.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rmtgen.checks import as_tensor, finite_matrix, largest_entry, square_matrix, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.centring import reduced_matrix_, restored
from rmtgen.linalg.rows import Matrix, Rows
from rmtgen.linalg.verified import MEMORY, Eigenpairs, factored, symmetric_eigh
from rmtgen.scalars import flag

EPS32 = torch.finfo(torch.float32).eps
EPS64 = torch.finfo(torch.float64).eps
SAFE = 200
"""Largest exponent of two of features, up or down, at which they are decomposed as they are."""
ROWS = 256
"""Number of rows that are symmetrised at a time."""
ROWS_AT_ONCE = 1024
"""Number of rows of float32 modes in a product: they stay in a cache until they are float64."""
TARGET_ROWS = 4096
"""Number of rows of targets that are made at a time."""


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of K above the rank tolerance; K is double-centred with an intercept.

    Attributes:
        values: Eigenvalues, descending.
        vectors: Eigenvectors U, float64; float32 for `tall_modes`.
        intercept: Whether there is an unpenalised intercept.
        tolerance: Eigenvalue at or below which a direction counts as null.
        residual: Relative misfit of the decomposition, accepted.
        orthogonality: Relative departure of U from orthonormality, accepted.
        feature_vectors: Right singular vectors, for modes from features.
        untruncated: All n_eff values and vectors, for a float32 Gram matrix: below its coarse
            tolerance lies rounding, or the tail of the kernel.
    """

    values: Float64[Tensor, " r"]
    vectors: Float[Tensor, "n r"]
    intercept: bool
    tolerance: float
    residual: float
    orthogonality: float
    feature_vectors: Float64[Tensor, "p r"] | None = None
    untruncated: tuple[Float64[Tensor, " n_eff"], Float64[Tensor, "n n_eff"]] | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.vectors.shape[0]

    @property
    def n_eff(self) -> int:
        """Number of directions that the ridge acts on: n, less one for an intercept."""
        return self.n - self.intercept

    @property
    def null_dim(self) -> int:
        """Dimension n_eff − r of the null space of K."""
        return self.n_eff - len(self.values)

    def times(self, columns: Float64[Tensor, "r k"]) -> Float[Tensor, "n k"]:
        """U times columns, in the precision of U."""
        columns = columns.to(self.vectors.dtype)
        if self.vectors.dtype == torch.float64:
            return self.vectors @ columns
        found = columns.new_empty(self.n, columns.shape[1])
        for rows, part in zip(
            self.vectors.split(ROWS_AT_ONCE), found.split(ROWS_AT_ONCE), strict=True
        ):
            torch.mm(rows, columns, out=part)
        return found

    def onto(self, columns: Float[Tensor, "n k"]) -> Float64[Tensor, "r k"]:
        """Uᵀ times columns, in the precision of U but for sums over many samples."""
        if self.vectors.dtype == torch.float64:
            return self.vectors.mT @ columns
        total = self.values.new_zeros(self.vectors.shape[1], columns.shape[1])
        for rows, part in zip(
            self.vectors.split(TARGET_ROWS), columns.split(TARGET_ROWS), strict=True
        ):
            total += rows.mT @ part.to(rows.dtype)
        return total

    @public
    def at(self, sum_ridge: float) -> "Modes":
        """The modes for a sum ridge δ: the untruncated ones above the tolerance.

        There K + δI is definite whatever the rounding of K.
        """
        if self.untruncated is None or sum_ridge <= self.tolerance:
            return self
        return dataclasses.replace(
            self, values=self.untruncated[0], vectors=self.untruncated[1], untruncated=None
        )

    @public
    def split(
        self, targets: np.ndarray | Tensor
    ) -> tuple[Float64[Tensor, "r c"], Float64[Tensor, "n c"]]:
        """Y ↦ (UᵀY, Y − UUᵀY): coefficients in the modes, and the part in the null space.

        Y is centred first when there is an intercept. Without a null space the second is exactly 0.

        Args:
            targets: Y (n,) or (n, c) of the n samples.

        Returns:
            Coefficients (r, c) and null part (n, c), on the device of the modes.

        Raises:
            UsageError: The number of targets is not that of the samples.
            NumericalError: Targets that are not finite.
        """
        targets = self.matched(targets)
        if self.intercept:
            targets = targets - targets.mean(dim=0)
        coefficients = self.onto(targets)
        null_part = (
            targets - self.times(coefficients) if self.null_dim else torch.zeros_like(targets)
        )
        return coefficients, null_part

    def matched(self, targets: np.ndarray | Tensor) -> Float64[Tensor, "n c"]:
        """Targets (n,) or (n, c) as a float64 matrix on the device of the modes.

        Raises:
            UsageError: The number of targets is not that of the samples.
            NumericalError: Targets that are not finite.
        """
        targets = target_matrix(targets).to(self.vectors.device)
        if len(targets) != self.n:
            raise UsageError(
                f"targets must match the modes: expected {self.n} rows, got {len(targets)}. Slice"
                " both to one size."
            )
        return targets

    def centre(self, targets: Matrix) -> Float64[Tensor, " c"]:
        """What an intercept takes off the targets (n, c), their mean; 0 without one."""
        means = self.values.new_zeros(targets.shape[1])
        if self.intercept:
            means = sum((part.sum(dim=0) for part in targets.split(TARGET_ROWS)), means) / self.n
        return means

    def powers(self, targets: np.ndarray | Tensor | Rows) -> tuple[Float64[Tensor, "r c"], float]:
        """Coefficients of Y as from `split`, and the energy of its part in the null space."""
        if isinstance(targets, Rows):
            coefficients, parts = self.split_rows(targets)
            return coefficients, sum(part.square().sum().item() for _, part in parts)
        coefficients, null_part = self.split(targets)
        return coefficients, null_part.square().sum().item()

    def split_rows(
        self, targets: Matrix
    ) -> tuple[Float64[Tensor, "r c"], Iterator[tuple[slice, Float64[Tensor, "b c"]]]]:
        """`split` of targets that fit, without an n×c matrix: the null part comes in blocks.

        Args:
            targets: Y (n, c), float64, on the device of the modes.

        Returns:
            Coefficients (r, c), and places and rows of the null part in turn.
        """
        starts = range(0, self.n, TARGET_ROWS)
        places = [slice(start, min(start + TARGET_ROWS, self.n)) for start in starts]
        means = self.centre(targets)
        coefficients = self.values.new_zeros(len(self.values), targets.shape[1])
        for place in places:
            part = (targets[place] - means).to(self.vectors.dtype)
            coefficients += self.vectors[place].mT @ part
        return coefficients, (
            (place, self.null_rows(place, targets[place] - means, coefficients)) for place in places
        )

    def null_rows(
        self,
        place: slice | Int64[Tensor, " b"],
        rows: Float64[Tensor, "b c"],
        coefficients: Float64[Tensor, "r c"],
    ) -> Float64[Tensor, "b c"]:
        """The null part of targets of some samples, which are less `centre`, from UᵀY."""
        if not self.null_dim:
            return torch.zeros_like(rows)
        return rows - (self.vectors[place] @ coefficients.to(self.vectors.dtype)).double()

    @public
    def null_leverage(self) -> Float64[Tensor, " n"]:
        """Diagonal of the projector on the null space, 1 − Σ_k U_ik².

        With an intercept it is less by 1/n. Rounding, what is at most 10·n·ε, is set to 0.
        """
        return self._null_leverage

    @cached_property
    def _null_leverage(self) -> Float64[Tensor, " n"]:
        if not self.null_dim:
            return self.values.new_zeros(self.n)
        return null_diagonal(self.vectors, self.intercept / self.n)


def null_diagonal(
    vectors: Float[Tensor, "n r"], removed: float | Float64[Tensor, " n"]
) -> Float64[Tensor, " n"]:
    """Diagonal of the projector on what neither the modes nor an intercept span.

    Args:
        vectors: U.
        removed: What an intercept takes of each entry, the square of its unit vector there; 0
            without one.

    Returns:
        1 − removed − Σ_k U_ik², where that is more than rounding, 10·n·ε; else 0.
    """
    squares = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64).square()
    left = 1 - removed - squares
    return left.where(left > 10 * len(vectors) * EPS64, 0.0)


@public
def gram_modes(
    gram: np.ndarray | Tensor, *, intercept: bool = False, memory: int = MEMORY
) -> Modes:
    """Modes of one Gram matrix: K = U diag(s) Uᵀ, s > tolerance.

    The tolerance is ε·s_max with ε = 10·eps32 for a float32 matrix and max(n, 10)·eps64 for
    float64, s_max that of K before centring, since that is what its rounding scales with. Peak
    memory is about five float64 matrices n×n.

    Args:
        gram: K (n, n), symmetric and positive semidefinite up to rounding, float32 or float64;
            solved on its device.
        intercept: Double-centre K, which is an unpenalised intercept in the regression.
        memory: Bytes for `symmetric_eigh`.

    Returns:
        The modes.

    Raises:
        UsageError: Not square, or of another type.
        NumericalError: Non-finite, asymmetric, or indefinite beyond rounding; or the eigensolve
            failed, or its check.
    """
    return _modes([as_tensor(gram, "gram")], flag(intercept, "intercept"), memory)[0]


@public
def gram_modes_batch(
    grams: Float[Tensor, "b n n"], intercept: bool = False, *, memory: int = MEMORY
) -> list[Modes]:
    """`gram_modes` of several Gram matrices of one size.

    Where that pays, one call solves as many of them as fit `memory` bytes.
    """
    return _modes(list(grams), intercept, memory)


def _modes(grams: list[Tensor], intercept: bool, memory: int) -> list[Modes]:
    matrices, mean_energies = zip(*(_prepare(gram, intercept) for gram in grams), strict=True)
    batch = matrices[0][None] if len(matrices) == 1 else torch.stack(matrices)
    systems = symmetric_eigh(batch, mean_energies, memory=memory)
    single = grams[0].dtype == torch.float32
    return [
        _truncated(*pair, single, intercept) for pair in zip(systems, mean_energies, strict=True)
    ]


def symmetrised(gram: Float[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """(K + Kᵀ)/2 in float64, one block of rows at a time.

    Raises:
        NumericalError: K is further from symmetric than rounding of its type.
    """
    matrix = torch.empty(gram.shape, dtype=torch.float64, device=gram.device)
    asymmetry = largest = 0.0
    for low in range(0, len(gram), ROWS):
        rows, columns = gram[low : low + ROWS].double(), gram[:, low : low + ROWS].double().mT
        asymmetry = max(asymmetry, (rows - columns).abs().max().item())
        largest = max(largest, rows.abs().max().item())
        torch.add(rows, columns, out=matrix[low : low + ROWS]).div_(2)
    allowed = 1000 * torch.finfo(gram.dtype).eps * largest
    if asymmetry > allowed:
        raise NumericalError(
            f"gram must be symmetric: expected max |K - Kᵀ| <= {allowed:.3g}, got {asymmetry:.3g}"
            f" (max |K| = {largest:.3g}, {gram.dtype}). Check that rows and columns are the same"
            " images in the same order."
        )
    return matrix


def _prepare(gram: Tensor, intercept: bool) -> tuple[Float64[Tensor, "n_eff n_eff"], float]:
    """K symmetrised in float64, with 0; or EᵀKE for an intercept, with 1ᵀK1/n, which it removes."""
    gram = square_matrix(gram, "gram", cure="Pass the train block alone.")
    matrix = symmetrised(gram)
    if not intercept:
        return matrix, 0.0
    mean_energy = matrix.mean(dim=0).sum().item()
    return reduced_matrix_(matrix), mean_energy


def _truncated(system: Eigenpairs, mean_energy: float, single: bool, intercept: bool) -> Modes:
    values, n = system.values, len(system.values) + intercept
    largest = torch.linalg.vector_norm(values, ord=torch.inf).item() if len(values) else 0.0
    tolerance = rounding(n, single) * max(largest, mean_energy)
    if len(values) and values[0] < -tolerance:
        raise indefinite(values[0].item(), values[-1].item(), n, tolerance)
    rank = int((values > tolerance).sum())
    values, vectors = values.flip(0), system.vectors.flip(1)
    vectors = restored(vectors) if intercept else vectors
    untruncated = (values, vectors) if single else None
    checks = system.residual, system.orthogonality
    return Modes(
        values[:rank], vectors[:, :rank], intercept, tolerance, *checks, untruncated=untruncated
    )


def rounding(n: int, single: bool) -> float:
    """Rank tolerance of a Gram matrix n×n, relative to its largest eigenvalue.

    Args:
        n: Number of samples.
        single: Whether the matrix was rounded to float32.
    """
    return 10 * EPS32 if single else max(n, 10) * EPS64


def indefinite(smallest: float, largest: float, n: int, tolerance: float) -> NumericalError:
    """The error for a Gram matrix whose extreme eigenvalues are `smallest` and `largest`."""
    return NumericalError(
        f"gram must be positive semidefinite: expected eigenvalues >= {-tolerance:.3g}, got"
        f" {smallest:.3g} (the largest is {largest:.3g}, n = {n}). Recompute it in float64, or add"
        f" {-smallest:.3g} to its diagonal: that is a ridge of {-smallest / n:.3g}."
    )


@public
def feature_modes(features: np.ndarray | Tensor, *, intercept: bool = False) -> Modes:
    """Modes of K = XXᵀ from a thin SVD X = U diag(σ) Vᵀ, values s = σ².

    A QR factorisation of the taller orientation leaves a square of side min(n, p) for the SVD.
    Neither XXᵀ nor XᵀX is formed, which would square the condition number: singular values count
    down to max(n, p)·eps64 of the largest (of X before centring). Peak memory is about three
    float64 matrices n×p.

    Args:
        features: X (n, p), one row per sample, float32 or float64; computed in float64 on their
            device.
        intercept: Subtract the mean feature vector, which is an unpenalised intercept in the
            regression.

    Returns:
        The modes, with `feature_vectors` V (p, r).

    Raises:
        UsageError: Not a matrix, or of another type.
        NumericalError: Non-finite features; or a factorisation that failed or its check refused.
    """
    matrix, intercept = finite_matrix(features, "features").double(), flag(intercept, "intercept")
    n, p = matrix.shape
    matrix, unit = _in_range(matrix)
    means = matrix.mean(dim=0) if intercept else matrix.new_zeros(p)
    left, singular, right, residual, orthogonality = factored(
        matrix - means if intercept else matrix
    )
    cutoff = max(n, p) * EPS64 * max(singular[0].item(), n**0.5 * means.norm().item())
    rank = min(int((singular > cutoff).sum()), n - intercept)
    kept = (unit * singular[:rank]).square(), left[:, :rank]
    tolerance = (unit * cutoff) ** 2
    return Modes(*kept, intercept, tolerance, residual, orthogonality, right[:, :rank])


def _in_range(matrix: Float64[Tensor, "n p"]) -> tuple[Float64[Tensor, "n p"], float]:
    """The matrix over a power of two, and that power: 1 unless its squares strain float64."""
    exponent = math.frexp(largest_entry(matrix))[1]
    unit = 1.0 if abs(exponent) <= SAFE else 2.0**exponent
    return (matrix if unit == 1 else matrix / unit), unit
