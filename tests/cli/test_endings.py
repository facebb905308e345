"""How a command ends: warnings and log as lines, an error as one line with its exit code."""

import io
import logging
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from terminals import ROOT, exit_code, replace_work

from rmtgen.cli.main import main
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
from rmtgen.stages.engine import Result


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


@pytest.mark.parametrize("words", [["run"], ["risk"], ["ls", "--help"]])
def test_an_interrupt_before_a_command_reports_itself_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setattr("importlib.import_module", failing(KeyboardInterrupt()))
    assert main(words) == 130
    assert capsys.readouterr().err == "rmtgen: interrupted.\n"


class Held:
    """An object during whose end the user types Ctrl-C."""

    def __del__(self):
        raise KeyboardInterrupt


@pytest.fixture
def python_interrupts():
    """Ctrl-C as Python takes it by itself."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_interrupts")
def test_an_interrupt_in_a_destructor_is_not_lost(capsys):
    def work(*_):
        held = Held()
        del held
        threading.Event().wait(60)  # ended by the interrupt

    assert exit_code("risk", work, []) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("python_interrupts")
def test_an_error_that_follows_from_an_interrupt_is_the_interrupt(capsys):
    """As of HDF5, whose conversion of a type is a callback."""

    def work(*_):
        held = Held()
        del held
        raise TypeError("Operation not defined for data type class")

    assert exit_code("risk", work, []) == 130
    threading.Event().wait(0.05)  # no second interrupt comes
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "interrupted. Run the same command again" in said


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


@pytest.mark.parametrize("full", ["stdout", "stderr"])
@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_stream_refuses_ends_no_work(words, tmp_path, monkeypatch, full, as_json):
    """The later stages run too; that stdout is not whole shows in the exit code."""

    def work(job):
        (job.folder / job.stage).touch()
        return Result([job.folder / job.stage], "done", {"feature_dim": 4})

    for stage in ("extract", "gram"):
        replace_work(monkeypatch, stage, work)
    refused = Path("/dev/full").open("w")  # noqa: SIM115
    other = io.StringIO()
    monkeypatch.setattr(sys, full, refused)
    monkeypatch.setattr(sys, "stderr" if full == "stdout" else "stdout", other)
    code = main(
        ["run", *words, "solve_from=gram", "--stage", "gram", *(["--json"] if as_json else [])]
    )
    assert sorted(path.name for path in tmp_path.glob("runs/*/*.json")) == [
        *("extract.json", "gram.json")
    ]
    assert code == (3 if full == "stdout" else 0)
    said = "rmtgen: error: stdout takes no more: No space left on device. Every result is stored."
    assert (said in other.getvalue()) == (full == "stdout")
    refused.close()  # takes what is left without an error


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["ls", "output=/nonesuch"]])
@pytest.mark.parametrize("streams", [">/dev/full", ">/dev/full 2>/dev/full"])
def test_a_full_disk_leaves_no_traceback(words, streams):
    command = f"{shlex.join([sys.executable, '-m', 'rmtgen', *words])} {streams}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (0 if words == ["run", "--help"] else 3)  # argparse asks nobody
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path, closed):
    """What a library prints to it would be written into that file."""
    code = (
        "import os, sys\n"
        "from rmtgen.cli import main as cli\n"
        "cli._refuse = lambda *_: 0\n"
        "cli.main(['nothing'])\n"
        "first = open(sys.argv[1], 'w')\n"
        "print('a', file=sys.stdout), print('b', file=sys.stderr), os.write(1, b'c')\n"
        "first.write(str(first.fileno()))"
    )
    path = tmp_path / "file"
    command = f"{shlex.join([sys.executable, '-c', code, str(path)])} {closed}"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT).returncode == 0
    assert int(path.read_text()) > 2


@pytest.mark.parametrize(("closed", "code"), [("1>&-", 2), ("2>&-", 2), ("1>&- 2>&-", 2)])
def test_a_closed_stream_changes_no_exit_code(closed, code):
    command = f"{shlex.quote(sys.executable)} -m rmtgen run trian=5 {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT).returncode == code


def test_a_signal_before_the_work_begins_is_an_interruption(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("rmtgen.cli.outcome._log_shown", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["ls"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("rmtgen: interrupted.")
