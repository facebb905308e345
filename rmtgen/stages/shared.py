"""What stages of one command have in common, so that it is made once: the images.

The module imports neither torch nor NumPy, because a cached command enters its context too.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_KEPT: ContextVar[MutableMapping[Hashable, object] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def images_shared() -> Iterator[None]:
    """A context in which images that several runs take are opened once."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def once(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, within `images_shared` the first time for a key; else each time."""
    kept = _KEPT.get()
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    return kept[key]
