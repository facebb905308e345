"""Backbones: the transform, the network that is built, its head, refused names and sizes."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
import timm
import torch
from networks import NAME, random_backbone
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from rmtgen.errors import UsageError
from rmtgen.models.backbones import load_backbone


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", [NAME, "test_vit"])
def test_without_a_size_the_transform_is_timms(name, picture):
    backbone = random_backbone(name, img_size=None)
    theirs = create_transform(
        **resolve_model_data_config(timm.create_model(name)), is_training=False
    )
    assert torch.equal(backbone.transform(picture), theirs(picture))
    assert backbone.input_size == (3, 160, 160) == tuple(backbone.transform(picture).shape)


def test_a_size_scales_the_short_side_and_cuts_the_centre(picture):
    backbone = random_backbone("resnet18", img_size=24)
    scaled = np.asarray(picture.resize((36, 24), Image.Resampling.BICUBIC))[:, 6:30]
    expected = (scaled / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert backbone.input_size == (3, 24, 24)
    np.testing.assert_allclose(
        backbone.transform(picture).permute(1, 2, 0).numpy(), expected, atol=1e-6
    )


def test_pretrained_and_random_see_the_same_pixels(tmp_path, trained, picture):
    torch.save(trained, tmp_path / "w.pth")
    pretrained = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert torch.equal(pretrained.transform(picture), random_backbone().transform(picture))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_become_rgb(mode, picture):
    image = picture.convert(mode)
    seen = random_backbone().transform(image)
    assert seen.shape == (3, 32, 32)
    assert torch.equal(seen, random_backbone().transform(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_images_that_would_be_clipped_are_refused(mode):
    with pytest.raises(UsageError, match=f"8 bits per channel: mode {mode} would be clipped"):
        random_backbone().transform(Image.new(mode, (40, 40), 7))


def test_a_palette_with_an_alpha_table_does_not_warn():
    image = Image.new("P", (40, 40))
    image.info["transparency"] = b"\x00\x80"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert random_backbone().transform(image).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        (NAME, 96),
        ("mobilenetv3_small_050", 1024),
        ("mobilenetv4_conv_small_050", 1280),
        ("test_vit", 64),
    ],
)
def test_feature_dim_is_what_comes_out(name, dim):
    backbone = random_backbone(name)
    with torch.inference_mode():
        assert (
            backbone.model(torch.zeros(2, *backbone.input_size)).shape
            == (2, backbone.feature_dim)
            == (2, dim)
        )
    if "mobilenet" in name:  # so num_features would have been wrong
        assert timm.create_model(name, num_classes=0).num_features != dim


def test_models_of_a_fixed_input_size_are_built_for_the_size_asked():
    backbone = random_backbone("test_vit", img_size=64)
    assert backbone.input_size == (3, 64, 64)
    assert backbone.model.pos_embed.shape[1] == 1 + (64 // 16) ** 2


@pytest.mark.parametrize("head", [None, "random"])
def test_the_model_is_in_eval_mode_and_differentiable(head):
    model = random_backbone(head=head).model
    assert isinstance(model, torch.nn.Module)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_random_head_is_torchs_own_linear_layer_on_the_features():
    plain, headed = random_backbone(), random_backbone(head="random", head_seed=5)
    pixels = torch.randn(3, *plain.input_size)
    torch.manual_seed(5)
    head = torch.nn.Linear(plain.feature_dim, 1)
    with torch.inference_mode():
        torch.testing.assert_close(headed.model(pixels), head(plain.model(pixels)), rtol=0, atol=0)
    assert headed.model(pixels).shape == (3, 1)
    assert headed.feature_dim == plain.feature_dim
    assert (
        len(
            {
                backbone.digest()
                for backbone in (headed, plain, random_backbone(head="random", head_seed=6))
            }
        )
        == 3
    )


def test_the_digest_sees_one_bit_and_not_the_memory_layout():
    backbone, digest = random_backbone(), random_backbone().digest()
    backbone.model.to(memory_format=torch.channels_last)
    assert backbone.digest() == digest
    weight = backbone.model.conv1[0].weight.detach().contiguous().view(-1)
    backbone.model.conv1[0].weight.data = (
        weight.view(torch.int32)
        .bitwise_xor(torch.tensor([1] + [0] * (len(weight) - 1), dtype=torch.int32))
        .view(torch.float32)
        .view_as(backbone.model.conv1[0].weight)
    )
    assert backbone.digest() != digest
    assert re.fullmatch(r"[0-9a-f]{32}", digest)


def test_a_backbone_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        random_backbone().name = "another"


def test_several_heads_are_those_of_consecutive_seeds():
    three = random_backbone(head="random", heads=3, head_seed=5).model.head
    assert three.weight.shape[0] == 3
    for row, seed in enumerate((5, 6, 7)):
        one = random_backbone(head="random", head_seed=seed).model.head
        torch.testing.assert_close(three.weight[row : row + 1], one.weight, rtol=0, atol=0)
        torch.testing.assert_close(three.bias[row : row + 1], one.bias, rtol=0, atol=0)
    with pytest.raises(UsageError, match=r"heads must be a whole number in \[1, 1048576\]: got 0"):
        random_backbone(head="random", heads=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "resnt50"},
            r"model must be a name of timm, got 'resnt50'\. Did you mean .*resnet50",
        ),
        (
            {"name": "resnet50.a1_in2k"},
            (
                r"a tag that timm has for resnet50, got 'resnet50\.a1_in2k'\. Did you mean"
                r" resnet50\.a1_in1k"
            ),
        ),
        ({"init": "trained"}, r"init must be pretrained or random, got 'trained'"),
        (
            {"head": "linear"},
            r"head must be None \(features\) or 'random' \(one output\), got 'linear'",
        ),
        ({"img_size": 0}, r"img_size must be a whole number in \[1, 32768\]: got 0"),
        ({"img_size": -8}, r"img_size must be a whole number in \[1, 32768\]: got -8"),
        (
            {"name": "dla46_c", "img_size": 8},
            r"img_size must be one that dla46_c can take, got 8 \(.*too small\)",
        ),
        (
            {"name": "test_vit", "img_size": 8},
            r"img_size must be one that test_vit can take, got 8",
        ),
    ],
)
def test_the_callers_mistakes_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        load_backbone(**{"name": NAME, "init": "random", **options})


def test_a_network_that_gives_no_vector_is_refused(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_args, **_options: SpatialNetwork())
    with pytest.raises(UsageError, match=r"expected shape \(1, d\), got \(1, 4, 30, 30\)"):
        random_backbone()


class SpatialNetwork(torch.nn.Sequential):
    pretrained_cfg = {"input_size": (3, 32, 32)}

    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3))
