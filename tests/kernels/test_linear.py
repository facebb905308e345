import numpy as np
import torch

from rmtgen.kernels.linear import linear_block


def test_a_diagonal_block_is_exactly_symmetric_and_exact():
    rows = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    block = linear_block(rows, rows)
    assert torch.equal(block, block.T)
    assert block.dtype == torch.float64
    np.testing.assert_allclose(
        block, rows.numpy().astype(float) @ rows.numpy().astype(float).T, rtol=1e-13, atol=1e-13
    )
