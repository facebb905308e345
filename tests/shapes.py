"""Shapes and dtypes in the annotations of rmtgen, checked by beartype at every call of the tests.

Only annotations that name a shape are checked here. Other types belong to the type checker of
`make lint`, and tests pass wrong ones on purpose to see what the library says of them.
"""

from pathlib import Path
from typing import get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook

PACKAGE = Path(__file__).parents[1] / "rmtgen"


def check():
    """Check the modules of rmtgen that name shapes, whenever they are imported from now on.

    Checks of the others would find nothing, and would slow every call.
    """
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    install_import_hook(modules, "shapes.checked")


def checked(function):
    """Return `function` as it is, or checked where an annotation names a shape."""
    if isinstance(function, type):
        return function  # jaxtyping checks the fields of a dataclass in its constructor
    shaped = {name: hint for name, hint in function.__annotations__.items() if _has_shape(hint)}
    function.__annotations__ = shaped
    return _checked(function) if shaped else function


_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def _has_shape(hint):
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_has_shape(part) for part in get_args(hint))
