"""Evaluation transforms by the name of a data set: those of the paper's public code.

The code of Wei, Hu and Steinhardt (2022) scales pictures bilinearly to 224 pixels, and normalises
each data set by constants of its own. The configuration reads the names, so that the module imports
neither torch nor Pillow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 224
"""Side in pixels of an input for which the transforms were published."""

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input.

    Attributes:
        short_side: Pixels that the short side is scaled to, for an input of `SIDE`, before the
            centre is cropped; None: both sides are scaled to the input, whatever their ratio.
        mean: Mean of each channel, of values from 0 to 1, that is subtracted.
        std: Standard deviation that the result is divided by.
    """

    short_side: int | None = SIDE
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)

    def framing(self, side: int) -> "Callable[[Image.Image], Image.Image]":
        """The scale and the crop of an upright RGB picture to (side, side)."""
        from torchvision.transforms import CenterCrop, Compose, Resize

        from rmtgen.models.framing import middle_of_long

        if self.short_side is None:
            return Resize((side, side))
        scaled = round(self.short_side * side / SIDE)
        return Compose([middle_of_long, Resize(scaled), CenterCrop(side)])


PREPROCESSING: dict[str, Preprocessing] = {
    "cifar10": Preprocessing(),
    "cifar100": Preprocessing(),
    "svhn": Preprocessing(mean=(0.4380, 0.4440, 0.4730), std=(0.1751, 0.1771, 0.1744)),
    "fashionmnist": Preprocessing(mean=(0.2860,) * 3, std=(0.3530,) * 3),
    "fgvcaircraft": Preprocessing(short_side=None),
    "food101": Preprocessing(short_side=240),
    "flowers102": Preprocessing(short_side=240),
}
"""The published transform of each data set."""
