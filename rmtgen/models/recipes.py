"""Transforms as settings that JSON takes: what an input is made of a picture by, and with.

A transform is a framing, which makes a picture of the size of an input, and a normalisation of its
pixels. Networks that differ in the second alone can share the pictures that the first makes.

A recipe has the settings of one maker under its name: a library of networks, or `PUBLISHED`, the
paper's public code. The transform of a recipe is the same on every machine, whatever a later
version of the library would take for the network.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from rmtgen.datasets.decoding import to_rgb
from rmtgen.models.libraries import LIBRARIES, library_of
from rmtgen.models.preprocessing import PREPROCESSING, SIDE, Preprocessing

PUBLISHED = "published"
"""The maker of the transforms in `rmtgen.models.preprocessing`."""
MAKER = "maker"
"""Key of the name of the maker."""
MOST_SIDE = 2**15
"""Largest side of an input in pixels."""
_MAKERS = {library.title: library for library in LIBRARIES.values()}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
BORDER = "border"
"""The crop of timm that fills what a picture lacks with the mean."""
_CROPS = ("center", "squash", BORDER)

Framing = Callable[[Image.Image], Image.Image]
Transform = tuple[Callable[[Image.Image], Tensor], tuple[int, int, int]]


def recipe_of(name: str, model: nn.Module, side: int | None, published: str | None) -> dict:
    """The recipe of a network's evaluation transform.

    Args:
        name: Name of the network.
        model: The network as its library builds it.
        side: Side of the input in pixels; None: that of the library.
        published: Name of a data set in `PREPROCESSING`, whose transform is taken instead.
    """
    library = library_of(name)
    settings = library.settings(name, model, side)
    if published is None:
        return {MAKER: library.title, **settings}
    found, side = PREPROCESSING[published], settings["input_size"][-1]
    return {
        MAKER: PUBLISHED,
        "input_size": [3, side, side],
        "short_side": found.short_side,
        "interpolation": "bilinear",
        "mean": list(found.mean),
        "std": list(found.std),
    }


def transform_of(recipe: Mapping[str, Any]) -> Transform:
    """The transform of a picture of any mode to float32, and the shape of what it returns.

    Args:
        recipe: As `recipe_of` returns it, or read from elsewhere.

    Raises:
        ValueError: It is no recipe.
    """
    _check(recipe)
    _, height, width = recipe["input_size"]
    return Compose([framing_of(recipe), normalisation_of(recipe)]), (3, height, width)


def framing_of(recipe: Mapping[str, Any]) -> Framing:
    """The first part of a transform: from a picture of any mode to RGB of the size of an input.

    Args:
        recipe: As `recipe_of` returns it.
    """
    settings = {key: value for key, value in recipe.items() if key != MAKER}
    if recipe[MAKER] == PUBLISHED:
        step = Preprocessing(settings["short_side"]).framing(settings["input_size"][-1])
    else:
        step = _MAKERS[recipe[MAKER]].framing(settings)
    return Compose([to_rgb, step])


def normalisation_of(recipe: Mapping[str, Any]) -> Callable[[Image.Image], Tensor]:
    """The second part: from what the first returns to a float32 tensor.

    Args:
        recipe: As `recipe_of` returns it.
    """
    return Compose([ToTensor(), Normalize(recipe["mean"], recipe["std"])])


def framing_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the first part depends on: equal ones make equal pictures.

    Args:
        recipe: As `recipe_of` returns it.
    """
    of_values = {"std"} if recipe.get("crop_mode") == BORDER else {"mean", "std"}
    return {key: value for key, value in recipe.items() if key not in of_values}


def data_config(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a network of timm as a data config of timm, whose evaluation crops a centre."""
    settings = {key: value for key, value in recipe.items() if key not in (MAKER, "short_side")}
    if recipe[MAKER] != PUBLISHED:
        return settings
    if recipe["short_side"] is None:
        return {**settings, "crop_pct": 1.0, "crop_mode": "squash"}
    return {**settings, "crop_pct": SIDE / recipe["short_side"], "crop_mode": "center"}


def _check(recipe: Mapping[str, Any]) -> None:
    """Check every setting of a recipe, so that none does more than it says."""
    maker = recipe.get(MAKER)
    wanted: dict[str, Callable[[Any], bool]] = {
        "input_size": _is_size,
        "interpolation": lambda value: value in _INTERPOLATIONS,
        "mean": _are_channels,
        "std": lambda value: _are_channels(value) and min(value) > 0,
    }
    if maker == PUBLISHED:
        wanted |= {"short_side": lambda value: value is None or _is_side(value)}
    elif maker == "timm":
        wanted |= {"crop_pct": _is_share, "crop_mode": lambda value: value in _CROPS}
    elif maker == "torchvision":
        wanted |= {"resize_size": _is_side, "antialias": lambda value: type(value) is bool}
    else:
        known = ", ".join((*_MAKERS, PUBLISHED))
        raise ValueError(f"a transform must be of a known maker ({known}), got {maker!r:.60}")
    if recipe.keys() - {MAKER} != wanted.keys():
        raise ValueError(f"a transform of {maker} must have the settings {', '.join(wanted)}")
    for key, holds in wanted.items():
        if not holds(recipe[key]):
            raise ValueError(f"a transform has no {key} of {recipe[key]!r:.60}")


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_SIDE


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and value[0] == 3
        and all(map(_is_side, value[1:]))
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0.01 <= value <= 100


def _are_channels(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 3 and all(map(_is_number, value))
