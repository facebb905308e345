"""The resolvent and what it says of left-out samples, against refits."""

import numpy as np
import pytest
import reference
import torch
from trust_cases import both, intercepts, small

from rmtgen.theory import resolvent


@intercepts
def test_the_resolvent_is_plain_linear_algebra(intercept):
    train, _, columns = small()
    gram, found = train @ train.T, both(train @ train.T, 0.7)[intercept]
    known = reference.resolvent(gram, 0.7, intercept)
    index = torch.tensor([[3, 1, 8], [0, 2, 13]])
    n = len(gram) - intercept
    np.testing.assert_allclose(found.diagonal, known.diagonal(), rtol=1e-11)
    np.testing.assert_allclose(
        found.times(torch.from_numpy(columns)), known @ columns, rtol=1e-9, atol=1e-13
    )
    for block, rows in zip(found.blocks(index), index.numpy(), strict=True):
        np.testing.assert_allclose(block, known[np.ix_(rows, rows)], rtol=1e-9, atol=1e-13)
    assert found.directions == n
    assert found.kappa_prime == pytest.approx(
        n * np.trace(known @ known) / np.trace(known) ** 2, rel=1e-11
    )


@intercepts
def test_blocks_are_left_out_exactly(intercept):
    train, _, targets = small()
    gram = train @ train.T
    found = both(gram, 0.7)[intercept]
    blocks = torch.tensor([[0, 1, 2, 3], [9, 4, 13, 6]])
    residuals = resolvent.left_out(found, found.times(torch.from_numpy(targets)), blocks)
    for block, residual in zip(blocks.numpy(), residuals, strict=True):
        rest = np.setdiff1d(np.arange(len(gram)), block)
        refit = reference.predict(
            gram[np.ix_(rest, rest)], targets[rest], 0.7, intercept, gram[np.ix_(block, rest)]
        )
        np.testing.assert_allclose(residual, targets[block] - refit, rtol=1e-9, atol=1e-12)


def test_what_is_explained_is_that_of_fits_without_the_sample():
    train, tests, _ = small()
    n = len(train)

    def known(rows, x):
        centred, x = rows - rows.mean(axis=0), x - rows.mean(axis=0)
        k = centred @ x
        return k @ np.linalg.solve(centred @ centred.T + 0.7 * np.eye(len(rows)), k)

    without = [np.delete(train, i, axis=0) for i in range(n)]
    gram = torch.from_numpy(train @ train.T)
    found, tested = resolvent.explained(
        gram, both(gram.numpy(), 0.7)[1], torch.from_numpy(tests @ train.T)
    )
    np.testing.assert_allclose(
        found, [known(rows, x) for rows, x in zip(without, train, strict=True)], rtol=1e-8
    )
    np.testing.assert_allclose(
        tested, [np.mean([known(rows, x) for rows in without]) for x in tests], rtol=1e-8
    )
