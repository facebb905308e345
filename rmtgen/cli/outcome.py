"""How a command ends: warnings as lines of the log, errors as one line, and the exit code."""

import contextlib
import io
import logging
import re
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rmtgen.cli.terminal import Failure, Transcript, note
from rmtgen.errors import EXIT_INTERRUPTED, NumericalError, RmtgenError, RmtgenWarning
from rmtgen.memory import is_shortage


@contextlib.contextmanager
def reported(command: str, arguments: Sequence[str]) -> Iterator[Transcript]:
    """A context in which a command works; it reports how the command ended.

    The exit code is `Transcript.exit_code` afterwards. A bug is reported and raised.

    Args:
        command: Name of the command.
        arguments: The words after its name.

    Yields:
        The transcript, which the command adds its results to.
    """
    transcript = Transcript(command, as_json="--json" in arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # an encoding without × must not end a stage that is done
        sys.stdout.reconfigure(errors="replace")
    begun = False
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_failures_closed(transcript))
            stack.enter_context(_interrupts_kept())
            stack.enter_context(transcript.redirected())
            stack.enter_context(_log_shown())
            stack.enter_context(_warnings_shown())
            begun = True
            yield transcript
        if not begun:  # a signal came first, and the body must not run
            raise SystemExit(transcript.exit_code)
        if transcript.exit_code == 0:
            transcript.close(None)
    except OSError:  # of stdout, after --help
        with contextlib.suppress(OSError):
            sys.stdout.close()  # so that the interpreter does not try again at its end
        transcript.exit_code = RmtgenError.exit_code


@contextlib.contextmanager
def _failures_closed(transcript: Transcript) -> Iterator[None]:
    """End the transcript with an error of the body; a bug is raised again."""
    try:
        yield
    except SystemExit:  # after --help
        sys.stdout.flush()  # here, and not at the interpreter's end, an error is handled
        raise
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            what = f"{type(error).__name__}: {error}"
            transcript.close(Failure(1, f"{what}. This is a bug: report it with its traceback."))
            raise
        transcript.close(failure)


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Send an interrupt again that came in a destructor or a callback of a weak reference.

    Python prints such an exception and goes on, and the user's Ctrl-C would be lost. What the
    callback has left undone may end the work with another error first: HDF5 calls a type that it
    could not convert undefined.
    """
    before, main = sys.unraisablehook, threading.main_thread().ident
    sent: list[threading.Timer] = []

    def again(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # later: an exception in this function would be lost like the first
            sent.append(threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT)))
            sent[-1].start()
        else:
            before(unraisable)

    sys.unraisablehook = again
    try:
        yield
    except Exception as error:
        if not sent:
            raise
        raise KeyboardInterrupt from error
    finally:
        sys.unraisablehook = before
        for timer in sent:
            timer.cancel()


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
        case MemoryError() | RuntimeError() if is_shortage(error):
            why = str(error).splitlines()[0] if str(error) else "no more"
            message = f"out of memory ({why}). Lower batch_size, tile or train."
            return Failure(NumericalError.exit_code, message)
    return None
