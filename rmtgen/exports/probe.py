"""An export read back: its network, its transform and its classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.exports.description import REMEDY, WEIGHTS, Description, looked_up
from rmtgen.models.backbones import Backbone
from rmtgen.models.features import Images, extract_features
from rmtgen.models.headed import same_tensors
from rmtgen.models.recipes import transform_of

__all__ = ["ExportedProbe", "load_probe"]


@dataclass(frozen=True, eq=False, repr=False)
class ExportedProbe:
    """A network with a ridge probe as its head, from `load_probe`.

    A score is the prediction of ridge regression on targets that are 1 for the class of an image
    and 0 for the others, whatever coding the run has: the constant that a coding takes off is added
    again. Scores of an image may be below 0 or above 1. They are no probabilities.

    Attributes:
        path: The folder.
        model: Module from images (b, 3, h, w) to scores (b, c), in eval mode, on the CPU.
        transform: Function from a PIL image of any mode to a float32 tensor of `input_size`.
        input_size: (channels, height, width) in pixels.
        description: What the folder says of it: settings of the run, quality, origin.
    """

    path: Path
    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    input_size: tuple[int, int, int]
    description: Description

    def __repr__(self) -> str:
        name, count = self.description.blueprint.name, len(self.classes)
        return f"ExportedProbe({str(self.path)!r}: {name}, {count} classes)"

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each output."""
        return self.description.classes

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the run."""
        return self.description.settings

    @property
    def quality(self) -> Mapping[str, Any]:
        """What the run says of the probe: see `rmtgen.exports.quality.Quality`."""
        return self.description.quality

    @property
    def precision(self) -> str:
        """Precision of float32 products on CUDA, as the run had it."""
        return "tf32" if self.settings.get("fp32_precision") == "tf32" else "ieee"

    @public
    def scores(
        self,
        images: Images,
        *,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        progress: bool = False,
    ) -> Float32[Tensor, "n c"]:
        """The scores of images, one column per class.

        Args:
            images: PIL images of any mode and size, or a `LabelledImages`.
            batch_size: Images per forward pass.
            device: Device of the computation; None: the GPU if there is one.
            progress: Show a bar on stderr if that is a terminal.

        Raises:
            UsageError: There are no images, the batch size is below 1, or the device does not
                exist.
            NumericalError: A score is NaN or infinite.
        """
        options: dict[str, Any] = {"batch_size": batch_size, "device": device}
        options |= {"progress": progress, "fp32_precision": self.precision}
        return extract_features(self._as_backbone(), images, **options)

    @public
    def predict(self, images: Images, **options: Any) -> list[str]:
        """The class of the largest score of each image.

        Args:
            images: As for `scores`.
            **options: As for `scores`.
        """
        best = self.scores(images, **options).argmax(dim=1)
        return [self.classes[place] for place in best.tolist()]

    def _as_backbone(self) -> Backbone:
        """The network whose features are the scores."""
        name, size = self.description.blueprint.name, self.input_size
        return Backbone(
            name, self.model, self.transform, len(self.classes), size, "probe", str(self.path)
        )


@public
def load_probe(folder: str | Path) -> ExportedProbe:
    """Read an export: its folder alone, nothing is downloaded, and nothing of it is executed.

    Args:
        folder: What `rmtgen export` or `rmtgen.export_probe` has written.

    Returns:
        The network, its transform and its classes.

    Raises:
        UsageError: `folder` is no path.
        MissingInputError: There is no export, or a file of it is gone.
        CorruptInputError: A file is not what was written, or its network cannot be built.
        StaleInputError: It is of another version.
    """
    folder = looked_up(folder)
    description = Description.read(folder)
    state = _tensors(folder, description)
    model = _network(folder, description, state)
    model.load_state_dict(state)
    transform, size = transform_of(description.recipe)
    return ExportedProbe(folder, model, transform, size, description)


def _tensors(folder: Path, description: Description) -> dict[str, Tensor]:
    data = description.read_file(folder, WEIGHTS)
    try:
        return load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as failure:
        why = (str(failure) or type(failure).__name__).splitlines()[0][:200]
        raise CorruptInputError(
            f"{folder / WEIGHTS} must be a safetensors file: {why}. {REMEDY}"
        ) from failure


def _network(folder: Path, description: Description, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of an export, with tensors of the names and shapes of its file.

    The outputs are counted in the file first, so that no number of rmtgen.json takes memory.
    """
    outputs, features = len(description.classes), description.features
    name = description.blueprint.name[:60]
    if not any(tensor.shape == (outputs, features) for tensor in state.values()):
        raise CorruptInputError(
            f"{folder / WEIGHTS} must hold a head of {outputs} × {features} weights, and does not."
            f" {REMEDY}"
        )
    try:
        model = description.blueprint.build(outputs, features)
    except (UsageError, AttributeError) as failure:
        raise CorruptInputError(
            f"the network of {folder} cannot be built: {str(failure).splitlines()[0]} Use the"
            f" versions of timm and torchvision that it was made with. {REMEDY}"
        ) from failure
    wanted = model.state_dict()
    if not same_tensors(wanted, state):
        other = sorted(
            key
            for key in wanted.keys() | state.keys()
            if key not in wanted or key not in state or wanted[key].shape != state[key].shape
        )
        first = f", {other[0][:80]} first" if other else ""
        raise CorruptInputError(
            f"{folder / WEIGHTS} must hold the {len(wanted)} tensors of {name}: {len(other)}"
            f" differ{first}. Use the version of timm that it was made with. {REMEDY}"
        )
    return model
