"""Problems whose samples are taken times the roots of weights, read row by row."""

import numpy as np
import torch

from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import coded_targets
from rmtgen.ridge.weighted import Scaled, scaled_problem

ROOT = torch.tensor([2.0, 0.5, 1.0, 3.0, 0.25], dtype=torch.float64)
FEATURES = torch.arange(15, dtype=torch.float32).reshape(5, 3) / 3


def posed(kernel):
    targets = coded_targets(np.array([0, 1, 1, 0, 1]), 2, "centered").values
    return Problem.checked(kernel, targets, None, loo=True, intercept=False)


def test_rows_are_those_of_the_whole_matrix():
    dense = ROOT[:, None] * FEATURES.double()
    scaled, order = Scaled(FEATURES, ROOT), torch.tensor([3, 0, 0])
    assert scaled.shape == (5, 3) and scaled.dtype == torch.float64 and len(scaled) == 5
    assert torch.equal(scaled[:], dense) and torch.equal(scaled[order], dense[order])
    assert torch.equal(torch.cat(list(scaled.split(2))), dense)
    for part in (slice(1, 4), order):
        some, twice = scaled.chosen(part), Scaled(scaled, ROOT).chosen(part)
        assert torch.equal(some[:], dense[part]) and torch.equal(some[1:], dense[part][1:])
        assert torch.equal(twice[:], ROOT[part, None] * dense[part])


def test_a_kernel_is_that_of_the_scaled_samples():
    weighted = ROOT[:, None] * FEATURES.double()
    gram = weighted @ weighted.mT
    given = FEATURES.double() @ FEATURES.double().mT
    kernels = FeatureKernel.checked(FEATURES, None), GramKernel.checked(given, None)
    for problem in map(posed, kernels):
        found = scaled_problem(problem, ROOT)
        assert torch.allclose(found.kernel.symmetric(5), gram, rtol=1e-12)
        assert torch.equal(found.targets[:], ROOT[:, None] * problem.targets[:])
        assert found.code is None and found.test_targets is None and len(found.kernel) == 5
