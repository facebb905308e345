"""What stages of one command have in common, so that it is made once: the images.

The module imports neither torch nor NumPy, because a cached command enters its context too.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Shared:
    """What a command keeps, and for how many runs."""

    runs: int
    kept: MutableMapping[Hashable, object] = field(default_factory=dict)


_SHARED: ContextVar[_Shared | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def images_shared(runs: int) -> Iterator[None]:
    """A context in which images that so many runs take are opened and decoded once."""
    token = _SHARED.set(_Shared(runs))
    try:
        yield
    finally:
        _SHARED.reset(token)


def others_follow() -> bool:
    """Whether the context is one of several runs."""
    shared = _SHARED.get()
    return shared is not None and shared.runs > 1


def once(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, within `images_shared` the first time for a key; else each time."""
    shared = _SHARED.get()
    if shared is None:
        return make()
    if key not in shared.kept:
        shared.kept[key] = make()
    return shared.kept[key]
