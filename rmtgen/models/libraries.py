"""The registry of libraries: from the name of a network to the library that has it."""

from rmtgen.models.library import Library
from rmtgen.models.timm_library import TimmLibrary
from rmtgen.models.torchvision_library import PREFIX, TorchvisionLibrary

LIBRARIES: dict[str, Library] = {PREFIX: TorchvisionLibrary(), "": TimmLibrary()}
"""Every library by the prefix of its names; the first that fits has the network."""


def library_of(name: str) -> Library:
    """The library that a name belongs to, whether it knows the name or not."""
    return next(library for prefix, library in LIBRARIES.items() if name.startswith(prefix))
