"""How a command ends: warnings and log as lines, an error as one line with its exit code."""

import logging
import shlex
import subprocess
import sys
import warnings

import pytest
import torch
from terminals import ROOT, exit_code

from rmtgen.errors import (
    BusyError,
    CapacityError,
    CorruptInputError,
    MissingInputError,
    NumericalError,
    RmtgenWarning,
    StaleInputError,
    StorageError,
    UsageError,
)


def failing(error):
    def work(*_):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        *((kind("x"), 3) for kind in (MissingInputError, CorruptInputError, StaleInputError)),
        *((kind("x"), 3) for kind in (BusyError, StorageError, CapacityError)),
        (PermissionError(13, "Permission denied", "/secret"), 3),
        (NumericalError("x"), 4),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4),
        (MemoryError(), 4),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_expected_failure_is_one_line(error, code, capsys):
    assert exit_code("risk", failing(error), []) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        exit_code("risk", failing(RuntimeError("a bug")), [])


def test_warnings_become_lines_of_the_log(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert exit_code("risk", lambda *_: warnings.warn("look out", stacklevel=1), []) == 0
    assert capsys.readouterr().err == "rmtgen: warning: look out\n"


def test_of_warnings_that_differ_in_numbers_one_is_shown_and_the_others_are_counted(capsys):
    def work(*_):
        for size in (10, 20, 30):
            warnings.warn(f"n must be small, got {size}", RmtgenWarning, stacklevel=1)
        warnings.warn("look out", RmtgenWarning, stacklevel=1)
        raise UsageError("stop")

    assert exit_code("risk", work, []) == 2
    assert capsys.readouterr().err.splitlines() == [
        "rmtgen: warning: n must be small, got 10",
        "rmtgen: warning: look out",
        "rmtgen: warning: 2 more of the kind “n must be small, got …”",
        "rmtgen: error: stop",
    ]


def test_the_log_of_the_package_is_shown_while_a_command_runs(capsys):
    def work(*_):
        log = logging.getLogger("rmtgen.stages.theory")
        log.info("by the way")
        log.warning("look out")
        log.debug("a detail")

    assert exit_code("theory", work, []) == 0
    assert capsys.readouterr().err == "rmtgen: by the way\nrmtgen: warning: look out\n"
    logger = logging.getLogger("rmtgen")
    assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)


def test_a_command_that_fails_leaves_the_log_as_it_was():
    exit_code("theory", failing(UsageError("stop")), [])
    logger = logging.getLogger("rmtgen")
    assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)


@pytest.mark.parametrize(("closed", "code"), [("1>&-", 2), ("2>&-", 2), ("1>&- 2>&-", 2)])
def test_a_closed_stream_changes_no_exit_code(closed, code):
    command = f"{shlex.quote(sys.executable)} -m rmtgen run trian=5 {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT).returncode == code
