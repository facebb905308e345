"""Transforms by the name of a data set, beside torchvision's own steps."""

import numpy as np
import pytest
import torch
from networks import random_backbone
from PIL import Image

from rmtgen.datasets.vision import VISION_SETS
from rmtgen.errors import UsageError
from rmtgen.models.preprocessing import PREPROCESSING
from tests import paper

WIDE = ("fgvcaircraft", "food101", "flowers102")
"""Data sets whose pictures are of any shape."""


def test_there_is_one_for_each_data_set_of_torchvision():
    assert PREPROCESSING.keys() == VISION_SETS.keys()


@pytest.mark.parametrize("side", [None, 56])
@pytest.mark.parametrize("name", PREPROCESSING)
def test_it_is_the_transform_of_the_paper(name, side):
    rng = np.random.default_rng(0)
    if name == "fashionmnist":
        picture = Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8))
    else:
        shape = (300, 401, 3) if name in WIDE else (32, 32, 3)
        picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    backbone = random_backbone(img_size=side, transform=name)
    expected = paper.transform(name, side or 224)(picture)
    assert torch.equal(backbone.transform(picture), expected)
    assert backbone.input_size == tuple(expected.shape) == (3, side or 224, side or 224)


def test_pictures_that_are_not_square_are_cropped_where_the_paper_has_square_ones():
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    transform = random_backbone(img_size=64, transform="cifar10").transform
    assert torch.equal(transform(wide), transform(wide.crop((16, 0, 80, 64))))


@pytest.mark.parametrize("name", ["cifar", "", 3, ["cifar10"]])
def test_another_name_is_refused(name):
    with pytest.raises(UsageError, match="transform must be None or the name of a data set"):
        random_backbone(transform=name)
