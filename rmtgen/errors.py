"""Every error that rmtgen raises on purpose, with the exit code of the command that meets it.

A message states what must hold, the value found, and what to do. A mistake of the caller is a
`UsageError`, which is also a `ValueError`. The other classes report that something outside the call
(files, locks, disks, numbers) does not allow the result.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable

EXIT_INTERRUPTED = 130
"""Exit code after an interrupt (Ctrl-C), as shells have it: 128 + SIGINT."""


class RmtgenError(Exception):
    """Base class of all errors; `exit_code` is what a command returns to the shell."""

    exit_code = 3


class UsageError(RmtgenError, ValueError):
    """The caller asked for something that does not exist or is not meaningful."""

    exit_code = 2


class MissingInputError(RmtgenError, FileNotFoundError):
    """A file, a data set, or the result of an earlier stage does not exist."""


class MissingWeightsError(MissingInputError):
    """The pretrained weights of a model are in none of the places where they may lie.

    Attributes:
        model: Its name.
    """

    model = ""


class CorruptInputError(RmtgenError):
    """A file exists, but does not match its name, checksum or format."""


class DamagedImageError(CorruptInputError):
    """The bytes of an image are not a complete picture; `on_corrupt="skip"` leaves it out."""


class StaleInputError(RmtgenError):
    """A stored result was made from other inputs, or by another version, than the current ones."""


class BusyError(RmtgenError):
    """Another process holds the run directory."""


class ClusterError(RmtgenError):
    """A scheduler or its workers do not allow the result; what is finished is kept."""


class StorageError(RmtgenError):
    """The disk refused a write or a read: it is full, read-only, over a quota, or failing."""


class CapacityError(RmtgenError, MemoryError):
    """The result needs more memory than is available."""


class NumericalError(RmtgenError, ArithmeticError):
    """The numbers do not allow the result.

    Examples are non-finite features, an indefinite Gram matrix and a failed eigensolve.
    """

    exit_code = 4


class RmtgenWarning(UserWarning):
    """A computed result is unreliable; the message states the number that shows it."""


def warn(message: str) -> None:
    """Issue an `RmtgenWarning` that points at the calling line outside this package."""
    frame, level = sys._getframe(1), 3
    while frame.f_back and frame.f_back.f_globals.get("__name__", "").startswith("rmtgen."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RmtgenWarning, stacklevel=level)


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """A sentence with the known names closest to `name`, or with all of them if none is close.

    Args:
        name: The name that is not known.
        known: The valid names.
        most: Maximum number of suggestions.
    """
    known = sorted(known)
    # a long text is compared for seconds, and is near to no name
    near = difflib.get_close_matches(name[:200], known, n=most, cutoff=0.6)
    if near:
        return f"Did you mean {', '.join(near)}?"
    shown = ", ".join(known[:20])
    return f"Known: {shown}{', …' if len(known) > 20 else ''}."
