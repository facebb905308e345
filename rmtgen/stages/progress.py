"""The progress bar of a stage: on stderr, and only where that is a terminal."""

import os
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from rmtgen.tables import shorten

if TYPE_CHECKING:
    from tqdm import tqdm

HASH = 8
"""Number of characters at the end of a run's name that no other run has."""
_LOCK = threading.RLock()


def capable(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor and colour its text."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def open_bar(stage: str, name: str) -> "tqdm":
    """The bar of one piece of work, before its length is known; it leaves nothing on the screen."""
    from tqdm import tqdm  # not needed by a cached run

    # its own is a semaphore of the system besides, which a process that is killed leaves behind
    tqdm.set_lock(_LOCK)
    return tqdm(
        desc=f"{stage} {shorten(name, 22, HASH)}",
        total=0,
        bar_format="{desc}: starting",
        file=sys.stderr,
        disable=not capable(sys.stderr),
        leave=False,
        dynamic_ncols=True,
        smoothing=0.1,
    )
