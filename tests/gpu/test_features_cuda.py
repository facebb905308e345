"""Features on CUDA against the CPU: values, resumed runs, errors, memory."""

import gc
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from rmtgen.device import default_device
from rmtgen.errors import CorruptInputError, NumericalError, UsageError
from rmtgen.models.backbones import load_backbone
from rmtgen.models.features import extract_features, feature_batches

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="needs a CUDA device: torch.cuda.is_available() is False",
    ),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(1, 256, (32, 32, 3), np.uint8))
    for seed in range(53)
]


def fresh(name="test_resnet", **options):
    return load_backbone(name, init="random", **{"img_size": 64, **options})


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_convnext", "test_vit", "resnet50", "tf_efficientnet_lite0"]
)
def test_features_equal_those_of_the_cpu(name):
    backbone, digest = fresh(name), fresh(name).digest()
    known = extract_features(backbone, IMAGES, batch_size=16, device="cpu")
    found = extract_features(backbone, IMAGES, batch_size=16)
    assert (found.device.type, found.dtype) == ("cpu", torch.float32)
    assert next(backbone.model.parameters()).is_cuda
    assert backbone.digest() == digest
    assert (found - known).norm() < 1e-4 * known.norm()


@pytest.mark.parametrize("workers", [0, 3, None])
def test_a_run_from_the_middle_gives_the_same_bits(workers):
    backbone = fresh("resnet50")
    whole = extract_features(backbone, IMAGES, batch_size=8, device="cuda")
    resumed = dict(
        feature_batches(
            backbone, IMAGES, batches=range(3, 7), batch_size=8, device="cuda", workers=workers
        )
    )
    assert list(resumed) == [3, 4, 5, 6]
    for batch, features in resumed.items():
        assert torch.equal(features, whole[8 * batch : 8 * batch + 8])


def test_the_gpu_is_the_default():
    assert default_device() == torch.device("cuda")
    with pytest.raises(UsageError, match=f"is not among {torch.cuda.device_count()} CUDA devices"):
        default_device(f"cuda:{torch.cuda.device_count()}")


def test_the_first_broken_image_and_layer_are_named():
    backbone = fresh(head="random")
    with torch.no_grad():
        backbone.model.backbone.layer2[0].conv1.weight[0] = float("nan")
    stream = feature_batches(backbone, IMAGES, batches=range(2, 6), batch_size=8, device="cuda")
    with pytest.raises(
        NumericalError,
        match=r"batch 2 .*, image 16 first; the values begin at layer backbone\.layer2\.0\.conv1",
    ):
        next(stream)


class Damaged(Sequence):
    def __len__(self):
        return 24

    def __getitem__(self, position):
        if position == 20:
            raise CorruptInputError("image 20 is damaged.")
        return IMAGES[position]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_one_clear_line(workers):
    with pytest.raises(CorruptInputError, match=r"^image 20 is damaged\.$"):
        list(
            feature_batches(
                fresh(), Damaged(), batches=range(3), batch_size=8, device="cuda", workers=workers
            )
        )


def test_a_batch_too_large_for_memory_says_so():
    backbone = fresh("resnet50", img_size=224)
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 200 * 2**20) / total)
    try:
        with pytest.raises(UsageError, match=r"53 images do not \(.*\)\. Lower batch_size\.$"):
            extract_features(backbone, IMAGES, batch_size=64, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_device_memory_does_not_grow_with_the_images():
    backbone, peaks = fresh("resnet50"), []
    for count in (24, 53):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        extract_features(backbone, IMAGES[:count], batch_size=8, device="cuda")
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= peaks[0]
