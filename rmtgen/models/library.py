"""A library of networks: what rmtgen asks of timm and of torchvision.

A library builds a network without its classifier, gives the transform of its pictures, and knows
where its weights are published.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor, nn

from rmtgen.errors import UsageError

MISFIT = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that networks raise for an image size that they do not accept."""


@dataclass(frozen=True)
class Published:
    """Where a library publishes weights: a repository of the Hugging Face hub, or a web address.

    Attributes:
        repository: Name on the hub; None if the weights are not there.
        url: Address of a file; None if there is none.
    """

    repository: str | None = None
    url: str | None = None


class Library(ABC):
    """Networks by name.

    Attributes:
        title: What the library is called.
    """

    title: str

    @abstractmethod
    def require(self, name: str) -> None:
        """Refuse a name that the library does not know.

        Raises:
            UsageError: The name, or its tag, is unknown.
        """

    @abstractmethod
    def build(self, name: str, img_size: int | None) -> nn.Module:
        """The network without its classifier, drawn from the global random stream of the CPU.

        Args:
            name: As `require` accepts it.
            img_size: Side of the square input in pixels; None: that of the library.

        Returns:
            A module from images (b, 3, h, w) to features.

        Raises:
            UsageError: The network cannot be built for `img_size`.
        """

    @abstractmethod
    def classifier(self, name: str, img_size: int | None, classes: int) -> nn.Module:
        """The whole network with a classifier of so many classes, as the library builds it.

        Args:
            name: As `require` accepts it.
            img_size: As for `build`.
            classes: Number of outputs.

        Raises:
            UsageError: As `build`.
        """

    @abstractmethod
    def outputs(self, model: nn.Module) -> tuple[str, ...]:
        """Names of the modules of `classifier` that give the outputs; several are averaged."""

    @abstractmethod
    def settings(self, name: str, model: nn.Module, img_size: int | None) -> dict[str, Any]:
        """The settings of the evaluation transform, as JSON has them.

        Args:
            name: As `require` accepts it.
            model: The network as `build` returns it.
            img_size: Side that the short side of a picture is scaled to, and that the centre is
                cropped to; None: those of the library, unchanged.
        """

    @abstractmethod
    def framing(self, settings: Mapping[str, Any]) -> Callable[[Image.Image], Image.Image]:
        """The part of the evaluation transform that makes a picture of the size of an input.

        It takes an upright RGB picture. What is left is to make a tensor of it, and to normalise.

        Args:
            settings: As `settings` returns them.
        """

    @abstractmethod
    def published(self, name: str) -> Published:
        """Where the pretrained weights are."""

    def licence(self, name: str) -> str | None:
        """The licence of the pretrained weights; None where the library states none, as here."""
        return None

    @abstractmethod
    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Names of the modules that a file of weights has, and `build` has removed."""

    def renamed(
        self, state: Mapping[str, Tensor], model: nn.Module, name: str
    ) -> Mapping[str, Tensor]:
        """The tensors of a file under the names of the network; those of the file, as here."""
        return state


def unfit(name: str, img_size: int, failure: Exception) -> UsageError:
    """The error of a network that does not accept an image size."""
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    return UsageError(
        f"img_size must be one that {name} can take, got {img_size} ({reason}). Leave it out, or"
        " choose a larger one, or a multiple of 32."
    )
