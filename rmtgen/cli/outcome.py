"""How a command ends: warnings as lines of the log, errors as one line, and the exit code."""

import contextlib
import io
import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rmtgen.cli.terminal import Failure, Transcript, note
from rmtgen.errors import EXIT_INTERRUPTED, NumericalError, RmtgenError, RmtgenWarning

Work = Callable[[Sequence[str], Transcript], object]
"""What a command does with its arguments."""


def run_command(command: str, work: Work, arguments: Sequence[str]) -> int:
    """Run a command, report how it ended, and return its exit code.

    Args:
        command: Its name.
        work: What it does.
        arguments: The words after its name.

    Returns:
        The exit code: 0 done, 2 usage, 3 missing or corrupt input, 4 numerical failure, 130
        interrupted.
    """
    transcript = Transcript(command, as_json="--json" in arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # an encoding without × must not end a stage that is done
        sys.stdout.reconfigure(errors="replace")
    try:
        failure = _attempt(lambda: work(arguments, transcript), transcript)
        transcript.close(failure)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()  # so that the interpreter does not try again at its end
        return RmtgenError.exit_code
    return failure.code if failure else 0


def _attempt(work: Callable[[], object], transcript: Transcript) -> Failure | None:
    """Run `work`; the failure, if it is not a bug."""
    try:
        with transcript.redirected(), _log_shown(), _warnings_shown():
            work()
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            what = f"{type(error).__name__}: {error}"
            bug = f"{what}. This is a bug: report it with its traceback."
            transcript.close(Failure(1, bug))
            raise
        return failure
    return None


class _Notes(logging.Handler):
    """Shows each record of the package's log as one line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage(), "warning" if record.levelno >= logging.WARNING else "")


@contextlib.contextmanager
def _log_shown() -> Iterator[None]:
    logger, handler = logging.getLogger("rmtgen"), _Notes(logging.INFO)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """Warnings as lines of the log.

    Of warnings that differ in their numbers alone the first is shown, and at the end how many
    followed.
    """
    seen: Counter[str] = Counter()

    def show(message: Warning | str, _category: type[Warning], *_: Any) -> None:
        kind = re.split(r"\d", str(message), maxsplit=1)[0]
        seen[kind] += 1
        if seen[kind] == 1:
            note(str(message), "warning")

    with warnings.catch_warnings():
        warnings.simplefilter("always", RmtgenWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            for kind, count in seen.items():
                if count > 1:
                    note(f"{count - 1} more of the kind “{kind.strip()} …”", "warning")


def _failure(error: BaseException) -> Failure | None:
    """The line for the user of an error; None for what can only be a bug."""
    match error:
        case RmtgenError():
            return Failure(error.exit_code, str(error))
        case KeyboardInterrupt():
            message = "interrupted. Run the same command again: it resumes."
            return Failure(EXIT_INTERRUPTED, message, kind="")
        case OSError():
            what = f"{error.filename or 'the operating system'}: {error.strerror or error}"
            return Failure(RmtgenError.exit_code, f"{what}. Nothing was half-written.")
        case MemoryError() | RuntimeError() if _is_out_of_memory(error):
            why = str(error).splitlines()[0] if str(error) else "no more"
            message = f"out of memory ({why}). Lower batch_size, tile or train."
            return Failure(NumericalError.exit_code, message)
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(
        re.search("out of memory|can't allocate memory", str(error))
    )
