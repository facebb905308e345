"""Patterns of names: which networks of timm a wildcard stands for."""

import fnmatch

from rmtgen.errors import UsageError, did_you_mean

_WILD = frozenset("*?[")


def is_pattern(name: str) -> bool:
    """Whether a name has a wildcard of the shell: `*`, `?` or `[`."""
    return not _WILD.isdisjoint(name)


def matching(pattern: str) -> list[str]:
    """The names of timm that a pattern matches, in alphabetical order.

    Args:
        pattern: Such as `resnet*`; with a dot, such as `vit_*.augreg_*`, of names with their tags.

    Raises:
        UsageError: There is none.
    """
    import timm  # it takes seconds, and most names are no patterns

    known = timm.list_pretrained() if "." in pattern else timm.list_models()
    found = sorted(fnmatch.filter(known, pattern))
    if not found:
        stem = "".join(letter for letter in pattern if letter not in _WILD and letter != "]")
        raise UsageError(
            f"models must match a name of timm, got {pattern!r}. {did_you_mean(stem, known)}"
        )
    return found
