"""Dense eigensolves and singular value decompositions, checked on random vectors, in float64.

Notation: n rows, p columns, r values, b problems, k random vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import scipy.linalg
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import NumericalError

MEMORY = 4 * 2**30
"""Bytes that a batch of eigensolves may take."""
BATCHED = 256
"""Largest n at which one call for several eigensolves pays on CUDA: on an H100 it is faster than
one call each by 15 % at n = 64, 9 % at 256 and 3 % beyond. On a CPU it never pays: 4 % at 64 and
nothing from 128 on, and last digits that depend on the memory."""
ROWS = 4096
"""Number of rows of a frame that are turned at a time."""
PROBES = 4
"""Number of random vectors that a decomposition is verified with."""
PROBE_TOLERANCE = 1e-10
"""Largest relative misfit of a probe. Sound float64 solves have 1e-16 to 1e-13; a solver that works
in float32, or returns wrong vectors, has 1e-8 and more."""
LAPACK_EVD_LIMIT = 32_767
"""Size from which LAPACK's divide and conquer overflows its 32-bit work space size 1 + 6n + 2n²."""
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """All eigenpairs of a symmetric matrix, ascending, with the relative misfits of its checks."""

    values: Float64[Tensor, " n"]
    vectors: Float64[Tensor, "n n"]
    residual: float
    orthogonality: float


