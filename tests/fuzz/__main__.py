"""Attack every subject in a process of its own, within limits, and print what escaped.

Usage: python -m tests.fuzz FOLDER [FACTOR [SUBJECT ...]]. FACTOR times as many attacks are tried as
in the suite. The last line is a JSON object: for each subject its number of attacks, how many were
refused, its CPU seconds, and what escaped.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rmtgen.errors import RmtgenError
from tests.fuzz.attacks import Subject, subjects
from tests.fuzz.mutations import changed, edits

_MEMORY = 1 << 30
"""Bytes that an attack may take beyond what the process had."""

_SECONDS = (20, 120)
"""CPU seconds, and seconds, after which an attack counts as hung; most take milliseconds."""

_MOST_SHOWN = 5


def main(arguments: list[str]) -> None:
    root, factor, chosen = Path(arguments[0]), float((arguments[1:2] or ["1"])[0]), arguments[2:]
    torch.set_num_threads(1)
    results = {}
    for name, subject in subjects(root).items():
        if not chosen or name in chosen:
            count = max(1, round(subject.examples * factor))
            results[name] = _in_a_child(root / "found.json", subject, count)
    print(json.dumps(results))


def _in_a_child(result: Path, subject: Subject, count: int) -> dict:
    """Attack a subject in a child; a child that dies is an escape as well."""
    result.unlink(missing_ok=True)
    last = result.with_name("last")
    pid = os.fork()
    if pid == 0:
        _limit_memory()
        found = _attack(subject, count, last)
        result.write_text(json.dumps(found))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        cause = signal.Signals(status).name if os.WIFSIGNALED(status) else f"status {status}"
        return {
            "attacks": 0,
            "refused": 0,
            "escaped": [f"{last.read_text()} ended the process by {cause}"],
        }
    return json.loads(result.read_text())


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + _MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _attack(subject: Subject, count: int, last: Path) -> dict:
    """Change one file at a time, read, and restore it."""
    attacks, refused, escaped = 0, 0, {}

    @seed(438)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(subject.files), edits())
    def attack(path: Path, plan: list) -> None:
        nonlocal attacks, refused
        attacks += 1
        last.write_text(f"{path.name} {plan}")
        sound = path.read_bytes()
        try:
            path.write_bytes(changed(sound, plan))
            error = _outcome(subject.read, path)
        finally:
            path.unlink()
            path.write_bytes(sound)
        refused += isinstance(error, RmtgenError)
        if error is not None and (not isinstance(error, RmtgenError) or "\n" in str(error)):
            where = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            escaped.setdefault(cause, f"{path.name} {plan}: {cause}: {str(error)[:200]}")

    attack()
    seconds = round(time.process_time(), 1)
    shown = list(escaped.values())[:_MOST_SHOWN]
    return {"attacks": attacks, "refused": refused, "seconds": seconds, "escaped": shown}


def _outcome(read: Callable[[Path], object], path: Path) -> BaseException | None:
    """What reading raised; a hang kills the process."""
    signal.setitimer(signal.ITIMER_PROF, _SECONDS[0])
    signal.setitimer(signal.ITIMER_REAL, _SECONDS[1])
    try:
        read(path)
    except (Exception, SystemExit) as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
