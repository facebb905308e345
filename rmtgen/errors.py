"""Every error rmtgen raises on purpose, with the exit code a stage ends with.

A message says what must hold, the value seen, and what to do. The caller's mistake is a
`UsageError`, which is also a `ValueError`; the other classes say that the world outside the call
(files, locks, disks, numbers) does not allow the result.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable

EXIT_INTERRUPTED = 130


class RmtgenError(Exception):
    """Base class. `exit_code` is what a pipeline stage returns to the shell."""

    exit_code = 3


class UsageError(RmtgenError, ValueError):
    """The caller asked for something that does not exist or makes no sense."""

    exit_code = 2


class MissingInputError(RmtgenError, FileNotFoundError):
    """A file, a data set, or an earlier stage's result is not there."""


class CorruptInputError(RmtgenError):
    """A file is there but is not what its name, checksum or format promises."""


class StaleInputError(RmtgenError):
    """A result was made from other inputs, or by another version, than the ones at hand."""


class BusyError(RmtgenError):
    """Another process holds the run directory."""


class StorageError(RmtgenError):
    """The disk refused a write: full, read-only, or over a quota."""


class CapacityError(RmtgenError, MemoryError):
    """The result needs more memory than there is."""


class NumericalError(RmtgenError, ArithmeticError):
    """The numbers do not allow the result: non-finite features, an indefinite Gram matrix, a failed
    eigensolve.
    """

    exit_code = 4


class RmtgenWarning(UserWarning):
    """A result that was computed but should not be trusted as it stands; the message carries the
    number that says so.
    """


def warn(message: str) -> None:
    """Issue an `RmtgenWarning` at the line outside this package that led to it."""
    frame, level = sys._getframe(1), 3
    while frame.f_back and frame.f_back.f_globals.get("__name__", "").startswith("rmtgen."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RmtgenWarning, stacklevel=level)


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """A sentence that offers the known names nearest to `name`, or lists them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if near:
        return f"Did you mean {', '.join(near)}?"
    shown = ", ".join(known[:20])
    return f"Known: {shown}{', …' if len(known) > 20 else ''}."
