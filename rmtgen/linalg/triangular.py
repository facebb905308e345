"""Dense triangular algebra in place: a Cholesky factor, its inverse a block of rows at a time, and
products with it.

Everything is made of products of large blocks, the same on a CPU and on CUDA, in blocks of rows and
columns. Above the diagonal a factor holds whatever was there: no function here reads it.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

BLOCK = 256
"""Columns of a panel: enough for products at full speed, few enough to leave little outside them.
"""
STRIP = 1024
"""Columns of a triangle that are multiplied at a time; the zeros beside its diagonal are multiplied
within a strip only."""
_STEPS = 12


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
    """Turn rows low … high of L into those of R = L⁻¹, where the rows above are R's already:
    −L_bb⁻¹ L_b R_above, and L_bb⁻¹.
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
    """Products of rows low … high of a lower triangle, zero above its diagonal there, with all rows
    up to them.
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
    """The largest singular value of L⁻¹, from below, by power iteration: within a few per cent as a
    rule.
    """
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(len(factor), 1, generator=generator, dtype=torch.float64).to(factor.device)
    norm = vector.new_zeros(())
    for _ in range(_STEPS):
        vector /= vector.norm()
        vector = torch.linalg.solve_triangular(factor, vector, upper=False)
        norm = vector.norm()
        vector = torch.linalg.solve_triangular(factor.mT, vector, upper=True)
    return norm.item()
