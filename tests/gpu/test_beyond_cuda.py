"""Ensembles, descent, losses, learned weights and intervals on CUDA against the CPU."""

import numpy as np
import pytest
import torch

from rmtgen import (
    combine_kernels,
    descent_path,
    ensemble_path,
    gcv_loss,
    learn_weights,
    loo_loss,
    ridge_path,
)
from rmtgen.ridge.interval import PAIRED

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is False"
)

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def problem(n, tests=20, p=60):
    """K, targets, test rows of K and test targets, the first and third as tensors of the CPU."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n + tests, p))
    targets = rows[:, :3] + rng.standard_normal((n + tests, 3))
    gram = torch.from_numpy(rows @ rows.T + np.eye(n + tests))
    return gram[:n, :n].contiguous(), targets[:n], gram[n:, :n].contiguous(), targets[n:]


def on_both(solve, gram, targets, test_gram, test_targets, **options):
    """The frames of the CPU and of the device."""
    return tuple(
        solve(move(gram), targets, test_gram=move(test_gram), test_targets=test_targets, **options)
        for move in (torch.Tensor.cpu, torch.Tensor.cuda)
    )


@intercepts
def test_ensembles(intercept):
    options = {"ridges": [1e-2, 1.0], "subsample": 60, "members": 4, "intercept": intercept}
    known, found = on_both(ensemble_path, *problem(100), **options)
    np.testing.assert_allclose(found, known, rtol=1e-8)


@intercepts
def test_descent(intercept):
    known, found = on_both(descent_path, *problem(100), times=[1, 10, 1000], intercept=intercept)
    np.testing.assert_allclose(found, known, rtol=1e-7)


@intercepts
@pytest.mark.parametrize("loss", [gcv_loss, loo_loss])
def test_losses_and_their_gradients(loss, intercept):
    gram, targets, *_ = problem(50)
    values, slopes = [], []
    for device in ("cpu", "cuda"):
        matrix = gram.clone().to(device).requires_grad_()
        value = loss(matrix, targets, 0.1, intercept=intercept)
        value.backward()
        assert value.device.type == matrix.grad.device.type == device
        values.append(value.item())
        slopes.append(matrix.grad.cpu())
    assert values[1] == pytest.approx(values[0], rel=1e-10)
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-12)


def test_learned_weights():
    gram, targets, *_ = problem(60)
    first, second = gram[:, :30] @ gram[:30], gram
    known, found = (
        learn_weights({"a": first.to(device), "b": second.to(device)}, targets, folds=3)
        for device in ("cpu", "cuda")
    )
    assert found.corrected == pytest.approx(known.corrected, rel=1e-4)
    mixed = combine_kernels({"a": first.cuda(), "b": second.cuda()}, known.weights)
    assert mixed.is_cuda
    expected = combine_kernels({"a": first, "b": second}, known.weights)
    torch.testing.assert_close(mixed.cpu(), expected, rtol=1e-12, atol=0)


@intercepts
def test_intervals_of_random_pairs(intercept):
    options = {"ridges": [1e-3, 1.0], "sizes": [PAIRED + 100], "intercept": intercept}
    known, found = on_both(ridge_path, *problem(PAIRED + 100), **options)
    assert known[["loo_se", "loo_low", "loo_high"]].notna().all(axis=None)
    np.testing.assert_allclose(found, known, rtol=1e-8)
