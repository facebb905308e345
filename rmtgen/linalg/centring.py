"""Exact removal of the direction 1, which is what an unpenalised intercept does to a problem.

A reflection maps 1/√n to the first coordinate, which is then dropped: n samples leave n − 1
directions. What remains of K is EᵀKE, the matrix of HKH on the complement of 1, where
H = I − 11ᵀ/n and E is an orthonormal basis of that complement. HKH itself has 1 as one more null
direction, which rounding mixes with those of K.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float64
from torch import Tensor


def centred_matrix_(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """HKH of a symmetric K, which is overwritten."""
    means = matrix.mean(dim=0)
    return matrix.sub_(means[:, None]).sub_(means).add_(means.mean())


def reduced_matrix_(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, "n_eff n_eff"]:
    """EᵀKE of a symmetric K, which is overwritten; a view of it whose rows are not adjacent."""
    # EᵀKE = EᵀHKHE: a large mean cancels in HKH, entry by entry, and not in the reflection
    matrix = centred_matrix_(matrix)
    return reflected_matrix_(matrix, _reflector(matrix))[1:, 1:]


def restored_matrix(matrix: Float64[Tensor, "n_eff n_eff"]) -> Float64[Tensor, "n n"]:
    """EAEᵀ of a symmetric A."""
    whole = matrix.new_zeros(len(matrix) + 1, len(matrix) + 1)
    whole[1:, 1:] = matrix
    return reflected_matrix_(whole, _reflector(whole))


def reflected_matrix_(
    matrix: Float64[Tensor, "n n"], vector: Float64[Tensor, " n"]
) -> Float64[Tensor, "n n"]:
    """RAR of a symmetric A, which is overwritten, with R = I − 2vvᵀ and v a unit vector."""
    # (I − 2vvᵀ)A(I − 2vvᵀ) = A − 2vwᵀ − 2wvᵀ with w = Av − v(vᵀAv)
    image = matrix @ vector
    image -= vector * (vector @ image)
    return matrix.addr_(vector, image, alpha=-2).addr_(image, vector, alpha=-2)


def reduced(columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n_eff c"]:
    """Eᵀ times `columns`."""
    vector = _reflector(columns)
    return columns[1:] - torch.outer(2 * vector[1:], vector @ columns)


def restored(columns: Float64[Tensor, "n_eff c"]) -> Float64[Tensor, "n c"]:
    """E times `columns`; every column of the result sums to 0."""
    whole = torch.cat([columns.new_zeros(1, columns.shape[1]), columns])
    vector = _reflector(whole)
    return whole.addr_(vector, vector @ whole, alpha=-2)


def restored_rows(
    frame: Float64[Tensor, "n_eff n_eff"], size: int
) -> Iterator[Float64[Tensor, "b n_eff"]]:
    """The n rows of E times `frame`, at most `size` at a time; no second matrix is formed."""
    vector = _reflector(frame.new_empty(len(frame) + 1, 0))
    image = vector[1:] @ frame
    yield -2 * vector[:1, None] * image
    for low in range(0, len(frame), size):
        rows = frame[low : low + size]
        yield torch.addr(rows, vector[1 + low : 1 + low + size], image, alpha=-2)


def _reflector(like: Float64[Tensor, "n c"]) -> Float64[Tensor, " n"]:
    """Unit v with (I − 2vvᵀ)·1/√n = −e₁."""
    vector = like.new_full((len(like),), len(like) ** -0.5)
    vector[0] += 1
    return vector / vector.norm()
