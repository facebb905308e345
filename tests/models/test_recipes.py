"""Transforms as settings: through JSON and back the same pixels; anything else is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from rmtgen import load_backbone
from rmtgen.models.preprocessing import PREPROCESSING
from rmtgen.models.recipes import data_config, transform_of

NAMES = ("test_resnet", "test_vit", "torchvision/resnet18", "torchvision/efficientnet_b0")


def picture(width, height):
    rng = np.random.default_rng([width, height])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


CASES = [
    *((name, side, None) for name in NAMES for side in (None, 64)),
    *(("test_resnet", side, published) for side in (None, 48) for published in PREPROCESSING),
]


@pytest.mark.parametrize(("name", "side", "published"), CASES)
def test_a_recipe_makes_the_same_pixels_after_json(name, side, published):
    backbone = load_backbone(name, init="random", img_size=side, transform=published)
    step, size = transform_of(json.loads(json.dumps(backbone.recipe)))
    assert size == backbone.input_size
    for image in (picture(70, 51), picture(3, 400), picture(40, 40).convert("L")):
        assert torch.equal(step(image), backbone.transform(image))


@pytest.mark.parametrize("published", PREPROCESSING)
def test_a_published_transform_is_nearly_one_of_timm(published):
    """The rounding of the short side alone may differ, by a pixel."""
    backbone = load_backbone("test_resnet", init="random", transform=published)
    other = create_transform(**data_config(backbone.recipe), is_training=False)
    image = Image.new("RGB", (300, 260), (200, 100, 30))
    assert other(image).shape == backbone.transform(image).shape
    assert torch.allclose(other(image), backbone.transform(image), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"maker": "os"}, "known maker .timm, torchvision|torchvision, timm"),
        ({"maker": None}, "known maker"),
        ({"mean": [0, 0]}, "no mean of"),
        ({"mean": [0, 0, float("nan")]}, "no mean of"),
        ({"std": [0.1, 0.1, 0]}, "no std of"),
        ({"input_size": [3, 32]}, "no input_size of"),
        ({"input_size": [1, 32, 32]}, "no input_size of"),
        ({"input_size": [3, 2**15 + 1, 32]}, "no input_size of"),
        ({"interpolation": "random"}, "no interpolation of 'random'"),
        ({"crop_pct": 0}, "no crop_pct of 0"),
        ({"crop_pct": True}, "no crop_pct of True"),
        ({"crop_mode": "rrc"}, "no crop_mode of 'rrc'"),
        ({"use_prefetcher": True}, "must have the settings"),
    ],
)
def test_what_is_no_recipe_is_refused(changed, message):
    recipe = load_backbone("test_resnet", init="random", img_size=32).recipe
    with pytest.raises(ValueError, match=message):
        transform_of({**recipe, **changed})
