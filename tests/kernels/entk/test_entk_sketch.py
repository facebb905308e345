"""Sketched gradients: unbiased, with the stated variance, linear, equal in every batch."""

import copy

import pytest
import torch
from reference import tangent_jacobians, tangent_kernel

from rmtgen import entk_features, load_backbone
from rmtgen.errors import NumericalError, UsageError
from rmtgen.kernels.entk import Sketch, sketch_error

PIXELS = 32


def draw(name="test_efficientnet"):
    generator = torch.Generator().manual_seed(0)
    model = load_backbone(name, init="random", head="random", img_size=PIXELS).model.double()
    return model, torch.randn(6, 3, PIXELS, PIXELS, dtype=torch.float64, generator=generator)


@pytest.fixture(scope="module")
def problem():
    """Grouped, strided and plain convolutions, norms, biases and a linear layer."""
    return draw()


def test_unbiased_with_the_variance_of_a_count_sketch(problem):
    """The variance of a product is (‖x‖²‖y‖² + ⟨x,y⟩² − 2 Σ x²y²)/m.

    Entries of one piece never collide, so that it is slightly smaller.
    """
    model, images = problem
    squares, kernel, seeds, dim = 0, 0, 60, 16
    for jacobian in tangent_jacobians(model, images):
        kernel = kernel + jacobian @ jacobian.T
        squares = squares + jacobian.square() @ jacobian.square().T
    found = torch.stack(
        [(f := entk_features(model, images, dim, seed=seed)) @ f.T for seed in range(seeds)]
    )
    norms = kernel.diagonal().outer(kernel.diagonal())
    spread = (found - kernel).square().sum(dim=(1, 2)).mean().sqrt()
    expected = ((norms + kernel**2 - 2 * squares).sum() / dim).sqrt()
    assert 0.8 * expected < spread < 1.2 * expected
    assert (found.mean(dim=0) - kernel).norm() < 2 * expected / seeds**0.5


def test_the_error_is_measured_beside_its_bound(problem):
    model, images = problem
    kernel, features = tangent_kernel(*problem).detach(), entk_features(model, images, 512)
    error, bound = sketch_error(kernel, features)
    assert error == pytest.approx(float((features @ features.T - kernel).norm() / kernel.norm()))
    trace, norm = float(kernel.trace()), float(kernel.norm())
    assert bound == pytest.approx((trace**2 / norm**2 + 1) ** 0.5 / 512**0.5)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "nf_resnet26"])
def test_linear_in_the_gradients_parameter_by_parameter(name):
    """Signs depend on the names of parameters alone.

    The sketches of two halves of the network therefore add up to that of the whole.
    """
    model, images = draw(name)
    whole, parts = entk_features(model, images, 128), []
    for half in (0, 1):
        part = copy.deepcopy(model)
        for number, parameter in enumerate(part.parameters()):
            parameter.requires_grad_(number % 2 == half)
        parts.append(entk_features(part, images, 128))
    torch.testing.assert_close(sum(parts), whole, rtol=1e-10, atol=1e-10 * float(whole.abs().max()))
    kernel = tangent_kernel(model, images).detach()
    error, bound = sketch_error(kernel, entk_features(model, images, 4096))
    assert 0 < error < 2 * bound


def test_the_same_in_every_batch_and_another_for_another_seed(problem):
    model, images = problem
    sketch = Sketch(model, images, 100, seed=3)
    whole = sketch.rows(range(6))
    sketch.batch = 2
    torch.testing.assert_close(sketch.rows(range(1, 6)), whole[1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(entk_features(model, images, 100, seed=3), whole)
    assert not torch.allclose(entk_features(model, images, 100, seed=4), whole)


def test_one_dimension_and_more_dimensions_than_parameters(problem):
    model, images = problem
    assert entk_features(model, images, 1).shape == (6, 1)
    kernel, parameters = (
        tangent_kernel(*problem).detach(),
        sum(p.numel() for p in model.parameters()),
    )
    error, _ = sketch_error(kernel, entk_features(model, images, 3 * parameters))
    assert error < 0.02


def test_bad_input_is_refused(problem):
    model, images = problem
    with pytest.raises(UsageError, match=r"dim must be a whole number in \[1, 2147483648\]: got 0"):
        entk_features(model, images, 0)
    with pytest.raises(
        UsageError,
        match=r"memory must hold the signs and one pass: expected at least \d+MiB, got 1MiB",
    ):
        entk_features(model, images, 64, memory="1MiB")
    broken = images.clone()
    broken[4, 0, 0, 0] = float("nan")
    with pytest.raises(NumericalError, match="the output of image 4 is not"):
        entk_features(model, broken, 64)
