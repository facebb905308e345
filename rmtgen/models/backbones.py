"""Backbones: any timm network, pretrained or with a random initialisation whose branches are alive,
and the transform that feeds it.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision.transforms import Compose

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.weights import find_weights, load_weights, local_weights

__all__ = ["Backbone", "load_backbone", "local_weights"]

_GAIN = re.compile(r"gamma(_?\w+)?|ls\d|layer_scale(_\d)?|scale|gain|skipinit_gain")
"""The names timm gives to LayerScale and its kin."""

_MISFIT = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""What timm's networks raise, each in its own way, over an image size they cannot take."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network in eval mode with the transform it expects.

    Attributes:
        name: timm's name, with its tag if one was given.
        model: images (b, 3, h, w) to features (b, feature_dim), or to (b, heads) under a random
            head. Parameters keep `requires_grad`.
        transform: one PIL image of any mode to a float32 tensor of `input_size`.
        feature_dim: the width d of the features, measured.
        input_size: (channels, height, width) in pixels.
        init: "pretrained" or "random".
        source: where the weights came from: a path, "package NAME", "hub REPOSITORY", or "random,
            seed SEED".
    """

    name: str
    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    feature_dim: int
    input_size: tuple[int, int, int]
    init: str
    source: str

    def digest(self) -> str:
        """BLAKE2b-128 over the name, dtype, shape and bytes of every tensor in the state dict, as
        hexadecimal digits.
        """
        hasher = blake2b(digest_size=16)
        for key, tensor in self.model.state_dict().items():
            hasher.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            hasher.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return hasher.hexdigest()


def load_backbone(  # noqa: PLR0913 - one public function for one question
    name: str,
    *,
    init: str = "pretrained",
    weights: str | Path | None = None,
    head: str | None = None,
    heads: int = 1,
    head_seed: int = 438,
    init_seed: int = 438,
    img_size: int | None = None,
    checkpoints: str | Path = "checkpoints",
) -> Backbone:
    """Build a timm network without its classifier, fill it, and measure it. The global random state
    stays as it was.

    `init="random"` is timm's own initialisation drawn from `init_seed`, except that every gain by
    which an initialisation shuts a residual branch is set to 1: zeroed norm scales (ResNets, Swin
    V2), LayerScale, SkipInit and zeroed weight-standardised gains (NFNets). At their defaults the
    network is nearly a skip connection, and its gradients vanish with its branches.

    Args:
        name: any name of timm, with or without a tag.
        init: "pretrained" or "random".
        weights: a file to load instead of searching; not looked at for `init="random"`.
        head: None for features; "random" puts `nn.Linear(feature_dim, heads)` on top, torch's
            default initialisation.
        heads: number of outputs under that head, each drawn from a seed of its own: `head_seed`,
            `head_seed` + 1, …
        head_seed: seed of the first.
        init_seed: seed of the random initialisation.
        img_size: side of the square input in pixels. The image's short side is scaled to it and the
            centre is cut out; networks of a fixed input size are built for it. None: the evaluation
            transform of timm's data config, unchanged.
        checkpoints: folder with files `NAME.safetensors` or `NAME.pth`.

    Raises:
        UsageError: unknown name, init or head, or an `img_size` that the network cannot take.
        MissingInputError: there are no pretrained weights to be had.
        CorruptInputError: the weights cannot be read or belong to another architecture.
    """
    _check_choices(name, init, head, img_size)
    if heads < 1:
        raise UsageError(f"heads must be at least 1, got {heads}.")
    file = find_weights(name, weights, checkpoints) if init == "pretrained" else None
    model = _build(name, init_seed, img_size)
    if file is None:
        _open_branches(model)
    else:
        load_weights(model, file.path, name)
    transform, input_size = _transform(model, img_size)
    dim = _feature_dim(model, name, input_size)
    return Backbone(
        name=name,
        model=(
            model
            if head is None
            else _with_random_head(model, dim, range(head_seed, head_seed + heads))
        ),
        transform=transform,
        feature_dim=dim,
        input_size=input_size,
        init=init,
        source=file.source if file else f"random, seed {init_seed}",
    )


