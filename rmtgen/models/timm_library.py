"""The networks of timm."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import timm
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.framing import middle_of_long
from rmtgen.models.library import MISFIT, Library, Published, unfit


class TimmLibrary(Library):
    """Every name of timm, with or without a tag."""

    title = "timm"

    def require(self, name: str) -> None:
        """Refuse a name or a tag that timm does not know."""
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

    def build(self, name: str, img_size: int | None) -> nn.Module:
        """The network of timm with `num_classes=0`; one of a fixed input size, for `img_size`."""
        return self.classifier(name, img_size, 0)

    def classifier(self, name: str, img_size: int | None, classes: int) -> nn.Module:
        """The network of timm with `num_classes`."""
        arguments = self.arguments(name, img_size)
        try:
            return timm.create_model(name, num_classes=classes, **arguments)
        except MISFIT as failure:
            if not arguments:
                raise
            raise unfit(name, arguments["img_size"], failure) from failure

    def arguments(self, name: str, img_size: int | None) -> dict[str, Any]:
        """What `timm.create_model` is given for an image size: nothing, or that size."""
        published = timm.get_pretrained_cfg(name)
        fixed = published is not None and published.fixed_input_size
        return {} if img_size is None or not fixed else {"img_size": img_size}

    def outputs(self, model: nn.Module) -> tuple[str, ...]:
        """The classifiers of the network; a distilled one has two."""
        whole: Any = model
        found = whole.get_classifier()
        heads = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(
            name for name, module in model.named_modules() if any(module is head for head in heads)
        )

    def settings(self, name: str, model: nn.Module, img_size: int | None) -> dict[str, Any]:
        """The data config of timm."""
        config: dict[str, Any] = resolve_model_data_config(model)
        if img_size is not None:
            config |= {
                "input_size": (3, img_size, img_size),
                "crop_pct": 1.0,
                "crop_mode": "center",
            }
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in config.items()
        }

    def framing(self, settings: Mapping[str, Any]) -> Callable[[Image.Image], Image.Image]:
        """The evaluation transform of a data config of timm, but for tensors and their scale."""
        config: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
        }
        whole: Any = create_transform(**config, is_training=False)
        steps = [step for step in whole.transforms if not isinstance(step, (ToTensor, Normalize))]
        if config["crop_mode"] == "center":  # the other modes see the whole picture
            steps.insert(0, middle_of_long)
        return Compose(steps)

    def published(self, name: str) -> Published:
        """The repository or the address in the pretrained config of timm."""
        found = timm.get_pretrained_cfg(name)
        if found is None:
            return Published()
        return Published(found.hf_hub_id or None, str(found.url) if found.url else None)

    def licence(self, name: str) -> str | None:
        """The licence in the pretrained config of timm."""
        found = timm.get_pretrained_cfg(name)
        return None if found is None else found.license

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """The classifiers in the pretrained config, and the modules that contain them."""
        published: Any = model.pretrained_cfg
        names = published.get("classifier") or ()
        heads = (names,) if isinstance(names, str) else tuple(names)
        return heads + tuple(parent for head in heads if (parent := head.rpartition(".")[0]))

    def renamed(
        self, state: Mapping[str, Tensor], model: nn.Module, name: str
    ) -> Mapping[str, Tensor]:
        """Apply the filter of the architecture: names, and position tables for the image size."""
        home = sys.modules[timm.model_entrypoint(name.partition(".")[0]).__module__]
        checkpoint_filter = getattr(home, "checkpoint_filter_fn", None)
        ordered = _in_timm_order(state, model)
        return ordered if checkpoint_filter is None else checkpoint_filter(dict(ordered), model)


def _in_timm_order(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Rename the tensors of an EfficientNet of the efficientnet-pytorch family.

    These files hold the tensors of timm in the same order under other names.
    """
    if "_conv_stem.weight" not in state:
        return state
    ours, theirs = list(model.state_dict()), [key for key in state if not key.startswith("_fc.")]
    if [key.rpartition(".")[2] for key in ours] != [key.rpartition(".")[2] for key in theirs]:
        return state
    return {new: state[old] for new, old in zip(ours, theirs, strict=True)}
