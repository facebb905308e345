"""The linear kernel of features, k(x, x') = ⟨h(x), h(x')⟩, block by block."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.entrance import public


@public
def linear_block(
    rows: Float[Tensor, "a p"], columns: Float[Tensor, "b p"]
) -> Float64[Tensor, "a b"]:
    """The kernel between two sets of features, in float64 on the device of `rows`.

    If both are the same tensor, the lower triangle is mirrored, so that the block is exactly
    symmetric.
    """
    block = rows.double() @ columns.double().T
    if rows is columns:
        lower = torch.tril(block)
        block = lower + torch.tril(block, -1).T
    return block