def _check_choices(name: str, init: str, head: str | None, img_size: int | None) -> None:
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise UsageError(
            f"model must be a name of timm, got {name!r}."
            f" {did_you_mean(architecture, timm.list_models())}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as failure:
        tags = [
            known for known in timm.list_pretrained() if known.partition(".")[0] == architecture
        ]
        raise UsageError(
            f"model must carry a tag that timm has for {architecture}, got {name!r}."
            f" {did_you_mean(name, tags)}"
        ) from failure
    if init not in ("pretrained", "random"):
        raise UsageError(f"init must be pretrained or random, got {init!r}.")
    if head not in (None, "random"):
        raise UsageError(f"head must be None (features) or 'random' (one output), got {head!r}.")
    if img_size is not None and img_size < 1:
        raise UsageError(
            f"img_size must be at least 1 pixel, got {img_size}. Leave it out for the size {name}"
            " was made for."
        )


def _build(name: str, seed: int, img_size: int | None) -> nn.Module:
    """The network without classifier, drawn from `seed`, in eval mode."""
    published = timm.get_pretrained_cfg(name)
    fixed = published is not None and published.fixed_input_size
    size = {"img_size": img_size} if img_size is not None and fixed else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # not torch.manual_seed, which would reseed the accelerators too
        try:
            model = timm.create_model(name, num_classes=0, **size)
        except _MISFIT as failure:
            if not size:
                raise
            raise UsageError(_unfit(name, img_size, failure)) from failure
    return model.eval()


def _open_branches(model: nn.Module) -> None:
    """Set to 1 every gain that starts as a constant below 1: the scale a residual branch is
    multiplied with before it is added.

    A gain is the weight of a normalisation, or a parameter under one of the names timm gives to
    LayerScale and its kin. Global response normalisation is left alone: it is the identity plus a
    gated term, so its zero does not shut the branch.
    """
    for module in model.modules():
        norm = "Norm" in type(module).__name__ and type(module).__name__ != "GlobalResponseNorm"
        for name, parameter in module.named_parameters(recurse=False):
            if _GAIN.fullmatch(name) or (norm and name == "weight"):
                values = parameter.detach()
                if values.min() == values.max() and abs(values.max()) < 1:
                    values.fill_(1.0)


def _transform(
    model: nn.Module, img_size: int | None
) -> tuple[Callable[[Image.Image], Tensor], tuple[int, int, int]]:
    """The evaluation transform of timm, after a conversion to RGB."""
    config: dict[str, Any] = resolve_model_data_config(model)
    if img_size is not None:
        config |= {"input_size": (3, img_size, img_size), "crop_pct": 1.0, "crop_mode": "center"}
    return Compose([_to_rgb, create_transform(**config, is_training=False)]), tuple(
        config["input_size"]
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    # Pillow warns on the direct way from a palette with an alpha table; the colours are the same.
    return (
        image.convert("RGBA") if isinstance(image.info.get("transparency"), bytes) else image
    ).convert("RGB")


def _feature_dim(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> int:
    """The width of the features, from one forward pass: `model.num_features` is another number
    where a head widens them.
    """
    try:
        with torch.inference_mode():
            features = model(torch.zeros(1, *input_size))
    except _MISFIT as failure:
        raise UsageError(_unfit(name, input_size[-1], failure)) from failure
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UsageError(
            f"{name} must give one feature vector an image, expected shape (1, d), got {shape}."
            " Choose another model."
        )
    return features.shape[1]


def _unfit(name: str, img_size: int, failure: Exception) -> str:
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    return (
        f"img_size must be one that {name} can take, got {img_size} ({reason}). Leave it out, or"
        " choose a larger or a rounder one."
    )


def _with_random_head(model: nn.Module, dim: int, seeds: Sequence[int]) -> nn.Module:
    """One linear layer whose output j is what a layer of one output would be under seed j."""
    head = nn.utils.skip_init(nn.Linear, dim, len(seeds))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for row, seed in enumerate(seeds):
            torch.default_generator.manual_seed(seed)
            single = nn.Linear(dim, 1)
            head.weight[row], head.bias[row] = single.weight[0], single.bias[0]
    return nn.Sequential(OrderedDict(backbone=model, head=head)).eval()
