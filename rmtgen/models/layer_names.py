"""Names of layers: which modules of a network a wildcard stands for, or the word `each`."""

import fnmatch
import functools

from rmtgen.errors import RmtgenError
from rmtgen.models.patterns import is_pattern

EACH = "each"
"""Stands for the stages of a network, as timm lists them for its features."""


def stands_for_several(layer: str | None) -> bool:
    """Whether a layer is not a name."""
    return layer is not None and (layer == EACH or is_pattern(layer))


@functools.lru_cache
def layers_named(model: str, wanted: str) -> tuple[str, ...]:
    """The modules of a network that a pattern or `each` stands for, in the order of the network.

    Args:
        model: As `rmtgen.load_backbone` takes it.
        wanted: `each`, or a pattern such as `layer?` or `blocks.*`, which matches names of as many
            parts as it has itself.

    Returns:
        The names; none where nothing matches, or there is no such network.
    """
    from rmtgen.models.backbones import load_backbone  # it imports torch; most layers are names

    try:
        network = load_backbone(model, init="random").model
    except RmtgenError:
        return ()
    known = [name for name, _ in network.named_modules() if name]
    if wanted == EACH:  # some stages are listed that are no modules
        listed = [stage.get("module") for stage in getattr(network, "feature_info", None) or ()]
        return tuple(name for name in dict.fromkeys(listed) if name in known)
    return tuple(name for name in known if _matches(name, wanted))


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
