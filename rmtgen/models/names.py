"""Names of backbones: deprecated names of timm, and what they are called at present.

A name is resolved before anything is derived from it, so that the two names of one network give one
run. The table is read from the source of the installed timm: an import of timm takes seconds, and a
run whose stages are done needs nothing else of it.
"""

import ast
import importlib.util
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

_TABLE = b"\nregister_model_deprecations(__name__, "


def present_name(name: str) -> str:
    """The present name in timm of a backbone; a deprecated name is noted in the log.

    Args:
        name: Name in timm, with or without a tag. A tag takes the place of that of the present
            name.

    Returns:
        The name itself if it is not deprecated, known or not.
    """
    architecture, _, tag = name.partition(".")
    present = renamed().get(architecture)
    if present is None:
        return name
    if tag:
        present = f"{present.partition('.')[0]}.{tag}"
    log.warning(f"{name} is an old name of timm: {present} is used, and names the results.")
    return present


@cache
def renamed() -> Mapping[str, str]:
    """The present name of each name that the installed timm deprecates."""
    spec = importlib.util.find_spec("timm")
    folders = (spec.submodule_search_locations if spec else None) or ()
    found: dict[str, str] = {}
    for file in (file for folder in folders for file in Path(folder, "models").glob("*.py")):
        _, table, rest = file.read_bytes().partition(_TABLE)
        if table:
            entries = ast.literal_eval(rest.partition(b"\n})")[0].decode() + "}")
            found |= {old: new for old, new in entries.items() if new}
    return found
