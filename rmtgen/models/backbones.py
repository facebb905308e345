"""Backbones: networks, pretrained or randomly initialised, with their image transforms.

A random initialisation keeps every residual branch active; see `load_backbone`.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from rmtgen.entrance import public
from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.libraries import library_of
from rmtgen.models.library import MISFIT, Library, unfit
from rmtgen.models.names import present_name
from rmtgen.models.preprocessing import PREPROCESSING, SIDE
from rmtgen.models.recipes import recipe_of, transform_of
from rmtgen.models.state_dicts import load_weights
from rmtgen.models.weights import find_weights, local_weights
from rmtgen.scalars import flag, path, whole_number

__all__ = ["Backbone", "load_backbone", "local_weights"]

_GAIN = re.compile(r"gamma(_?\w+)?|ls\d|layer_scale(_\d)?|scale|gain|skipinit_gain")
"""Names of the parameters of LayerScale and similar layers in timm."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network in eval mode with its image transform.

    Attributes:
        name: Present name in timm, with its tag if one was given, or "torchvision/NAME".
        model: Module from images (b, 3, h, w) to features (b, feature_dim), or to (b, heads) with a
            random head. Its parameters require a gradient.
        transform: Function from a PIL image of any mode to a float32 tensor of `input_size`.
        feature_dim: Dimension d of the features, as measured.
        input_size: (channels, height, width) in pixels.
        init: "pretrained", "random", or "calibrated"; see `rmtgen.calibrate_norms`.
        source: Origin of the weights: a path, "package NAME", "hub REPOSITORY", or "random, seed
            SEED". After a path, the place in the file of the weights if several would fit; at the
            end, the number of images of calibrated statistics.
        recipe: Settings that `transform` is made of again, as JSON has them (`models.recipes`);
            None for a transform of one's own.
    """

    name: str
    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    feature_dim: int
    input_size: tuple[int, int, int]
    init: str
    source: str
    recipe: Mapping[str, Any] | None = None

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
    head_seed: int | None = 438,
    init_seed: int = 438,
    img_size: int | None = None,
    transform: str | None = None,
    checkpoints: str | Path = "checkpoints",
    download: bool = True,
) -> Backbone:
    """A network without its classifier, with weights, and its image transform.

    The global random state is unchanged.

    `init="random"` is the initialisation of the library, drawn from `init_seed`, with one
    exception: every gain whose initial value closes a residual branch is set to 1. These are zeroed
    norm scales (ResNet, Swin V2), LayerScale, SkipInit, and zeroed gains of weight standardisation
    (NFNet). With the defaults of timm the network is nearly a skip connection, and the gradients of
    its branches vanish. The residual networks and EfficientNets of torchvision have no such gain.

    Args:
        name: Name in timm, with or without a tag; or "torchvision/NAME" for a residual network or
            an EfficientNet of torchvision. A name that timm has deprecated is resolved to the
            present one, and noted in the log.
        init: "pretrained" or "random".
        weights: File to load instead of a search; ignored for `init="random"`.
        head: None for features; "random" appends `nn.Linear(feature_dim, heads)` with the default
            initialisation of torch.
        heads: Number of outputs of that head, drawn from the seeds `head_seed`, `head_seed` + 1, …
        head_seed: Seed of the first output; None: one output, drawn from the random stream of
            `init_seed` where the initialisation of the network has left it.
        init_seed: Seed of the random initialisation.
        img_size: Side of the square input in pixels. The short side of an image is scaled to it,
            and the centre is cropped; a network with a fixed input size is built for it. None: the
            evaluation transform of the library, unchanged.
        transform: Name of a data set in `rmtgen.models.preprocessing` whose published transform
            takes the place of that of the library; of 224 pixels, or scaled to `img_size`.
        checkpoints: Folder of files `NAME.safetensors` or `NAME.pth`.
        download: Ask the network for weights that are not on this machine.

    Raises:
        UsageError: The name, `init`, `head` or `transform` is unknown, several heads have no seed,
            or the network does not accept `img_size`.
        MissingInputError: No pretrained weights can be found.
        CorruptInputError: The weights cannot be read, are not finite floats, or belong to another
            architecture.
    """
    if not isinstance(name, str):
        raise UsageError(f"model must be a name of timm, got {name!r:.60}.")
    name = present_name(name)
    library = library_of(name)
    library.require(name)
    _check_choices(name, init, head, img_size, transform)
    seeds = _head_seeds(head_seed, heads)
    init_seed = whole_number(init_seed, "init_seed", least=0)
    weights = None if weights is None else path(weights, "weights")
    checkpoints, download = path(checkpoints, "checkpoints"), flag(download, "download")
    file = None
    if init == "pretrained":
        file = find_weights(name, weights, checkpoints, download=download)
    side = SIDE if transform is not None and img_size is None else img_size
    model, stream = _build(library, name, init_seed, side)
    if file is None:
        _open_branches(model)
        source = f"random, seed {init_seed}"
    else:
        place = load_weights(model, file.path, name)
        source = f"{file.source}, {place}" if place else file.source
    recipe = recipe_of(name, model, side, transform)
    step, input_size = transform_of(recipe)
    dim = _feature_dim(model, name, input_size)
    return Backbone(
        name=name,
        model=(
            model if head is None else _with_random_head(model, dim, _streams(seeds) or [stream])
        ),
        transform=step,
        feature_dim=dim,
        input_size=input_size,
        init=init,
        source=source,
        recipe=recipe,
    )


def _check_choices(
    name: str, init: str, head: str | None, img_size: int | None, transform: str | None
) -> None:
    if not isinstance(init, str) or init not in ("pretrained", "random"):
        raise UsageError(f"init must be pretrained or random, got {init!r:.60}.")
    if head is not None and not (isinstance(head, str) and head == "random"):
        raise UsageError(
            f"head must be None (features) or 'random' (one output), got {head!r:.60}."
        )
    if img_size is not None:
        cure = f"Leave it out for the default size of {name}."
        whole_number(img_size, "img_size", least=1, most=2**15, cure=cure)
    if transform is not None and not (isinstance(transform, str) and transform in PREPROCESSING):
        raise UsageError(
            f"transform must be None or the name of a data set whose transform was published, got"
            f" {transform!r:.60}. {did_you_mean(str(transform), PREPROCESSING)}"
        )


def _head_seeds(head_seed: int | None, heads: int) -> range:
    """The seed of each output of a head; none if it continues the stream of the network."""
    heads = whole_number(heads, "heads", least=1, most=2**20)
    if head_seed is not None:
        head_seed = whole_number(head_seed, "head_seed", least=0, most=2**62)
        return range(head_seed, head_seed + heads)
    if heads > 1:
        raise UsageError(
            f"several heads need a seed each: expected head_seed ≥ 0, got None with heads={heads}."
            " Give the first seed."
        )
    return range(0)


def _build(
    library: Library, name: str, seed: int, img_size: int | None
) -> tuple[nn.Module, Tensor]:
    """The network in eval mode, initialised from `seed`, and the random stream after it."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators
        torch.default_generator.manual_seed(seed)
        return library.build(name, img_size).eval(), torch.default_generator.get_state()


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


def _feature_dim(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> int:
    """The dimension of the features, from one forward pass.

    `num_features` of a network of timm differs from it if a head widens the features.
    """
    try:
        with torch.inference_mode():
            features = model(torch.zeros(1, *input_size))
    except MISFIT as failure:
        raise unfit(name, input_size[-1], failure) from failure
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UsageError(
            f"{name} must return one feature vector per image, expected shape (1, d), got {shape}."
            " Choose another model."
        )
    return features.shape[1]


def _streams(seeds: Sequence[int]) -> list[Tensor]:
    """The states of random generators that begin at these seeds."""
    return [torch.Generator().manual_seed(seed).get_state() for seed in seeds]


def _with_random_head(model: nn.Module, dim: int, streams: Sequence[Tensor]) -> nn.Module:
    """The model with a linear layer whose output j is a one-output layer drawn from stream j."""
    head = nn.utils.skip_init(nn.Linear, dim, len(streams))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for row, state in enumerate(streams):
            torch.default_generator.set_state(state)
            single = nn.Linear(dim, 1)
            head.weight[row], head.bias[row] = single.weight[0], single.bias[0]
    return nn.Sequential(OrderedDict(backbone=model, head=head)).eval()
