"""Backbones: timm networks, pretrained or randomly initialised, with their image transforms.

A random initialisation keeps every residual branch active; see `load_backbone`.
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

from rmtgen.datasets.decoding import to_rgb
from rmtgen.entrance import public
from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.framing import middle_of_long
from rmtgen.models.names import present_name
from rmtgen.models.state_dicts import load_weights
from rmtgen.models.weights import find_weights, local_weights
from rmtgen.scalars import flag, path, whole_number

__all__ = ["Backbone", "load_backbone", "local_weights"]

_GAIN = re.compile(r"gamma(_?\w+)?|ls\d|layer_scale(_\d)?|scale|gain|skipinit_gain")
"""Names of the parameters of LayerScale and similar layers in timm."""

_MISFIT = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that the networks of timm raise for an image size that they do not accept."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network in eval mode with its image transform.

    Attributes:
        name: Present name in timm, with its tag if one was given.
        model: Module from images (b, 3, h, w) to features (b, feature_dim), or to (b, heads) with a
            random head. Its parameters require a gradient.
        transform: Function from a PIL image of any mode to a float32 tensor of `input_size`.
        feature_dim: Dimension d of the features, as measured.
        input_size: (channels, height, width) in pixels.
        init: "pretrained" or "random".
        source: Origin of the weights: a path, "package NAME", "hub REPOSITORY", or "random, seed
            SEED". After a path, the place in the file of the weights if several would fit.
    """

    name: str
    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    feature_dim: int
    input_size: tuple[int, int, int]
    init: str
    source: str

    def digest(self) -> str:
        """The BLAKE2b-128 digest of names, dtypes, shapes and bytes of the state dict, in hex."""
        hasher = blake2b(digest_size=16)
        for key, tensor in self.model.state_dict().items():
            hasher.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            hasher.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return hasher.hexdigest()


@public
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
    download: bool = True,
) -> Backbone:
    """A timm network without its classifier, with weights, and its image transform.

    The global random state is unchanged.

    `init="random"` is the initialisation of timm, drawn from `init_seed`, with one exception: every
    gain whose initial value closes a residual branch is set to 1. These are zeroed norm scales
    (ResNet, Swin V2), LayerScale, SkipInit, and zeroed gains of weight standardisation (NFNet).
    With the defaults the network is nearly a skip connection, and the gradients of its branches
    vanish.

    Args:
        name: Name in timm, with or without a tag. A name that timm has deprecated is resolved to
            the present one, and noted in the log.
        init: "pretrained" or "random".
        weights: File to load instead of a search; ignored for `init="random"`.
        head: None for features; "random" appends `nn.Linear(feature_dim, heads)` with the default
            initialisation of torch.
        heads: Number of outputs of that head, drawn from the seeds `head_seed`, `head_seed` + 1, …
        head_seed: Seed of the first output.
        init_seed: Seed of the random initialisation.
        img_size: Side of the square input in pixels. The short side of an image is scaled to it,
            and the centre is cropped; a network with a fixed input size is built for it. None: the
            evaluation transform of the data config in timm, unchanged.
        checkpoints: Folder of files `NAME.safetensors` or `NAME.pth`.
        download: Ask the hub of timm for weights that are not on this machine.

    Raises:
        UsageError: The name, `init` or `head` is unknown, or the network does not accept
            `img_size`.
        MissingInputError: No pretrained weights can be found.
        CorruptInputError: The weights cannot be read, are not finite floats, or belong to another
            architecture.
    """
    if not isinstance(name, str):
        raise UsageError(f"model must be a name of timm, got {name!r:.60}.")
    name = present_name(name)
    _check_choices(name, init, head, img_size)
    heads = whole_number(heads, "heads", least=1, most=2**20)
    head_seed = whole_number(head_seed, "head_seed", least=0, most=2**62)
    init_seed = whole_number(init_seed, "init_seed", least=0)
    weights = None if weights is None else path(weights, "weights")
    checkpoints, download = path(checkpoints, "checkpoints"), flag(download, "download")
    file = None
    if init == "pretrained":
        file = find_weights(name, weights, checkpoints, download=download)
    model = _build(name, init_seed, img_size)
    if file is None:
        _open_branches(model)
        source = f"random, seed {init_seed}"
    else:
        place = load_weights(model, file.path, name)
        source = f"{file.source}, {place}" if place else file.source
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
        source=source,
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
    if not isinstance(init, str) or init not in ("pretrained", "random"):
        raise UsageError(f"init must be pretrained or random, got {init!r:.60}.")
    if head is not None and not (isinstance(head, str) and head == "random"):
        raise UsageError(
            f"head must be None (features) or 'random' (one output), got {head!r:.60}."
        )
    if img_size is not None:
        cure = f"Leave it out for the default size of {name}."
        whole_number(img_size, "img_size", least=1, most=2**15, cure=cure)


def _build(name: str, seed: int, img_size: int | None) -> nn.Module:
    """The network without its classifier, initialised from `seed`, in eval mode."""
    published = timm.get_pretrained_cfg(name)
    fixed = published is not None and published.fixed_input_size
    size: dict[str, Any] = {"img_size": img_size} if img_size is not None and fixed else {}
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators
        torch.default_generator.manual_seed(seed)
        try:
            model = timm.create_model(name, num_classes=0, **size)
        except _MISFIT as failure:
            if not size:
                raise
            raise UsageError(_unfit(name, size["img_size"], failure)) from failure
    return model.eval()


def _open_branches(model: nn.Module) -> None:
    """Set every gain with a constant initial value below 1 to 1.

    A gain scales a residual branch before the addition. It is the weight of a normalisation, or a
    parameter whose name is one of LayerScale and similar layers in timm. Global response
    normalisation is unchanged: it is the identity plus a gated term, so that a zero gain does not
    close the branch.
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
    """The evaluation transform of timm on the upright RGB picture, and the input size."""
    config: dict[str, Any] = resolve_model_data_config(model)
    if img_size is not None:
        config |= {"input_size": (3, img_size, img_size), "crop_pct": 1.0, "crop_mode": "center"}
    steps = [to_rgb, create_transform(**config, is_training=False)]
    if config["crop_mode"] == "center":  # the other modes see the whole picture
        steps.insert(1, middle_of_long)
    return Compose(steps), tuple(config["input_size"])


def _feature_dim(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> int:
    """The dimension of the features, from one forward pass.

    `model.num_features` differs from it if a head of timm widens the features.
    """
    try:
        with torch.inference_mode():
            features = model(torch.zeros(1, *input_size))
    except _MISFIT as failure:
        raise UsageError(_unfit(name, input_size[-1], failure)) from failure
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UsageError(
            f"{name} must return one feature vector per image, expected shape (1, d), got {shape}."
            " Choose another model."
        )
    return features.shape[1]


def _unfit(name: str, img_size: int, failure: Exception) -> str:
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    return (
        f"img_size must be one that {name} can take, got {img_size} ({reason}). Leave it out, or"
        " choose a larger one, or a multiple of 32."
    )


def _with_random_head(model: nn.Module, dim: int, seeds: Sequence[int]) -> nn.Module:
    """The model with a linear layer whose output j equals a one-output layer drawn from seed j."""
    head = nn.utils.skip_init(nn.Linear, dim, len(seeds))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for row, seed in enumerate(seeds):
            torch.default_generator.manual_seed(seed)
            single = nn.Linear(dim, 1)
            head.weight[row], head.bias[row] = single.weight[0], single.bias[0]
    return nn.Sequential(OrderedDict(backbone=model, head=head)).eval()