def problems_per_call(n: int, memory: int, matrices: int, device: torch.device) -> int:
    """Number of eigensolves of size n for one call, more than one only where that pays.

    Args:
        n: Size of each.
        memory: Number of bytes that they may take.
        matrices: Number of float64 matrices n×n that each takes.
        device: Where they run.
    """
    if n > BATCHED or device.type != "cuda":
        return 1
    return max(1, min(memory // (8 * matrices * n * n), INT32_MAX // (n * n)))


def symmetric_eigh(
    batch: Float64[Tensor, "b n n"], removed: Sequence[float] = (), *, memory: int = MEMORY
) -> list[Eigenpairs]:
    """Verified eigenpairs of b symmetric matrices.

    On CUDA, up to n = `BATCHED`, one call takes as many problems as fit `memory` at 4 n² float64
    each (input, vectors, and 2n² of work space). On the CPU they run one by one, from n = 32,767 on
    by LAPACK's `evr`, which needs no n² of work space.

    Args:
        batch: Symmetric, finite matrices.
        removed: Eigenvalue of the direction that an intercept took from each, if any: what is left
            has rounding of that size.
        memory: Bytes the solver may use beside `batch`; one problem runs even if it needs more.

    Returns:
        All eigenpairs per matrix, values ascending.

    Raises:
        NumericalError: The solver failed, or a probe found ‖K(Uz) − U(Sz)‖ or ‖Uᵀ(Uz) − z‖ above
            1e-10, relative.
    """
    n = batch.shape[-1]
    if not n:
        return [Eigenpairs(matrix.diagonal(), matrix, 0.0, 0.0) for matrix in batch]
    solve = _eigh_evr if batch.device.type == "cpu" and n >= LAPACK_EVD_LIMIT else torch.linalg.eigh
    solved = [
        (part, *_attempt(solve, part, "eigensolve"))
        for part in batch.split(problems_per_call(n, memory, 4, batch.device))
    ]
    systems = [system for part in solved for system in zip(*part, strict=True)]
    floors = removed or [0.0] * len(systems)
    return [
        _verified(matrix, values, vectors, floor)
        for (matrix, values, vectors), floor in zip(systems, floors, strict=True)
    ]


def _eigh_evr(
    batch: Float64[Tensor, "1 n n"],
) -> tuple[Float64[Tensor, "1 n"], Float64[Tensor, "1 n n"]]:
    values, vectors = scipy.linalg.eigh(batch[0].numpy(), driver="evr", check_finite=False)
    return torch.from_numpy(values)[None], torch.from_numpy(vectors)[None]


def _attempt(solve: Callable, matrix: Tensor, what: str) -> tuple[Tensor, ...]:
    try:
        return tuple(solve(matrix))
    except (torch.linalg.LinAlgError, scipy.linalg.LinAlgError) as error:
        raise NumericalError(
            f"{what} must converge: it failed at shape {tuple(matrix.shape)} on {matrix.device}"
            f" ({error}). Run it on another device, or add to the diagonal."
        ) from error


def _verified(
    matrix: Float64[Tensor, "n n"],
    values: Float64[Tensor, " n"],
    vectors: Float64[Tensor, "n n"],
    floor: float,
) -> Eigenpairs:
    probes = _probes(vectors)
    misfit = matrix @ (vectors @ probes) - vectors @ (values[:, None] * probes)
    residual = _relative(misfit, probes, values.abs().max().clamp_min(floor))
    return Eigenpairs(values, vectors, residual, _accepted(residual, vectors))


def _probes(vectors: Float64[Tensor, "n r"]) -> Float64[Tensor, "r k"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(vectors.shape[1], PROBES, generator=generator, dtype=torch.float64).to(
        vectors.device
    )


def _relative(misfit: Tensor, probes: Tensor, scale: Tensor) -> float:
    return (
        misfit.norm() / (probes.norm() * scale).clamp_min(torch.finfo(torch.float64).tiny)
    ).item()


def _accepted(residual: float, *bases: Float64[Tensor, "_ r"]) -> float:
    """The largest departure of `bases` from orthonormality, once it and `residual` are accepted.

    Raises:
        NumericalError: Either is above the tolerance, or NaN.
    """
    departures = []
    for vectors in bases:
        probes = _probes(vectors)
        departures.append(
            _relative(vectors.mT @ (vectors @ probes) - probes, probes, probes.new_ones(()))
        )
    orthogonality = max(departures)
    if not (residual <= PROBE_TOLERANCE and orthogonality <= PROBE_TOLERANCE):
        raise NumericalError(
            "eigensolve must reproduce its matrix: expected residual and orthogonality <="
            f" {PROBE_TOLERANCE:.0e}, got {residual:.1e} and {orthogonality:.1e} (n ="
            f" {len(bases[0])}, {bases[0].device}). Run it on another device."
        )
    return orthogonality


def factored(
    matrix: Float64[Tensor, "n p"],
) -> tuple[Float64[Tensor, "n r"], Float64[Tensor, " r"], Float64[Tensor, "p r"], float, float]:
    """Verified thin singular value decomposition X = U diag(σ) Vᵀ.

    Returns:
        U, σ descending, V, and the relative residual and departure from orthonormality.

    Raises:
        NumericalError: The decomposition failed, or its check.
    """
    if matrix.shape[0] > matrix.shape[1]:
        left, singular, right = _attempt(_tall_svd, matrix, "singular value decomposition")
    else:
        right, singular, left = _attempt(_tall_svd, matrix.mT, "singular value decomposition")
    probes = _probes(matrix)
    misfit = matrix @ probes - left @ (singular[:, None] * (right.mT @ probes))
    residual = _relative(misfit, probes, singular[0])
    return left, singular, right, residual, _accepted(residual, left, right)


def _tall_svd(
    matrix: Float64[Tensor, "tall wide"],
) -> tuple[Float64[Tensor, "tall wide"], Float64[Tensor, " wide"], Float64[Tensor, "wide wide"]]:
    if len(matrix) == matrix.shape[1]:
        left, singular, right = torch.linalg.svd(matrix)
        return left, singular, right.mT
    frame, triangle = torch.linalg.qr(matrix)
    left, singular, right = torch.linalg.svd(triangle)
    for rows in frame.split(ROWS):  # in place: a product would be a third matrix of this size
        rows.copy_(rows @ left)
    return frame, singular, right.mT
