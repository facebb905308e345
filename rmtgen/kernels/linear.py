"""The feature kernel k(x, x') = ⟨h(x), h(x')⟩, one block at a time."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def linear_block(
    rows: Float[Tensor, "a p"], columns: Float[Tensor, "b p"]
) -> Float64[Tensor, "a b"]:
    """XXᵀ between two sets of features, in float64 on the device of `rows`: exact to rounding for
    float32 features.

    Where both are the same tensor the block is made exactly symmetric from its lower half.
    """
    block = rows.double() @ columns.double().T
    if rows is columns:
        lower = torch.tril(block)
        block = lower + torch.tril(block, -1).T
    return block
