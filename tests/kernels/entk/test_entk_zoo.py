"""The kernel of real architectures: float64 against the Jacobian, float32 against float64."""

import copy
import csv
from pathlib import Path

import pytest
import torch
from reference import tangent_kernel
from zoo import FAMILIES, REFUSED, ZOO

from rmtgen import entk_gram, load_backbone


def clear_cut_images(model, size):
    """Three images for which no ReLU changes its sign between float32 and float64.

    Otherwise the kernel itself would jump.
    """

    def sides(model, images):
        found = []
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0] > 0))
            for module in model.modules()
            if isinstance(module, torch.nn.ReLU)
        ]
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        return found

    single = copy.deepcopy(model).float()
    for seed in range(10):
        images = torch.randn(
            3, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        if all(map(torch.equal, sides(model, images), sides(single, images.float()))):
            model.train().eval()
            return images
    raise AssertionError("no such images among ten draws")


@pytest.mark.parametrize("name", ZOO)
def test_exact_in_float64_and_close_in_float32(name):
    model = load_backbone(name, init="random", head="random", img_size=ZOO[name]).model.double()
    model.train().eval()  # some cached their position biases when the backbone was measured
    images = clear_cut_images(model, ZOO[name])
    expected = tangent_kernel(model, images).detach()
    exact = entk_gram(model, images)
    assert (exact - expected).abs().max() <= 1e-10 * expected.abs().max()
    single = entk_gram(model, images, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert (single - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func_agrees(tiny=("test_resnet", "test_vit")):
    """The published recipe, vmap(grad) for every sample, as a second reference."""
    for name in tiny:
        model = load_backbone(name, init="random", head="random", img_size=32).model.double()
        images = torch.randn(
            4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        parameters = {key: value.detach() for key, value in model.named_parameters()}
        buffers = dict(model.named_buffers())

        def output(parameters, image, model=model, buffers=buffers):
            return torch.func.functional_call(model, (parameters, buffers), (image[None],))[0, 0]

        gradients = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0))(parameters, images)
        jacobian = torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)
        torch.testing.assert_close(
            entk_gram(model, images), jacobian @ jacobian.T, rtol=1e-10, atol=0
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_further_families_are_exact_in_float64(name):
    size = FAMILIES[name]
    model = load_backbone(name, init="random", head="random", img_size=size).model.double()
    images = torch.randn(
        3, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    found = entk_gram(model.train().eval(), images)
    expected = tangent_kernel(model.train().eval(), images).detach()
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_the_recorded_sweep_has_no_wrong_kernel_and_refuses_what_is_known():
    path = Path(__file__).parents[3] / "docs" / "assets" / "entk-zoo.csv"
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["verdict"] for row in rows} <= {"works", "falls back", "refused"}
    assert {row["name"]: row["reason"] for row in rows if row["verdict"] == "refused"} == REFUSED
    allowed = {"float64": 1e-8, "float32": 1e-3}
    assert all(float(row["error"]) <= allowed[row["dtype"]] for row in rows if row["error"])
