"""Very long pictures: what the transform sees is the same, at a fraction of the memory."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from rmtgen.models.backbones import load_backbone
from rmtgen.models.framing import LONGEST, middle_of_long


@pytest.fixture(scope="module")
def transform():
    return load_backbone("test_resnet", init="random", img_size=32).transform


@pytest.fixture(scope="module")
def whole():
    """The transform of timm for the same backbone, which scales the whole picture."""
    options = resolve_model_data_config(timm.create_model("test_resnet"))
    options |= {"input_size": (3, 32, 32), "crop_pct": 1.0, "crop_mode": "center"}
    return create_transform(**options, is_training=False)


def noise(width, height):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(500, 300), (32, 32), (1, 1), (320, 10), (1, 32), (96, 3)])
def test_usual_pictures_are_those_of_timm_bit_for_bit(transform, whole, size):
    picture = noise(*size)
    assert middle_of_long(picture) is picture
    assert torch.equal(transform(picture), whole(picture))


@pytest.mark.parametrize("size", [(1, 200), (1, 201), (301, 1), (2, 400), (500, 4)])
def test_the_middle_of_a_long_picture_gives_the_pixels_of_the_whole(transform, whole, size):
    picture = noise(*size)
    short, long = sorted(middle_of_long(picture).size)
    assert (short, long - LONGEST * short) in ((min(size), 0), (min(size), 1))
    assert (transform(picture) - whole(picture)).abs().max() < 1e-6


def test_a_long_picture_is_scaled_no_further_than_its_middle(transform, monkeypatch):
    scaled, resize = [], Image.Image.resize

    def watched(self, size, *arguments, **options):
        scaled.append(size[0] * size[1])
        return resize(self, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert transform(Image.new("RGB", (1, 6000))).shape == (3, 32, 32)
    assert transform(Image.new("RGB", (60_000, 2))).shape == (3, 32, 32)
    assert max(scaled) <= 32 * 32 * (LONGEST + 1)
