"""Features of inner layers against hooks and poolings written plainly."""

import pytest
import torch

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.runs.config import Config


def outputs_of(model, layer, images):
    """What a module gives, by a hook, while the whole network runs."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda *hooked: kept.append(hooked[2])
    )
    with torch.inference_mode():
        model(images)
    handle.remove()
    return kept[0]


def opened(name, size):
    backbone = rmtgen.load_backbone(name, init="random", img_size=size)
    return backbone, torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_maps_are_pooled_over_their_positions(pooling):
    backbone, images = opened("test_resnet", 64)
    maps = outputs_of(backbone.model, "layer2", images)
    plain = maps.mean(dim=(2, 3)) if pooling == "avg" else maps.amax(dim=(2, 3))
    inner = rmtgen.at_layer(backbone, "layer2", pooling=pooling)
    with torch.inference_mode():
        assert torch.allclose(inner.model(images), plain, atol=1e-6)
    assert inner.feature_dim == maps.shape[1] and maps.shape[2] > 1
    assert not inner.model.training and inner.name == backbone.name


@pytest.mark.parametrize("pooling", ["avg", "max", "cls"])
def test_tokens_are_pooled_without_the_prefix_or_are_the_class_token(pooling):
    backbone, images = opened("test_vit", 160)
    tokens = outputs_of(backbone.model, "blocks.0", images)
    assert backbone.model.num_prefix_tokens == 1
    patches = tokens[:, 1:]
    plain = {"avg": patches.mean(1), "max": patches.amax(1), "cls": tokens[:, 0]}[pooling]
    inner = rmtgen.at_layer(backbone, "blocks.0", pooling=pooling)
    with torch.inference_mode():
        assert torch.allclose(inner.model(images), plain, atol=1e-6)


def test_maps_with_their_channels_last_are_taken_as_such():
    class Network(torch.nn.Module):
        output_fmt = "NHWC"

        def __init__(self):
            super().__init__()
            self.turn = torch.nn.Identity()

        def forward(self, images):
            return self.turn(images.permute(0, 2, 3, 1)).mean(dim=(1, 2))

    from rmtgen.models.inner_layers import InnerLayer

    images = torch.randn(2, 3, 4, 5)
    assert torch.allclose(InnerLayer(Network(), "turn", "avg")(images), images.mean(dim=(2, 3)))


def test_vectors_are_as_they_are_and_the_network_runs_no_further():
    backbone, images = opened("test_resnet", 64)
    ran = []
    backbone.model.layer4.register_forward_hook(lambda *_: ran.append(True))
    inner = rmtgen.at_layer(backbone, "layer1")
    with torch.inference_mode():
        inner.model(images)
        assert not ran
        whole = rmtgen.at_layer(backbone, "global_pool", pooling="max").model(images)
        assert ran and torch.equal(whole, backbone.model(images))
    assert not backbone.model.layer1._forward_hooks


@pytest.mark.parametrize(
    ("layer", "pooling", "message"),
    [
        ("layer9", "avg", "layer must be a module of test_resnet, got 'layer9'. Did you mean"),
        ("", "avg", "got ''"),
        (3, "avg", "got 3"),
        ("layer1", "sum", "pooling must be"),
        ("layer1", "cls", "pooling=cls takes the class token, and this network has none"),
    ],
)
def test_what_cannot_be_taken_is_named(layer, pooling, message):
    backbone, _ = opened("test_resnet", 64)
    with pytest.raises(UsageError) as caught:
        rmtgen.at_layer(backbone, layer, pooling=pooling)
    assert message in str(caught.value)


def test_a_module_that_is_not_run_is_named():
    backbone, _ = opened("test_resnet", 64)
    backbone.model.add_module("idle", torch.nn.Identity())
    with pytest.raises(UsageError, match="got 'idle', which it does not"):
        rmtgen.at_layer(backbone, "idle")


def test_a_layer_is_no_part_of_the_name_of_other_runs():
    assert Config(pooling="max").run_name == Config().run_name
    names = {Config(layer="layer3", pooling=pooling).run_name for pooling in ("avg", "max")}
    assert len(names | {Config().run_name}) == 3
    with pytest.raises(UsageError, match="got layer=layer3 with kernel=entk"):
        Config(layer="layer3", kernel="entk")
