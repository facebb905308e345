"""The features of a layer inside a network, pooled over positions."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from rmtgen.entrance import public
from rmtgen.errors import UsageError, did_you_mean
from rmtgen.models.backbones import Backbone
from rmtgen.models.layer_names import EACH
from rmtgen.scalars import choice, instance

POOLINGS = ("avg", "max", "cls")
"""Ways to make one vector of many positions."""


class _ReachedError(Exception):
    """The layer has its output; what comes after it need not run."""

    def __init__(self, output: Any):
        self.output = output


class InnerLayer(nn.Module):
    """A network up to one of its modules, whose output is pooled over positions.

    Maps are (b, c, h, w), or (b, h, w, c) where the network says so (`output_fmt` of timm), and
    tokens (b, t, c), of which the prefix (`num_prefix_tokens` of timm) is pooled only by "cls".
    """

    def __init__(self, network: nn.Module, layer: str, pooling: str):
        super().__init__()
        self.network, self.layer, self.pooling = network, layer, pooling

    def forward(self, images: Tensor) -> Tensor:
        """Pooled outputs, (b, c)."""
        module = self.network.get_submodule(self.layer)
        handle = module.register_forward_hook(_stop)
        try:
            self.network(images)
        except _ReachedError as reached:
            return self._pooled(reached.output)
        finally:
            handle.remove()
        raise UsageError(
            f"layer must be a module that the network runs, got {self.layer!r}, which it does not."
            " Take another."
        )

    def _pooled(self, output: Any) -> Tensor:
        if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
            output = output[0]
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"layer must give maps, tokens or vectors, got {shape} from {self.layer!r}. Take"
                " another."
            )
        return output if output.ndim == 2 else self._over(self._tokens(output))

    def _tokens(self, output: Tensor) -> Tensor:
        """Positions of maps as tokens, (b, t, c)."""
        if output.ndim == 3:
            return output
        last = getattr(self.network, "output_fmt", None) == "NHWC"
        return output.flatten(1, 2) if last else output.flatten(2).mT

    def _over(self, tokens: Tensor) -> Tensor:
        prefix = int(getattr(self.network, "num_prefix_tokens", 0) or 0)
        if self.pooling == "cls":
            if not prefix:
                raise UsageError(
                    "pooling=cls takes the class token, and this network has none. Take avg or max."
                )
            return tokens[:, 0]
        patches = tokens[:, prefix:] if 0 < prefix < tokens.shape[1] else tokens
        return patches.mean(dim=1) if self.pooling == "avg" else patches.amax(dim=1)


class WholePass(InnerLayer):
    """The same features by a whole pass, which tools can take apart that follow no exceptions."""

    def forward(self, images: Tensor) -> Tensor:
        """Pooled outputs, (b, c)."""
        outputs: list[Any] = []
        module = self.network.get_submodule(self.layer)
        handle = module.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
        try:
            self.network(images)
        finally:
            handle.remove()
        return self._pooled(outputs[0])


def _stop(_module: nn.Module, _inputs: tuple, output: Any) -> None:
    raise _ReachedError(output)


@public
def at_layer(backbone: Backbone, layer: str, *, pooling: str = "avg") -> Backbone:
    """A backbone whose features are those of one of its modules.

    Args:
        backbone: A backbone without a head. Its network is shared, and run up to the module alone.
        layer: Name of the module, as `named_modules` of the network has it, such as `layer3` of a
            ResNet or `blocks.5` of a vision transformer.
        pooling: "avg" or "max" over positions; "cls", the class token of a network that has one.

    Returns:
        The backbone, with another `model` and `feature_dim`.

    Raises:
        UsageError: The network has no such module or does not run it, its output cannot be pooled,
            an unknown pooling, or "cls" without a class token.
    """
    backbone = instance(backbone, Backbone, "backbone", "Load one: load_backbone.")
    choice(pooling, "pooling", POOLINGS)
    names = [name for name, _ in backbone.model.named_modules() if name]
    if not isinstance(layer, str) or layer not in names:
        is_each = isinstance(layer, str) and layer == EACH
        listed = " The library lists none as stages." if is_each else ""
        raise UsageError(
            f"layer must be a module of {backbone.name}, got {layer!r:.60}.{listed}"
            f" {did_you_mean(str(layer), names)}"
        )
    model = InnerLayer(backbone.model, layer, pooling).eval()
    with torch.inference_mode():
        parameter = next(backbone.model.parameters(), torch.zeros(()))
        features = model(torch.zeros(1, *backbone.input_size, device=parameter.device))
    return dataclasses.replace(backbone, model=model, feature_dim=features.shape[1])
