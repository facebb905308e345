"""Pictures and small backbones of the tests of features."""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import to_tensor

from rmtgen.models.backbones import Backbone

IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(1, 256, (20, 24, 3), np.uint8))
    for seed in range(23)
]


def wrap(model, transform=to_tensor):
    return Backbone("tiny", model.eval(), transform, 5, (3, 20, 24), "random", "random, seed 0")


def tiny():
    torch.manual_seed(0)
    return wrap(
        nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    )


PIXELS = np.random.default_rng(0).integers(256, size=(3, 40, 36, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]
