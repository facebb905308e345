"""Rows of R = L⁻¹, L the Cholesky factor of A, from the rows above them: L is never whole.

With b some rows and a all rows above, R_a the finished part,

    L_ba = A_ba R_aᵀ,    L_bb L_bbᵀ = A_bb − L_ba L_baᵀ,    R_b = L_bb⁻¹ [−L_ba R_a, I].

These are the vectors that block Gram-Schmidt makes of the unit vectors in the inner product of A.
Each strip of R_a is needed once, for two products with all rows b, so that R_a may lie on a disk: a
number that is read serves 4·b operations.

References: Smoktunowicz, Barlow & Langou 2006, A note on the error analysis of classical
Gram-Schmidt: with L_bb from this difference, R A Rᵀ is as close to I as the condition number of A
allows.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.linalg.triangular import STRIP, cholesky_

EDGE = 512
"""Number of rows of a symmetric product that are made at a time, up to the diagonal."""


def border_(
    matrix: Float64[Tensor, "b high"],
    above: Iterable[Float64[Tensor, "k _"]],
    rows: Float64[Tensor, "b high"],
) -> bool:
    """Fill in rows low … high of R, high = low + b; whether A is positive definite so far.

    Args:
        matrix: The same rows of A, read up to the diagonal.
        above: The rows of R above, in strips from the top, each without the zeros to its right.
        rows: Where the rows are put, zeros to the right of the diagonal included.
    """
    count, high = matrix.shape
    low = high - count
    corner = matrix[:, low:].clone()
    rows[:, :low].zero_()
    for strip in above:
        part = matrix[:, : strip.shape[1]] @ strip.mT  # of L_ba
        rows[:, : strip.shape[1]].addmm_(part, strip, alpha=-1)
        for start in range(0, count, EDGE):
            stop = min(start + EDGE, count)
            corner[start:stop, :stop].addmm_(part[start:stop], part[:stop].mT, alpha=-1)
    if not cholesky_(corner):
        return False
    torch.eye(count, out=rows[:, low:])
    for start in range(0, high, STRIP):
        part = rows[:, start : start + STRIP]
        part.copy_(torch.linalg.solve_triangular(corner, part, upper=False))
    return True


def products_(
    rows: Float64[Tensor, "b high"],
    above: Iterable[Float64[Tensor, "k _"]],
    out: Float64[Tensor, "b high"],
) -> None:
    """Fill in the products of rows low … high of R with all rows up to `high`.

    Args:
        rows: The rows, zeros to the right of the diagonal included.
        above: As in `border_`.
        out: Where the products are put; above the diagonal it holds anything.
    """
    count, high = rows.shape
    for strip in above:
        stop = strip.shape[1]
        torch.mm(rows[:, :stop], strip.mT, out=out[:, stop - len(strip) : stop])
    for start in range(0, count, EDGE):
        stop = min(start + EDGE, count)
        at = high - count + stop
        here = out[start:, high - count + start : at]
        torch.mm(rows[start:, :at], rows[start:stop, :at].mT, out=here)
