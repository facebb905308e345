"""Work that is tried on several representations: one that fails ends none of the others."""

import logging

from rmtgen.errors import MissingWeightsError, RmtgenError, StorageError

log = logging.getLogger(__name__)


class Attempts:
    """Which representations failed, and why.

    Attributes:
        failed: The reasons, by the name of the run.
    """

    def __init__(self, total: int):
        """Take the number of representations that are tried."""
        self.failed: dict[str, str] = {}
        self._total, self._without_weights = total, ""

    def failure(self, name: str, error: Exception, *, alone: bool) -> None:
        """Note that a representation failed.

        Args:
            name: The name of its run.
            error: Why.
            alone: Whether none has succeeded so far.

        Raises:
            Exception: The error: the disk refuses; or none has succeeded, and this is the last one,
                or another failed for the same reason: that is one of the images then, and not of a
                network.
        """
        last, again = len(self.failed) + 1 == self._total, _said(error) in self.failed.values()
        if isinstance(error, StorageError) or (alone and again):
            raise error
        if alone and last:
            if not isinstance(error, RmtgenError):
                raise error
            others = f"none of {self._total} can be ranked; the last: " if self.failed else ""
            raise type(error)(others + str(error)) from error
        self.failed[name] = self._reason(name, error)
        log.warning(f"{name} is not ranked: {self.failed[name]}")

    def _reason(self, name: str, error: Exception) -> str:
        """Why a representation failed: where weights may lie is said once."""
        if not isinstance(error, MissingWeightsError):
            return _said(error)
        if self._without_weights:
            found = f"there are no pretrained weights of {error.model} either"
            return f"{found} (see {self._without_weights})"
        self._without_weights = name
        return str(error)


def _said(error: Exception) -> str:
    if isinstance(error, RmtgenError):
        return str(error)
    said = f"{type(error).__name__}: {error}"
    return f"{said}. This is a bug: rank it alone, and report it with its traceback."
