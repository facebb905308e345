"""The small network of the tests of backbones; changes of its weights, and their comparison."""

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


def under(prefix, state):
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def converted(convert):
    return lambda state: {
        key: convert(tensor) if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }
