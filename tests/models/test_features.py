"""Features: values, equal bits from any starting batch, bounded memory."""

import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_backbones import IMAGES, PICTURES, PIXELS, tiny, wrap
from torch import nn

from rmtgen.datasets import ArrayImages, LabelledImages
from rmtgen.device import default_device
from rmtgen.models.backbones import load_backbone
from rmtgen.models.features import extract_features, feature_batches


def collect(backbone, images=IMAGES, **options):
    return dict(feature_batches(backbone, images, **{"device": "cpu", **options}))


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_features_equal_a_plain_loop_over_single_images(name):
    backbone = load_backbone(name, init="random", img_size=32)
    with torch.inference_mode():
        expected = torch.cat([backbone.model(backbone.transform(image)[None]) for image in IMAGES])
    features = extract_features(backbone, IMAGES, batch_size=7, device="cpu")
    assert (features.dtype, features.device.type) == (torch.float32, "cpu")
    assert features.shape == (23, backbone.feature_dim)
    torch.testing.assert_close(
        features, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )


def test_a_convolution_equals_its_formula():
    backbone = wrap(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten()))
    image = np.asarray(IMAGES[0], np.float64) / 255
    kernel = backbone.model[0].weight.detach().double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(
        image, (3, 3), axis=(0, 1)
    )  # (18, 22, 3, 3, 3)
    expected = np.einsum("hwcij,ocij->ohw", windows, kernel)
    np.testing.assert_allclose(
        extract_features(backbone, IMAGES[:1], device="cpu").numpy()[0], expected.ravel(), atol=1e-5
    )


def test_labelled_images_and_plain_sequences_are_the_same(backbone):
    source = ArrayImages(np.stack([np.asarray(image) for image in IMAGES]))
    labels = np.zeros(23, np.int64)
    labelled = LabelledImages("planted", "train", source, labels, ("a",), np.arange(23))
    first, second = (
        extract_features(backbone, images, device="cpu") for images in (labelled, IMAGES)
    )
    assert torch.equal(first, second)


def test_a_random_head_gives_one_column():
    headed = load_backbone("test_resnet", init="random", img_size=32, head="random")
    assert extract_features(headed, IMAGES[:3], device="cpu").shape == (3, 1)


# --- batches --------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(count=st.integers(1, 23), batch_size=st.integers(1, 25), data=st.data())
def test_a_batch_holds_the_same_bits_wherever_a_run_starts(count, batch_size, data):
    backbone, images, total = tiny(), IMAGES[:count], -(-count // batch_size)
    whole = extract_features(backbone, images, batch_size=batch_size, device="cpu")
    start = data.draw(st.integers(0, total - 1))
    for chosen in (range(start, total), [start], range(total)[::-1]):
        resumed = collect(backbone, images, batches=chosen, batch_size=batch_size)
        assert list(resumed) == list(chosen)
        for batch, features in resumed.items():
            assert torch.equal(features, whole[batch * batch_size : (batch + 1) * batch_size])


def test_no_batches_are_no_work(backbone):
    assert collect(backbone, batches=[]) == {}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_change_nothing(backbone):
    here, there = (
        collect(backbone, batches=range(3), batch_size=8, workers=workers) for workers in (0, 2)
    )
    assert list(here) == list(there) == [0, 1, 2]
    assert all(torch.equal(here[batch], there[batch]) for batch in here)


def test_features_stream_one_batch_at_a_time():
    """Batch k is yielded before an image of batch k+1 is read.

    A killed run has therefore stored all that it computed.
    """
    images = Witness(40)
    stream = feature_batches(tiny(), images, batches=range(10), batch_size=4, device="cpu")
    assert images.touched == 0
    for batch, _ in stream:
        assert images.touched == 4 * (batch + 1)


# --- what is left behind --------------------------------------------------------------------------


def test_the_callers_state_is_left_alone(backbone):
    random_state, digest = torch.get_rng_state(), backbone.digest()
    features = extract_features(backbone, IMAGES, device="cpu")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert backbone.digest() == digest
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert not any(module.training for module in backbone.model.modules())
    assert all(
        parameter.requires_grad and parameter.grad is None
        for parameter in backbone.model.parameters()
    )
    weight = torch.zeros(backbone.feature_dim, requires_grad=True)
    (features @ weight).sum().backward()  # which tensors of inference mode would refuse
    assert torch.allclose(weight.grad, features.sum(dim=0))


def test_an_abandoned_stream_leaves_inference_mode(backbone):
    stream = feature_batches(backbone, IMAGES, batches=range(3), batch_size=8, device="cpu")
    _, features = next(stream)
    assert not torch.is_inference_mode_enabled()
    assert not features.is_inference()
    stream.close()


def test_a_backbone_serves_gradients_after_its_features_were_taken(backbone):
    extract_features(backbone, IMAGES, device="cpu")
    backbone.model(torch.randn(2, *backbone.input_size)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.model.parameters())
    backbone.model.zero_grad()


def test_a_bar_is_not_drawn_where_nobody_watches(backbone, capfd):
    extract_features(backbone, IMAGES, device="cpu", progress=True)
    extract_features(backbone, IMAGES, device="cpu", progress=False)
    assert capfd.readouterr() == ("", "")


# --- memory ---------------------------------------------------------------------------------------


class Witness(Sequence):
    """Images made on access, with counts of those accessed and of those alive at a time."""

    def __init__(self, count):
        self.count, self.touched, self.alive, self.most_alive = count, 0, 0, 0

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        image = Image.new("RGB", (24, 20), (position % 256, 1, 2))
        self.touched, self.alive = self.touched + 1, self.alive + 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(image, self._died)
        return image

    def _died(self):
        self.alive -= 1


def test_images_are_not_kept():
    images = Witness(200)
    extract_features(tiny(), images, batch_size=4, device="cpu")
    assert images.touched == 200
    assert images.most_alive <= 2


GROWTH = """
import resource
from PIL import Image
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor
from rmtgen.models.backbones import Backbone
from rmtgen.models.features import extract_features

class Images:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, i): return Image.new("RGB", (96, 96), (i % 256, 0, 0))

torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
backbone = Backbone("tiny", model, to_tensor, 8, (3, 96, 96), "random", "")
for count in (300, 1200):
    extract_features(backbone, Images(count), batch_size=16, device="cpu")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_peak_memory_does_not_grow_with_the_images():
    """900 more images are 99.5 MB of pixels; their features are 29 kB."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH], check=True, capture_output=True, text=True
    )
    small, large = map(int, done.stdout.split())
    assert large - small < 5_000_000


def test_the_default_device_is_a_gpu_where_there_is_one(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert default_device() == torch.device(device)
    assert default_device("cpu") == default_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        list(PIXELS),
        tuple(PICTURES),
        [(picture, 1) for picture in PICTURES],
        [PIXELS[0], PICTURES[1], (PIXELS[2], 5)],
    ],
    ids=["array", "arrays", "tuple", "pairs", "mixed"],
)
def test_arrays_and_pairs_are_the_pictures_that_they_hold(images, backbone):
    expected = extract_features(backbone, PICTURES)
    assert torch.equal(extract_features(backbone, images), expected)


def test_grey_arrays_are_grey_pictures(backbone):
    grey = PIXELS[..., 0]
    expected = extract_features(backbone, [Image.fromarray(pixels) for pixels in grey])
    assert torch.equal(extract_features(backbone, grey), expected)
    assert torch.equal(extract_features(backbone, list(grey)), expected)


@pytest.mark.parametrize("wrapper", [partial(torch.compile, backend="eager"), nn.DataParallel])
def test_a_wrapped_model_gives_the_features_of_the_plain_one(wrapper, backbone):
    wrapped = replace(backbone, model=wrapper(backbone.model))
    expected = extract_features(backbone, PICTURES)
    assert torch.equal(extract_features(wrapped, PICTURES), expected)
