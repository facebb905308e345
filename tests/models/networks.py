"""The small network of the tests of backbones, and the comparison of its weights."""

import torch

from rmtgen.models.backbones import load_backbone

NAME = "test_resnet"  # a ResNet of the size that timm tests with


def random_backbone(name=NAME, **options):
    return load_backbone(name, init="random", **{"img_size": 32, **options})


def headless(state):
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


def assert_holds(backbone, state):
    loaded = backbone.model.state_dict()
    assert loaded.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor.to(loaded[key].dtype)), key
