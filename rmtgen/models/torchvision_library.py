"""The residual networks and EfficientNets of torchvision.

Their constructors draw the same numbers whether weights are loaded afterwards or not, and their
files of weights have the names of the network. torchvision's other networks do not have both.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torchvision.models
from PIL import Image
from torch import nn
from torchvision.models import WeightsEnum
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.framing import middle_of_long
from rmtgen.models.library import Library, Published

PREFIX = "torchvision/"
"""What the names of these networks begin with."""

_FAMILIES = ("resnet", "resnext", "wide_resnet", "efficientnet")


class _Removed(nn.Identity):
    """What stands in the place of a classifier."""


class TorchvisionLibrary(Library):
    """`torchvision/NAME`, without tags: weights are the first that torchvision lists for it."""

    title = "torchvision"

    def require(self, name: str) -> None:
        """Refuse a name outside the families that are supported."""
        known = [
            PREFIX + model
            for model in torchvision.models.list_models(module=torchvision.models)
            if model.startswith(_FAMILIES)
        ]
        if name not in known:
            raise UsageError(
                f"model must be a residual network or an EfficientNet of torchvision, got {name!r}."
                f" {did_you_mean(name, known)} Other networks: those of timm, without {PREFIX}."
            )

    def build(self, name: str, img_size: int | None) -> nn.Module:
        """The network as torchvision initialises it, its classifier drawn and then removed."""
        model = torchvision.models.get_model(name.removeprefix(PREFIX), weights=None)
        for place in self.outputs(model):
            model.set_submodule(place, _Removed())
        return model

    def classifier(self, name: str, img_size: int | None, classes: int) -> nn.Module:
        """The network of torchvision with `num_classes`."""
        name = name.removeprefix(PREFIX)
        return torchvision.models.get_model(name, weights=None, num_classes=classes)

    def outputs(self, model: nn.Module) -> tuple[str, ...]:
        """The last linear layer, which is the classifier in each family."""
        (*_, place) = (
            place for place, module in model.named_modules() if isinstance(module, nn.Linear)
        )
        return (place,)

    def settings(self, name: str, model: nn.Module, img_size: int | None) -> dict[str, Any]:
        """Those of the evaluation transform that torchvision gives with the weights."""
        sizes = {} if img_size is None else {"resize_size": img_size, "crop_size": img_size}
        preset = _weights(name).transforms(**sizes)
        (side,), (scaled,) = preset.crop_size, preset.resize_size
        return {
            "input_size": [3, side, side],
            "resize_size": scaled,
            "interpolation": preset.interpolation.value,
            "antialias": preset.antialias,
            "mean": list(preset.mean),
            "std": list(preset.std),
        }

    def framing(self, settings: Mapping[str, Any]) -> Callable[[Image.Image], Image.Image]:
        """The scale and the crop of the evaluation transform of torchvision."""
        how = {
            "interpolation": InterpolationMode(settings["interpolation"]),
            "antialias": settings["antialias"],
        }
        side = settings["input_size"][-1]
        steps = [middle_of_long, Resize(settings["resize_size"], **how), CenterCrop(side)]
        return Compose(steps)

    def published(self, name: str) -> Published:
        """The address of the weights."""
        return Published(url=_weights(name).url)

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """The name of the linear layer that was removed."""
        return tuple(
            place for place, module in model.named_modules() if isinstance(module, _Removed)
        )


def _weights(name: str) -> WeightsEnum:
    return next(iter(torchvision.models.get_model_weights(name.removeprefix(PREFIX))))
