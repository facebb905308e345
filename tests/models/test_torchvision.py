"""Networks of torchvision: those of the paper's public code, number by number."""

import re

import numpy as np
import pytest
import torch
import torchvision
from networks import NAME
from PIL import Image

from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.models.backbones import load_backbone, local_weights
from rmtgen.models.libraries import LIBRARIES
from tests import paper

PAPER = {"init": "random", "head": "random", "head_seed": None, "img_size": 32}


def renamed(state):
    """The state dict of a network under one output with the names of the plain network."""
    head = {
        f"head.{key.rpartition('.')[2]}": tensor
        for key, tensor in state.items()
        if key.startswith(("fc.", "classifier."))
    }
    trunk = {
        f"backbone.{key}": tensor
        for key, tensor in state.items()
        if not key.startswith(("fc.", "classifier."))
    }
    return trunk | head


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.fixture(scope="module")
def published():
    """A state dict with its classifier of 1,000 classes, and other values than seed 438 has."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torchvision.models.resnet18().state_dict()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0"])
def test_a_random_network_and_its_head_are_those_of_one_random_stream(name):
    with torch.random.fork_rng():
        expected = renamed(paper.network(name).state_dict())
    before = torch.get_rng_state()
    backbone = load_backbone(f"torchvision/{name}", **PAPER)
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal(backbone.model.state_dict(), expected)
    assert (backbone.name, backbone.source) == (f"torchvision/{name}", "random, seed 438")
    assert backbone.feature_dim == expected["head.weight"].shape[1]
    assert not backbone.model.training


def test_pretrained_weights_keep_the_head_of_that_stream(tmp_path, published):
    (tmp_path / "torchvision").mkdir()
    file = tmp_path / "torchvision" / "resnet18.pth"
    torch.save(published, file)
    with torch.random.fork_rng():
        expected = renamed(paper.network("resnet18", published).state_dict())
    options = {**PAPER, "init": "pretrained", "checkpoints": tmp_path}
    backbone = load_backbone("torchvision/resnet18", **options)
    assert_equal(backbone.model.state_dict(), expected)
    assert (
        backbone.source == str(file) == str(local_weights("torchvision/resnet18", None, tmp_path))
    )


def test_the_head_has_a_seed_of_its_own_unless_it_is_none():
    own, other = (load_backbone(NAME, **{**PAPER, "head_seed": seed}) for seed in (438, 439))
    stream = load_backbone(NAME, **PAPER)
    assert not torch.equal(own.model.head.weight, other.model.head.weight)
    assert not torch.equal(own.model.head.weight, stream.model.head.weight)
    reseeded = load_backbone(NAME, **{**PAPER, "init_seed": 439})
    assert not torch.equal(stream.model.head.weight, reseeded.model.head.weight)
    with pytest.raises(UsageError, match=r"expected head_seed ≥ 0, got None with heads=2\."):
        load_backbone(NAME, **PAPER, heads=2)


def test_features_are_those_before_the_classifier():
    backbone = load_backbone("torchvision/resnet18", init="random", img_size=32)
    with torch.random.fork_rng():
        network = paper.network("resnet18")
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = network.fc(backbone.model(pixels))
        torch.testing.assert_close(outputs, network(pixels))
    assert backbone.feature_dim == 512


@pytest.mark.parametrize("size", [None, 48])
def test_its_own_transform_is_that_of_the_weights(size):
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    )
    backbone = load_backbone("torchvision/resnet18", init="random", img_size=size)
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms
    theirs = preset() if size is None else preset(resize_size=size, crop_size=size)
    assert torch.equal(backbone.transform(picture), theirs(picture))
    assert backbone.input_size == (3, size or 224, size or 224)


def test_missing_weights_name_the_address_of_torchvision(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingInputError) as caught:
        load_backbone("torchvision/resnet18", checkpoints=tmp_path / "c", download=False)
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    assert f"({url}: download=false)" in str(caught.value)
    assert f"{url} -o {tmp_path}/c/torchvision/resnet18.pth" in str(caught.value)


def test_the_cache_of_torch_is_used_without_a_network(tmp_path, monkeypatch, published):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(published, cache / url.rpartition("/")[2])
    backbone = load_backbone("torchvision/resnet18", img_size=32, download=False)
    assert torch.equal(backbone.model.conv1.weight, published["conv1.weight"])
    assert backbone.source == url


def test_weights_of_another_network_are_refused(tmp_path, published):
    torch.save(published, tmp_path / "w.pth")
    for name in ("torchvision/resnet34", "torchvision/efficientnet_b0"):
        with pytest.raises(CorruptInputError, match=f"must hold weights of {re.escape(name)}"):
            load_backbone(name, weights=tmp_path / "w.pth", img_size=32)


def test_the_resnet18_of_both_libraries_is_one_function_of_one_file(tmp_path, published):
    torch.save(published, tmp_path / "w.pth")
    timm, torchvisions = (
        load_backbone(name, weights=tmp_path / "w.pth", img_size=32)
        for name in ("resnet18", "torchvision/resnet18")
    )
    assert type(timm.model) is not type(torchvisions.model)
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(timm.model(pixels), torchvisions.model(pixels))


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("torchvision/resnet19", "torchvision/resnet18"),
        ("torchvision/vgg11", "without torchvision/"),
        ("torchvision/", "without torchvision/"),
        ("torchvision/resnet18.a1_in1k", "torchvision/resnet18"),
    ],
)
def test_other_names_are_refused(name, cure):
    with pytest.raises(UsageError, match="residual network or an EfficientNet") as caught:
        load_backbone(name, init="random")
    assert repr(name) in str(caught.value)
    assert cure in str(caught.value)


def test_every_family_loses_its_classifier_and_nothing_else():
    library = LIBRARIES["torchvision/"]
    for name in ("resnet152", "resnext50_32x4d", "wide_resnet50_2", "efficientnet_v2_s"):
        with torch.device("meta"):
            whole = getattr(torchvision.models, name)()
            built = library.build(f"torchvision/{name}", None)
        (place,) = library.classifiers(built)
        left = {key for key in whole.state_dict() if not key.startswith(f"{place}.")}
        assert left == built.state_dict().keys()
        assert len(whole.state_dict()) == len(left) + 2
