"""GCV and leave-one-out as losses: their values, and their derivatives against differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtgen
from rmtgen.errors import NumericalError, UsageError

LOSSES = {"gcv": rmtgen.gcv_loss, "loo": rmtgen.loo_loss}
losses = pytest.mark.parametrize("name", LOSSES)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def draw(n, p, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    return features, rng.standard_normal((n, outputs))


@settings(max_examples=20)
@given(
    n=st.integers(2, 25),
    p=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    relative=st.floats(-5, 2),
)
def test_the_values_are_columns_of_the_ridge_path(n, p, seed, intercept, relative):
    features, targets = draw(n, p, seed=seed)
    gram = features @ features.T
    ridge = 10**relative * np.trace(gram) / n
    row = rmtgen.ridge_path(gram, targets, ridges=[ridge], intercept=intercept)
    for name, loss in LOSSES.items():
        value = loss(gram, targets, ridge, intercept=intercept)
        assert value.dtype == torch.float64 and value.shape == () and not value.requires_grad
        assert value.item() == pytest.approx(row[name][0], rel=1e-8)


@losses
@intercepts
def test_first_and_second_derivatives_are_those_of_differences(name, intercept):
    features, targets = draw(6, 9)
    gram = torch.tensor(features @ features.T, requires_grad=True)
    ridge = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

    def value(gram, ridge):
        return LOSSES[name](gram, targets, ridge, intercept=intercept)

    assert torch.autograd.gradcheck(value, (gram, ridge))
    assert torch.autograd.gradgradcheck(value, (gram, ridge))


@losses
@intercepts
def test_the_derivatives_say_that_only_the_ratio_of_kernel_and_ridge_matters(name, intercept):
    features, targets = draw(15, 10)
    gram = torch.tensor(features @ features.T, requires_grad=True)
    ridge = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    LOSSES[name](gram, targets, ridge, intercept=intercept).backward()
    along = (gram.grad * gram).sum()
    assert abs(along) > 1e-3
    torch.testing.assert_close(gram.grad, gram.grad.mT)
    assert along.item() == pytest.approx(-(ridge * ridge.grad).item(), rel=1e-9)


@losses
def test_a_gradient_has_the_type_of_what_it_belongs_to(name):
    features, targets = draw(8, 12)
    features = torch.tensor(features, dtype=torch.float32, requires_grad=True)
    gram = features @ features.mT
    value = LOSSES[name](gram, targets, 0.1)
    value.backward()
    assert value.item() == LOSSES[name](gram.detach().double(), targets, 0.1).item()
    assert features.grad.dtype == torch.float32 and features.grad.abs().max() > 0


@losses
def test_an_intercept_removes_a_large_constant_with_few_digits(name):
    features, targets = draw(20, 30)
    gram = features @ features.T
    plain, shifted = (
        LOSSES[name](kernel, targets + 7.0, 1e-4, intercept=True).item()
        for kernel in (gram, gram + 1e6)
    )
    assert shifted == pytest.approx(plain, rel=1e-6)
    assert plain != pytest.approx(LOSSES[name](gram, targets + 7.0, 1e-4).item(), rel=0.1)


@losses
@intercepts
def test_the_ridgeless_limit_of_a_definite_kernel(name, intercept):
    features, targets = draw(10, 40)
    gram = features @ features.T
    row = rmtgen.ridge_path(gram, targets, ridges=[0.0], intercept=intercept)
    if intercept:  # 1 is a null direction of the centred kernel, which s takes out
        gram = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    value = LOSSES[name](gram, targets, 0.0, intercept=intercept)
    assert value.item() == pytest.approx(row[name][0], rel=1e-8)


def test_refusals():
    features, targets = draw(10, 4)
    gram = features @ features.T
    for name, loss in LOSSES.items():
        with pytest.raises(UsageError, match=r"finite and >= 0: got -0.1\. It is λ"):
            loss(gram, targets, -0.1)
        with pytest.raises(UsageError, match="expected 10, got 9"):
            loss(gram, targets[:9], 0.1)
        with pytest.raises(UsageError, match="at least 2 samples: got 1"):
            loss(gram[:1, :1], targets[:1], 0.1, intercept=True)
        with pytest.raises(NumericalError, match="positive definite: expected a Cholesky factor"):
            loss(gram - np.eye(10), targets, 0.0)
        with pytest.raises(NumericalError, match="NaN"):
            loss(torch.tensor(gram * np.nan, requires_grad=True), targets, 0.1)
        assert name in loss.__name__
