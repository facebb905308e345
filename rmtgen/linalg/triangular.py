"""Cholesky factors and inverses of triangles in place, in blocks of rows and columns.

Everything consists of products of large blocks, on a CPU as on CUDA. Above the diagonal a factor
may hold anything: no function here reads it.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

BLOCK = 256
"""Number of rows of R = L⁻¹ that are made at a time: enough for products at full speed."""
STRIP = 1024
"""Number of columns of a triangle that are multiplied at a time; only within a strip are the zeros
beside the diagonal multiplied."""
POWER_STEPS = 12
"""Number of steps of the power iteration."""


def cholesky_(matrix: Float64[Tensor, "n n"]) -> bool:
    """Overwrite a symmetric matrix A = LLᵀ with its Cholesky factor L; whether A is definite.

    LAPACK stores a matrix by columns. It factors the transpose of a matrix stored by rows in place,
    as UᵀU with U = Lᵀ. A matrix whose rows are not adjacent in memory is copied once.

    Args:
        matrix: A, of which the lower triangle is read.

    Returns:
        Whether A is positive definite; where it is not, `matrix` holds nothing of use.
    """
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(matrix.mT, upper=True, out=(matrix.mT, info))
    return info.item() == 0 and bool(matrix.diagonal().isfinite().all())


def invert_rows_(factor: Float64[Tensor, "n n"], low: int, high: int) -> None:
    """Turn rows low … high of L into those of R = L⁻¹; the rows above are those of R already.

    From LR = I the rows b of R are −L_bb⁻¹ L_ba R_a, a the rows above, and L_bb⁻¹.
    """
    corner = torch.linalg.solve_triangular(
        factor[low:high, low:high].tril(),
        torch.eye(high - low, dtype=factor.dtype, device=factor.device),
        upper=False,
    )
    rows = factor[low:high, :low].clone()
    for start in range(0, low, STRIP):
        stop = min(start + STRIP, low)
        strip = rows[:, stop:] @ factor[stop:low, start:stop]
        strip += rows[:, start:stop] @ factor[start:stop, start:stop].tril()
        factor[low:high, start:stop] = corner @ strip
    factor[low:high, :low].neg_()
    factor[low:high, low:high] = corner


def lower_products(
    inverse: Float64[Tensor, "n n"], low: int, high: int
) -> Float64[Tensor, "b high"]:
    """Products of rows low … high of a lower triangle with all rows up to `high`.

    Args:
        inverse: The triangle R; rows low … high are zero above its diagonal.
        low: First row.
        high: Row after the last.
    """
    products = inverse.new_empty(high - low, high)
    for start in range(0, high, STRIP):
        stop = min(start + STRIP, high)
        left, right = inverse[low:high], inverse[start:stop]
        part = products[:, start:stop]
        torch.mm(left[:, start:stop], right[:, start:stop].tril().mT, out=part)
        part.addmm_(left[:, :start], right[:, :start].mT)
    return products


def inverse_norm(factor: Float64[Tensor, "n n"]) -> float:
    """The largest singular value of L⁻¹ by power iteration on (LLᵀ)⁻¹.

    It is a lower bound, usually within a few per cent.
    """
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(len(factor), 1, generator=generator, dtype=torch.float64).to(factor.device)
    norm = vector.new_zeros(())
    for _ in range(POWER_STEPS):
        vector /= vector.norm()
        vector = torch.linalg.solve_triangular(factor, vector, upper=False)
        norm = vector.norm()
        vector = torch.linalg.solve_triangular(factor.mT, vector, upper=True)
    return norm.item()
