"""What goes wrong with features: images, layers and options that are named in one line."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image
from small_backbones import IMAGES, PICTURES, PIXELS, tiny, wrap
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from rmtgen.errors import CorruptInputError, NumericalError, UsageError
from rmtgen.models.backbones import load_backbone
from rmtgen.models.features import extract_features, feature_batches


class Log(nn.Module):
    def forward(self, x):
        return x.log()


def test_the_first_broken_image_and_layer_are_named():
    model = nn.Sequential()
    for name, layer in {
        "pool": nn.AdaptiveAvgPool2d(1),
        "log": Log(),
        "flat": nn.Flatten(),
    }.items():
        model.add_module(name, layer)
    images = [
        *IMAGES[:9],
        *[Image.new("RGB", (24, 20))] * 2,
        *IMAGES[:2],
    ]  # the logarithm of black is -inf
    with pytest.raises(
        NumericalError,
        match=(
            r"2 of the 4 images of batch 2 give NaN or infinity, image 9 first; the values begin at"
            r" layer log\."
        ),
    ):
        extract_features(wrap(model), images, batch_size=4, device="cpu")


def test_a_broken_layer_inside_a_network_is_named(backbone):
    broken = load_backbone("test_resnet", init="random", img_size=32, head="random")
    with torch.no_grad():
        broken.model.backbone.layer2[0].conv1.weight[0] = float("nan")
    with pytest.raises(
        NumericalError,
        match=(
            r"23 of the 23 images .* image 0 first; the values begin at layer"
            r" backbone\.layer2\.0\.conv1"
        ),
    ):
        extract_features(broken, IMAGES, device="cpu")


def test_pixels_that_are_not_finite_are_blamed_on_the_transform():
    model = nn.Flatten()
    with pytest.raises(
        NumericalError,
        match=r"3 of the 3 images of batch 0 .* the values begin at the transformed image\.",
    ):
        extract_features(wrap(model, lambda image: to_tensor(image) / 0), IMAGES[:3], device="cpu")


class Damaged(Sequence):
    def __len__(self):
        return 9

    def __getitem__(self, position):
        if position == 5:
            raise CorruptInputError("image 5 (five.png) is damaged.")
        return IMAGES[position]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_clear_line(workers):
    stream = feature_batches(
        tiny(), Damaged(), batches=range(3), batch_size=4, device="cpu", workers=workers
    )
    assert next(stream)[0] == 0
    with pytest.raises(CorruptInputError, match=r"^image 5 \(five\.png\) is damaged\.$"):
        next(stream)


class Greedy(nn.Module):
    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")


def test_a_batch_too_large_for_memory_says_so():
    with pytest.raises(
        UsageError,
        match=r"23 images do not \(CUDA out of memory\. .*9 GiB\.\)\. Lower batch_size\.$",
    ):
        extract_features(wrap(Greedy()), IMAGES, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": []}, "images must hold at least one image, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1: got 0"),
        ({"device": "abacus"}, "device must be one that torch knows, .* got 'abacus'"),
        ({"device": "cuda:99"}, "cuda:99 is not among [0-9]+ CUDA devices. Use device=cpu"),
    ],
)
def test_the_callers_mistakes_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        extract_features(tiny(), options.pop("images", IMAGES), **options)


@pytest.mark.parametrize("batches", [[0, 3], [-1], range(2, 5)])
def test_batches_past_the_images_are_refused_before_any_work(batches):
    wrong = next(batch for batch in batches if not 0 <= batch < 3)
    with pytest.raises(
        UsageError, match=f"must lie within 23 images, 8 per batch, got number {wrong}"
    ):
        feature_batches(tiny(), IMAGES, batches=batches, batch_size=8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "must be read by number.*got NoneType"),
        ("folder", "must be a sequence of samples, got str"),
        (iter(PICTURES), "must be read by number.*got list_iterator"),
        (DataLoader(PICTURES), r"got a DataLoader.*loader\.dataset"),
        (["a.png"], r"images\[0\] must be a PIL image, got str. Open it"),
        ([{"image": PICTURES[0]}], "got dict with the keys image"),
        (torch.zeros(2, 3, 32, 32), r"got a tensor \(3, 32, 32\) of torch.float32. Give the pic"),
        (PIXELS / 255, r"got an array \(40, 36, 3\) of float64. Give uint8, \(h, w\) or"),
        (PIXELS.transpose(0, 3, 1, 2), r"got an array \(3, 40, 36\) of uint8. Give uint8"),
        (PIXELS[:0], "must hold at least one image, got 0"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(images, message, backbone):
    with pytest.raises(UsageError, match=message):
        extract_features(backbone, images)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 3), r"expected \(3, p\), got \(3, 4, 30, 30\). Pool and flatten"),
        (nn.Linear(5, 4), r"accept a batch of the samples.*RuntimeError: mat1"),
        (nn.Conv2d(3, 4, 3).half(), "expected float32 parameters, got torch.float16 as weight"),
        (nn.Conv2d(3, 4, 3).to("meta"), "weight is on the meta device"),
        (None, "the model must be a torch.nn.Module, got NoneType"),
    ],
)
def test_a_model_without_rows_of_features_is_refused_in_one_line(model, message, backbone):
    with pytest.raises(UsageError, match=message):
        extract_features(replace(backbone, model=model), PICTURES)


def test_a_network_in_place_of_a_backbone_is_refused(backbone):
    with pytest.raises(UsageError, match="backbone must be a Backbone, got ResNet. Give that of"):
        extract_features(backbone.model, PICTURES)
