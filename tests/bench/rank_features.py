"""Representations of the benchmark of rankings: layers of networks, trained and random.

Features of all layers of a network come from one pass over the pictures, and stay in the cache,
one file of float32 per layer and source.
"""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rmtgen import extract_features, load_backbone
from rmtgen.models.backbones import Backbone
from rmtgen.models.checkpoints import read_checkpoint
from rmtgen.models.weights import find_weights
from rmtgen.ranking.rivals.facts import parameter_count
from rmtgen.store.durable import write_bytes
from tests.bench.rank_tasks import Source

LAST = "last"
"""The layer that the classifier of a network takes."""
LITES = tuple(f"tf_efficientnet_lite{size}" for size in (0, 1, 2))
RESNETS = ("resnet18", "resnet50")
INITS = ("pretrained", "random")
TOP1 = dict(zip(LITES, (74.830, 76.644, 77.464), strict=True))
"""Accuracy on ImageNet in per cent (`results/results-imagenet.csv` of timm)."""
WIDTHS = {"narrow": (0, 200), "middle": (200, 600), "wide": (600, 10_000)}
"""Classes of size: numbers of features from, and below."""


@dataclass(frozen=True)
class Network:
    """A network at one size of images, and the layers that are looked at."""

    model: str
    init: str
    pixels: int
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model.removeprefix('tf_efficientnet_')} {self.init} {self.pixels} px"

    @property
    def top1(self) -> float | None:
        """Its accuracy on ImageNet, where it was trained on that."""
        return TOP1.get(self.model) if self.init == "pretrained" else None

    @property
    def representations(self) -> tuple["Representation", ...]:
        """One of each layer."""
        return tuple(Representation(self, layer) for layer in self.layers)

    def backbone(self, checkpoints: Path) -> Backbone:
        """The network, with the weights of CIFAR-10 for a trained ResNet."""
        return load_backbone(
            self.model,
            init=self.init,
            weights=self.weights(checkpoints),
            img_size=self.pixels,
            download=False,
        )

    def weights(self, checkpoints: Path) -> Path | None:
        """The file of a trained ResNet; None for others, which rmtgen finds."""
        ours = self.init == "pretrained" and self.model in RESNETS
        return checkpoints / f"{self.model}-cifar10.safetensors" if ours else None


@dataclass(frozen=True)
class Representation:
    """A layer of a network."""

    network: Network
    layer: str

    def __str__(self) -> str:
        return f"{self.network}, {self.layer}"

    @property
    def has_head(self) -> bool:
        """Whether the classifier that the network was trained with takes these features."""
        return self.network.init == "pretrained" and self.layer == LAST

    def file(self, folder: Path, source: Source) -> Path:
        """Where its features of a source lie."""
        name = f"{self}".replace(" ", "-").replace(",", "")
        return folder / "features" / source.name / f"{name}-{len(source.labels)}.npy"

    def features(self, folder: Path, source: Source) -> np.ndarray:
        """Features of a source (n, p), mapped into memory."""
        return np.load(self.file(folder, source), mmap_mode="r")


def networks() -> list[Network]:
    """All networks."""
    found = []
    for init in INITS:
        found += [Network(name, init, 32, ("blocks.2", "blocks.4", LAST)) for name in LITES]
        found += [Network(name, init, 32, ("layer2", "layer3", LAST)) for name in RESNETS]
        found.append(Network("resnet18", init, 64, (LAST,)))
        sharp = LITES if init == "pretrained" else LITES[:1]
        found += [Network(name, init, 64, ("blocks.4", LAST)) for name in sharp]
    return found


class Layers(nn.Module):
    """A network whose output is that of several layers side by side, each averaged over the map."""

    def __init__(self, network: nn.Module, layers: tuple[str, ...]):
        super().__init__()
        self.network, self.layers = network, layers

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the layers, (b, sum of their channels)."""
        found: dict[str, Tensor] = {}
        handles = [
            self.network.get_submodule(layer).register_forward_hook(_keeping(found, layer))
            for layer in self.layers
            if layer != LAST
        ]
        try:
            found[LAST] = self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat(
            [
                found[layer].flatten(2).mean(2) if layer != LAST else found[layer]
                for layer in self.layers
            ],
            dim=1,
        )

    def widths(self, size: tuple[int, int, int]) -> list[int]:
        """Number of features of each layer."""
        with torch.inference_mode():
            image = torch.zeros(1, *size)
            return [Layers(self.network, (layer,))(image).shape[1] for layer in self.layers]


def _keeping(found, layer):
    def keep(_module, _inputs, output):
        found[layer] = output

    return keep


def extract(network: Network, source: Source, folder: Path, checkpoints: Path) -> None:
    """Write the features of all layers that are not there."""
    files = [one.file(folder, source) for one in network.representations]
    if all(file.exists() for file in files):
        return
    backbone = network.backbone(checkpoints)
    layers = Layers(backbone.model, network.layers).eval()
    widths = layers.widths(backbone.input_size)
    whole = dataclasses.replace(backbone, model=layers, feature_dim=sum(widths))
    features = torch.cat([extract_features(whole, some) for some in source.pictures])
    for file, part in zip(files, features.split(widths, dim=1), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.save(content, part.numpy())
        write_bytes(file, content.getvalue())


def parameters(network: Network) -> int:
    """Number of parameters without the classifier."""
    return parameter_count(load_backbone(network.model, init="random", img_size=32).model)


def head(network: Network, checkpoints: Path) -> tuple[np.ndarray, np.ndarray]:
    """Weights (s, p) and biases (s,) of the classifier that a network was trained with."""
    file = find_weights(network.model, network.weights(checkpoints), download=False).path
    tensors = read_checkpoint(file)
    names = [name for name in tensors if name.split(".")[0] in ("_fc", "fc", "classifier")]
    weight, bias = (
        tensors[next(name for name in names if name.endswith(end))].double().numpy()
        for end in ("weight", "bias")
    )
    return weight, bias


def probabilities(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Softmax of the outputs of a classifier, (n, s)."""
    return torch.from_numpy(features @ weight.T + bias).softmax(dim=1).numpy()
