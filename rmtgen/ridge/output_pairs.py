"""The pairs of `interval` for many outputs at once, each on its own, by products of matrices.

One output of `interval` has, with s_i = 1/√G_ii, u = sα, q = u² and C without its diagonal,

    ℓ_i^(−j) − ℓ_i = A_ij q_i + B_ij u_i u_j + D_ij q_j,
    E = 1/(1 − C²)²,    A = s_i² C²(2 − C²)E,    B = −2 s_i² C E,    D = s_i² C² E.

Its sums over rows, over columns, of its squares and of its products with its transpose are forms in
q, u and qu whose matrices are the same for all outputs. So an output costs six products m×m with a
vector, beside the sums over m×m entries that one output alone costs.
"""

import math

from jaxtyping import Float64
from torch import Tensor

from rmtgen.ridge.interval import LEAST_SAMPLES, pair_covariance_

LEAST_APART = 1e-5
"""Value of 1 − C_ij² below which the forms lose more than six digits, by its square: each output is
then taken by itself."""


def pair_covariances(
    inverse: Float64[Tensor, "m m"], duals: Float64[Tensor, "m c"]
) -> Float64[Tensor, " c"]:
    """`interval.pair_covariance_` of each output alone.

    Args:
        inverse: G of the samples that are paired, or a multiple of it, symmetric.
        duals: α of them, times the same.
    """
    if len(inverse) < LEAST_SAMPLES:
        return duals.new_full((duals.shape[1],), math.nan)
    scale = inverse.diagonal().rsqrt()
    cosine = (inverse * scale * scale[:, None]).fill_diagonal_(0)
    if not cosine.square().max() < 1 - LEAST_APART:
        columns = duals.split(1, dim=1)
        return duals.new_tensor([pair_covariance_(inverse.clone(), one) for one in columns])
    return _covariances(cosine, scale, duals * scale[:, None])


def _covariances(
    cosine: Float64[Tensor, "m m"], scale: Float64[Tensor, " m"], duals: Float64[Tensor, "m c"]
) -> Float64[Tensor, " c"]:
    """`interval.centred_covariance` from C, s and u."""
    m, squares = len(cosine), duals.square()
    own, crossed, other = _factors(cosine, scale.square())  # A, B, D
    rows = own.sum(dim=1)[:, None] * squares + duals * (crossed @ duals) + other @ squares
    columns = own.mT @ squares + duals * (crossed.mT @ duals)
    columns += other.sum(dim=0)[:, None] * squares
    mean = rows.sum(dim=0) / (m * (m - 1))
    shared = ((rows + columns) / 2 - (m - 1) * mean) / (m - 2)
    turned = (rows - columns) / (2 * m)
    symmetric, antisymmetric = 1 / (m * (m - 3)), 1 / ((m - 1) * (m - 2))
    total, product = (symmetric - antisymmetric) / 2, (symmetric + antisymmetric) / 2
    form = total * (crossed.square() + 2 * own * other)
    form += product * (own * own.mT + crossed * crossed.mT + other * other.mT)
    mixed = total * (own * crossed + (crossed * other).mT)
    mixed += product * (own * crossed.mT + crossed * other.mT)
    single = total * (own.square().sum(dim=1) + other.square().sum(dim=0))
    single += 2 * product * (own * other.mT).sum(dim=1)
    sums = (squares * (form @ squares)).sum(dim=0)
    sums += 2 * (squares * duals * (mixed @ duals)).sum(dim=0)
    sums += single @ squares.square()
    effects = m * (m - 1) * mean.square() + 2 * (m - 2) * shared.square().sum(dim=0)
    return sums - symmetric * effects + antisymmetric * 2 * m * turned.square().sum(dim=0)


def _factors(
    cosine: Float64[Tensor, "m m"], squares: Float64[Tensor, " m"]
) -> tuple[Float64[Tensor, "m m"], Float64[Tensor, "m m"], Float64[Tensor, "m m"]]:
    """A, B and D from C and s²."""
    power = cosine.square()
    common = squares[:, None] / (1 - power).square()
    return common * power * (2 - power), -2 * common * cosine, common * power
