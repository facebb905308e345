"""The modules that a pattern of layers, or `each`, stands for."""

from types import SimpleNamespace

import pytest
import timm
import torch

from rmtgen.models.layer_names import layers_named, stands_for_several


@pytest.mark.parametrize(
    ("layer", "several"),
    [(None, False), ("layer3", False), ("blocks.0", False), ("each", True), ("layer?", True)],
)
def test_a_wildcard_and_each_stand_for_several(layer, several):
    assert stands_for_several(layer) is several


def test_a_pattern_matches_names_of_as_many_parts():
    assert layers_named("test_resnet", "layer?") == ("layer1", "layer2", "layer3", "layer4")
    assert layers_named("test_resnet", "layer[12].*") == ("layer1.0", "layer2.0")
    assert "layer1.0.conv1" in layers_named("test_resnet", "*.*.conv?")
    assert layers_named("test_resnet", "blocks.*") == ()
    assert layers_named("nosuchnet", "layer?") == ()


def test_stages_that_are_no_modules_are_left_out(monkeypatch):
    class Network(torch.nn.Module):
        feature_info = ({"module": "stem"}, {"module": ""}, {"module": "last"}, {"module": "last"})

        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(2, 2)

    backbone = SimpleNamespace(model=Network())
    monkeypatch.setattr("rmtgen.models.backbones.load_backbone", lambda *_, **__: backbone)
    assert layers_named("some network", "each") == ("last",)


@pytest.mark.parametrize(
    ("model", "stages"), [("test_vit", 6), ("test_efficientnet", 5), ("test_convnext", 4)]
)
def test_each_is_the_stages_of_the_features_of_timm(model, stages):
    network = timm.create_model(model, features_only=True, out_indices=tuple(range(stages)))
    assert layers_named(model, "each") == tuple(network.feature_info.module_name())
