"""A ResNet-18 trained on CIFAR-10, loaded as any user's file, on real CIFAR-100 pictures it has
never seen."""

import io
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from rmtgen.errors import CorruptInputError
from rmtgen.models.backbones import load_backbone
from rmtgen.models.features import extract_features

SHARED = Path(__file__).parents[2] / "../shared"
WEIGHTS, ARCHIVE = SHARED / "checkpoints/resnet18-cifar10.safetensors", SHARED / "data/cifar100.tar"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.exists(), reason=f"needs a trained ResNet-18 at {WEIGHTS}"
)


@pytest.fixture(scope="module")
def trained():
    return load_backbone("resnet18", weights=WEIGHTS, img_size=32)


@pytest.fixture(scope="module")
def pictures():
    """60 training pictures of each of CIFAR-100's first ten classes, class by class."""
    if not ARCHIVE.exists():
        pytest.skip(f"needs real CIFAR-100 at {ARCHIVE}")
    classes = defaultdict(list)
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            path = Path(member.name)
            if member.isfile() and path.parts[-3] == "train":
                classes[path.parts[-2]].append(member)
        return [
            Image.open(io.BytesIO(archive.extractfile(member).read()))
            for name in sorted(classes)[:10]
            for member in sorted(classes[name], key=lambda member: member.name)[:60]
        ]


def test_every_tensor_but_the_classifiers_comes_from_the_file(trained):
    stored, loaded = load_file(WEIGHTS), trained.model.state_dict()
    assert {key for key in stored if key not in loaded} == {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, stored[key].to(tensor.dtype)) for key, tensor in loaded.items())
    assert stored["conv1.weight"].dtype == torch.float16 != loaded["conv1.weight"].dtype
    assert (trained.feature_dim, trained.input_size, trained.source) == (
        512,
        (3, 32, 32),
        str(WEIGHTS),
    )


def test_timm_computes_the_same_features(trained, pictures):
    model = timm.create_model("resnet18", num_classes=10).eval()
    model.load_state_dict(load_file(WEIGHTS))
    pixels = torch.stack([trained.transform(picture) for picture in pictures[::60]])
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(
        extract_features(trained, pictures[::60], device="cpu"), expected, rtol=1e-4, atol=1e-5
    )


def test_it_is_refused_for_another_architecture():
    for name in ("resnet34", "resnet50", "convnext_atto"):
        with pytest.raises(CorruptInputError, match=f"must hold weights of {name}"):
            load_backbone(name, weights=WEIGHTS, img_size=32)


def ridge_accuracy(features, labels, train):
    """Accuracy on the rest of one-hot ridge regression, at its best ridge, with centred features of
    unit mean square."""
    features = features.double().numpy()
    features = features - features[train].mean(axis=0)
    features /= np.sqrt((features[train] ** 2).sum(axis=1).mean())
    targets, best = np.eye(10)[labels] - 0.1, 0.0
    for ridge in 10.0 ** np.arange(-5, 1):
        covariance = features[train].T @ features[train] / train.sum() + ridge * np.eye(
            features.shape[1]
        )
        weights = np.linalg.solve(covariance, features[train].T @ targets[train] / train.sum())
        best = max(best, np.mean((features[~train] @ weights).argmax(axis=1) == labels[~train]))
    return best


def test_its_features_beat_random_ones_by_far(trained, pictures):
    labels, train = np.repeat(np.arange(10), 60), np.tile(np.arange(60) < 40, 10)
    random = load_backbone("resnet18", init="random", img_size=32)
    scores = [
        ridge_accuracy(extract_features(backbone, pictures, device="cpu"), labels, train)
        for backbone in (trained, random)
    ]
    assert scores[0] > 0.45
    assert scores[0] > scores[1] + 0.1
