"""The declaration of a field of the configuration."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


def declared(
    default: Any,
    parse: Callable[[Any], Any],
    stages: Sequence[str],
    help_text: str,
    *,
    option: bool = False,
) -> Any:
    """Declare a field of `Config`.

    Args:
        default: Default value, as YAML or the command line gives it.
        parse: Function from what YAML or the command line gives to the value; raises `UsageError`.
        stages: Stages whose own result the field can change.
        help_text: What the field is, for `--help`.
        option: Leave the field out of the hashes where it has its default, so that a new field
            changes no hash of an earlier run.
    """
    written = "none" if default is None else str(default)
    metadata = {
        "parse": parse,
        "default": written.lower() if isinstance(default, bool) else written,
        "stages": tuple(stages),
        "help": help_text,
        "option": option,
    }
    return dataclasses.field(default=parse(default), metadata=metadata)
