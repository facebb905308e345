"""A backbone with a linear head as one network: the same scores, and built again the same."""

import pytest
import torch

from rmtgen import at_layer, load_backbone
from rmtgen.errors import NumericalError
from rmtgen.models.headed import JOINED, WHOLE, Blueprint, close, traceable, with_head


def headed(name, side=None, layer=None, pooling="avg", outputs=4):
    backbone = load_backbone(name, init="random", img_size=side)
    if layer:
        backbone = at_layer(backbone, layer, pooling=pooling)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(backbone.feature_dim, outputs, generator=generator, dtype=torch.float64)
    offset = torch.randn(outputs, generator=generator, dtype=torch.float64)
    found = with_head(backbone, side, weights, offset)
    return backbone, found, weights, offset


CASES = [
    ("test_resnet", 32, None, "avg", WHOLE),
    ("test_vit", 64, None, "avg", WHOLE),
    ("test_nfnet", 32, None, "avg", WHOLE),
    ("deit_tiny_distilled_patch16_224", 32, None, "avg", WHOLE),
    ("torchvision/resnet18", 32, None, "avg", WHOLE),
    ("dla34", 32, None, "avg", JOINED),
    ("test_resnet", 32, "layer2", "max", JOINED),
    ("test_vit", 64, "blocks.1", "cls", JOINED),
]


@pytest.mark.parametrize(("name", "side", "layer", "pooling", "form"), CASES)
def test_scores_are_the_features_times_the_weights(name, side, layer, pooling, form):
    backbone, found, weights, offset = headed(name, side, layer, pooling)
    images = torch.randn(3, *backbone.input_size)
    with torch.inference_mode():
        expected = backbone.model(images).double() @ weights + offset
        scores = found.model(images)
        again = Blueprint(name, side, layer, pooling, form).build(4, backbone.feature_dim)
        again.load_state_dict(found.model.state_dict())
        assert torch.equal(again(images), scores)
        assert close(traceable(found.model)(images), scores)
    assert found.form == form and bool(found.reason) == (form == JOINED)
    assert not any(module.training for module in found.model.modules())
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_random_stream_of_the_caller_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    headed("test_resnet", 32)
    assert torch.equal(torch.rand(1), expected)


def test_weights_that_float32_cannot_hold_are_refused():
    backbone = load_backbone("test_resnet", init="random", img_size=32)
    weights = torch.full((backbone.feature_dim, 2), 1e39, dtype=torch.float64)
    with pytest.raises(NumericalError, match=r"finite in float32: the largest is 1e\+39"):
        with_head(backbone, 32, weights, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1.0, 2.0], [1.0, 2.0001], True),
        ([1.0, 2.0], [1.0, 2.001], False),
        ([1.0], [1.0, 2.0], False),
    ],
)
def test_scores_agree_up_to_rounding(one, other, same):
    assert close(torch.tensor([one]), torch.tensor([other])) == same
    assert not close(torch.tensor([[float("nan")]]), torch.tensor([[1.0]]))
