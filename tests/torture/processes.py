"""Forked commands of rmtgen: their start, their end, and what they leave.

The parent has imported everything that a stage needs, so that a child computes at once, and
hundreds of them fit into minutes.
"""

import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas  # noqa: F401 - preloaded for the children
import timm  # noqa: F401
import torchvision  # noqa: F401

from rmtgen.cli.main import main
from rmtgen.runs.graph import STAGES

for stage in STAGES:
    importlib.import_module(f"rmtgen.stages.{stage}")

NAMED = (2, 3, 4, 130)
"""Exit codes of errors that rmtgen names, and of an interrupt."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code; a negative number is that of the signal.
        said: Its output on both streams.
    """

    code: int
    said: str

    @property
    def named(self) -> bool:
        """Whether it ended well, or with an error that has a name."""
        return self.code in (0, *NAMED) and "Traceback" not in self.said

    def __str__(self) -> str:
        before, _, trace = self.said.partition("Traceback")
        if trace:  # what it says of itself stands before and after its frames
            context = [*before.strip().splitlines()[-1:], *trace.strip().splitlines()[-1:]]
            return f"exit {self.code}, traceback: {' … '.join(context)}"
        lines = self.said.strip().splitlines()
        return f"exit {self.code}: {lines[-1] if lines else 'no word'}"


def _nothing() -> None:
    pass


def start(
    words: Sequence[str],
    log: Path,
    prepare: Callable[[], None] = _nothing,
    conclude: Callable[[], None] = _nothing,
) -> int:
    """Fork a child that runs a command; its pid.

    Args:
        words: The command and its arguments.
        log: File that its streams go to.
        prepare: Called in the child before the command.
        conclude: Called in the child after it.
    """
    streams = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
        os.close(streams)
        return pid
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
        os.dup2(streams, 1)
        os.dup2(streams, 2)
        prepare()
        code = main(words)
        conclude()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:  # outside of the command, which lets none through
        code = NAMED[-1]
    except BaseException:  # noqa: BLE001 - what a user would see as a traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def is_over(pid: int) -> bool:
    """Whether a child has ended, which is not waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ended(pid: int, log: Path) -> Ended:
    """Wait for a child."""
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def done(
    words: Sequence[str],
    log: Path,
    prepare: Callable[[], None] = _nothing,
    conclude: Callable[[], None] = _nothing,
) -> Ended:
    """Run a command to its end; the arguments are those of `start`."""
    return ended(start(words, log, prepare, conclude), log)


def contents(output: Path) -> Mapping[str, bytes]:
    """Every byte under OUTPUT but those of locks and of parts, which no stage reads."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.is_symlink() and ".lock" not in path.name
    }


@dataclass(frozen=True)
class Reference:
    """What an undisturbed command leaves.

    Attributes:
        words: The words of the command, without `output=`.
        output: Its folder OUTPUT.
        files: The bytes of each file; None for a file that records times, and differs every time.
        seconds: How long it took.
        before: The folder OUTPUT that it began with, if that was not empty.
    """

    words: tuple[str, ...]
    output: Path
    files: Mapping[str, bytes | None]
    seconds: float
    before: Path | None = None

    @classmethod
    def make(cls, root: Path, words: Sequence[str], before: Path | None = None) -> "Reference":
        """Run twice, and compare."""
        root.mkdir()
        twice = []
        for name in ("first", "second"):
            output = root / name
            if before:
                shutil.copytree(before, output, copy_function=shutil.copy2)
            begun = time.monotonic()
            end = done([*words, f"output={output}"], root / "log")
            if end.code:
                raise SystemExit(f"the undisturbed command failed: {end}")
            seconds = time.monotonic() - begun
            twice.append(contents(output))
        one, other = twice
        if one.keys() != other.keys():
            raise SystemExit(f"two runs left other files: {sorted(one.keys() ^ other.keys())}")
        files = {name: data if other[name] == data else None for name, data in one.items()}
        return cls(tuple(words), root / "first", files, seconds, before)

    def begin(self, folder: Path) -> list[str]:
        """Make an OUTPUT in a folder as it was before; the whole command that works there."""
        output = folder / "output"
        if self.before:
            shutil.copytree(self.before, output, copy_function=shutil.copy2)
        return self.command(output)

    def command(self, output: Path) -> list[str]:
        """The command that works in an OUTPUT."""
        return [*self.words, f"output={output}"]

    def difference(self, output: Path) -> str | None:
        """What differs under another OUTPUT, in a few words."""
        found = contents(output)
        if found.keys() != self.files.keys():
            return f"other files: {sorted(found.keys() ^ self.files.keys())[:3]}"
        differing = [
            name for name, data in self.files.items() if data is not None and found[name] != data
        ]
        return f"other bytes: {differing[:3]}" if differing else None
