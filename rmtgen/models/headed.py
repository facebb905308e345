"""A backbone with a linear head as one network, and how that network is built again.

Where the library's own network with a classifier computes the same, it is taken: its state dict is
that of `timm.create_model(NAME, num_classes=…)`, and whoever has timm can load it. Else the network
is the backbone and a linear layer, one after the other.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from rmtgen.errors import NumericalError
from rmtgen.models.backbones import Backbone
from rmtgen.models.inner_layers import InnerLayer, WholePass
from rmtgen.models.libraries import library_of

WHOLE = "classifier"
"""The library's own network, its classifier the head."""
JOINED = "backbone and head"
"""The backbone under `backbone`, a linear layer under `head`."""
FORMS = (WHOLE, JOINED)
TOLERANCE = 1e-4
"""Largest difference of scores, over the largest score, that rounding in float32 explains."""
_TRIED = 2
"""Number of random images on which two networks are compared."""


@dataclass(frozen=True)
class Blueprint:
    """From what a network with a head is built.

    Attributes:
        name: As for `load_backbone`.
        img_size: As for `load_backbone`.
        layer: As for `at_layer`; None for the last layer.
        pooling: As for `at_layer`.
        form: One of `FORMS`.
    """

    name: str
    img_size: int | None
    layer: str | None
    pooling: str
    form: str

    def build(self, outputs: int, features: int) -> nn.Module:
        """The network in eval mode, its weights not those of anything.

        Args:
            outputs: Number of outputs.
            features: Dimension of the features.

        Raises:
            UsageError: The library does not know the name, or not with this size.
            AttributeError: The network has no such layer.
        """
        library = library_of(self.name)
        library.require(self.name)
        with torch.random.fork_rng(devices=[]):
            if self.form == WHOLE:
                return library.classifier(self.name, self.img_size, outputs).eval()
            backbone = library.build(self.name, self.img_size)
            if self.layer is not None:
                backbone.get_submodule(self.layer)
                backbone = InnerLayer(backbone, self.layer, self.pooling)
            return _joined(backbone, nn.Linear(features, outputs))


@dataclass(frozen=True, eq=False)
class Headed:
    """A network with a head.

    Attributes:
        model: In eval mode.
        form: One of `FORMS`.
        reason: Why it is not the library's own network; empty where it is.
    """

    model: nn.Module
    form: str
    reason: str = ""


def with_head(
    backbone: Backbone,
    img_size: int | None,
    weights: Float[Tensor, "p c"],
    offset: Float[Tensor, " c"],
) -> Headed:
    """The network f(x) = wᵀ backbone(x) + b in float32.

    Args:
        backbone: A backbone without a head, on the CPU.
        img_size: What it was loaded with.
        weights: w.
        offset: b.

    Raises:
        NumericalError: w or b is not finite in float32.
    """
    head = nn.utils.skip_init(nn.Linear, *weights.shape)
    with torch.no_grad():
        head.weight.copy_(weights.mT)
        head.bias.copy_(offset)
    if not (head.weight.isfinite().all() and head.bias.isfinite().all()):
        raise NumericalError(
            f"the weights of the probe must be finite in float32: the largest is"
            f" {weights.abs().max().item():.3g}. Take a larger ridge."
        )
    joined = _joined(backbone.model, head)
    reason = "its features are those of an inner layer"
    if not isinstance(backbone.model, InnerLayer):
        whole = _whole(backbone, img_size, head)
        if isinstance(whole, nn.Module):
            if agree(whole, joined, backbone.input_size):
                return Headed(whole, WHOLE)
            whole = "its classifier computes something else"
        reason = whole
    return Headed(joined, JOINED, reason)


def traceable(model: nn.Module) -> nn.Module:
    """A network of `with_head` that is the same to tools that follow its calls."""
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, InnerLayer):
        return model
    whole = WholePass(backbone.network, backbone.layer, backbone.pooling)
    return _joined(whole, model.get_submodule("head"))


@torch.inference_mode()
def agree(one: nn.Module, other: nn.Module, size: tuple[int, int, int]) -> bool:
    """Whether two networks give the same scores for random images, up to rounding in float32."""
    images = random_images(_TRIED, size)
    return close(one(images), other(images))


def random_images(count: int, size: tuple[int, int, int]) -> Float32[Tensor, "b 3 h w"]:
    """Images of noise, the same ones every time."""
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0))


def close(scores: Tensor, expected: Tensor) -> bool:
    """Whether scores (b, c) have one shape, and differ by no more than rounding explains."""
    if scores.shape != expected.shape:
        return False
    return bool((scores - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _joined(backbone: nn.Module, head: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(backbone=backbone, head=head)).eval()


def _whole(backbone: Backbone, img_size: int | None, head: nn.Linear) -> nn.Module | str:
    """The library's network with this head, or why there is none."""
    blueprint = Blueprint(backbone.name, img_size, None, "avg", WHOLE)
    whole = blueprint.build(head.out_features, head.in_features)
    places = library_of(backbone.name).outputs(whole)
    found = [whole.get_submodule(place) for place in places]
    if not found or not all(_fits(module, head) for module in found):
        return "its classifier is no linear layer with a constant on these features"
    state = dict(backbone.model.state_dict())
    for place in places:
        state |= {f"{place}.{name}": tensor for name, tensor in head.state_dict().items()}
    if not same_tensors(whole.state_dict(), state):
        return "its tensors with a classifier are others than without"
    whole.load_state_dict(state)
    return whole


def _fits(module: nn.Module, head: nn.Linear) -> bool:
    return (
        isinstance(module, nn.Linear)
        and module.bias is not None
        and module.weight.shape == head.weight.shape
    )


def same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts have tensors of the same names, shapes and types."""
    return one.keys() == other.keys() and all(
        (tensor.shape, tensor.dtype) == (other[name].shape, other[name].dtype)
        for name, tensor in one.items()
    )
