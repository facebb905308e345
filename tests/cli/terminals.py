"""Commands in pseudo-terminals, and a stage that needs no torch."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import types
from pathlib import Path

from rmtgen.cli.outcome import reported
from rmtgen.stages.engine import Result

ROOT = Path(__file__).parents[2]
TIME = r"\d+\.\d (?:s|min|h)"
"""A duration as rows show it; how long the work takes is no part of what is tested."""

SLOW_STAGE = """
import sys, types
from rmtgen.cli.main import main
from rmtgen.errors import NumericalError
from rmtgen.stages.engine import Result


def work(job):
    for number in job.progress(range(8), 8, "batch"):
        job.bar.refresh()  # every step is drawn, however fast it was
        if number == 4:
            how(job)
    (job.folder / "made").write_text("made")
    return Result([job.folder / "made"], "8 images × 4 features", {"feature_dim": 20000})

def how(job):
    if sys.argv[1] == "noted":
        import logging
        logging.getLogger("rmtgen.stages.extract").warning("look out")
    if sys.argv[1] == "fails":
        raise NumericalError("the numbers do not allow it")
    if sys.argv[1] == "interrupted":
        raise KeyboardInterrupt

module = sys.modules["rmtgen.stages.extract"] = types.ModuleType("rmtgen.stages.extract")
module.work = work
sys.exit(main(["extract", *sys.argv[2:]]))
"""
"""A program whose stage `extract` needs no torch, draws each step, and ends as its first argument
says."""


def slow_stage(how, words):
    """The command of `SLOW_STAGE`."""
    return [sys.executable, "-c", SLOW_STAGE, how, *words]


def watch(command, columns=80, stdout=None, **environment):
    """Run a command in a pseudo-terminal, its stdout elsewhere where that is given; what was shown,
    and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=theirs,
        stdout=stdout or theirs,
        stderr=theirs,
        env={**os.environ, **environment},
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.returncode


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux reports that the other end is closed
        return b""


def screen(shown):
    """The lines that are left when everything is drawn: a carriage return starts a line anew, over
    what it held."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines[:-1] if lines[-1] == "" else lines


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def made(job):
    """The work of a stage that takes no time; a library prints to stdout meanwhile."""
    print("a library talks")
    (job.folder / "shards").mkdir()
    for name in ("made", "shards/0.h5"):
        (job.folder / name).write_text(name)
    details = {"feature_dim": 4, "few": [1, 2], "train_indices": list(range(100))}
    return Result(
        [job.folder / "made", job.folder / "shards/0.h5"], "8 images × 4 features", details
    )


def replace_work(monkeypatch, stage, work):
    """Let a stage do other work."""
    module = types.ModuleType(f"rmtgen.stages.{stage}")
    module.work = work
    monkeypatch.setitem(sys.modules, module.__name__, module)


def exit_code(command, work, arguments):
    """The exit code of a command that does `work`, a function of arguments and transcript."""
    with reported(command, arguments) as transcript:
        work(arguments, transcript)
    return transcript.exit_code
