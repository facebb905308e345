"""The attacks: each takes a reference, a folder and a number, and says how it went.

The number seeds an attack, so that one that went wrong can be tried alone.
"""

import ctypes
import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.torture.processes import Ended, Reference, done, ended, start

IDENTICAL, NAMED, WRONG = "identical", "named error", "wrong"


@dataclass(frozen=True)
class Verdict:
    """How an attack went.

    Attributes:
        outcome: `IDENTICAL`: what was left in the end equals the reference; `NAMED`: an error said
            what was wrong; `WRONG`: neither.
        detail: What was wrong.
        hits: How often it struck, of what the table counts.
    """

    outcome: str
    detail: str = ""
    hits: int = 1


def killed(reference: Reference, folder: Path, number: int) -> Verdict:
    """Signals at random instants of a whole run, and then a run to the end."""
    rng = random.Random(number)
    words, log, hits = reference.begin(folder), folder / "log", 0
    for _ in range(rng.randint(3, 6)):
        pid = start(words, log)
        time.sleep(rng.uniform(0, reference.seconds))
        sent = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        os.kill(pid, sent)
        end = ended(pid, log)
        hits += end.code != 0
        if end.code != -sent and not end.named:
            return Verdict(WRONG, f"{sent.name}: {end}", hits)
    return _resumed(reference, folder, hits)


def _resumed(reference: Reference, folder: Path, hits: int = 1) -> Verdict:
    """Run undisturbed to the end, and compare."""
    end = done(reference.command(folder / "output"), folder / "log of the last run")
    if end.code:
        return Verdict(WRONG, f"does not resume: {end}", hits)
    difference = reference.difference(folder / "output")
    return Verdict(WRONG if difference else IDENTICAL, difference or "", hits)


_DAMAGE: Mapping[str, Callable[[bytes, int], bytes]] = {
    "flip": lambda data, at: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :],
    "truncate": lambda data, at: data[:at],
    "zero": lambda data, at: data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :],
    "append": lambda data, at: data + data[:at] + b"\0",
    "swap": lambda data, at: data[at:] + data[:at],
}


def corrupted(reference: Reference, folder: Path, number: int) -> Verdict:
    """One file of a finished run damaged or deleted, with or without its time."""
    rng = random.Random(number)
    output = Path(shutil.copytree(reference.output, folder / "output", copy_function=shutil.copy2))
    path = output / rng.choice(sorted(reference.files))
    status, data = path.stat(), path.read_bytes()
    kind = rng.choice((*_DAMAGE, "delete"))
    path.unlink()
    if kind != "delete":
        path.write_bytes(_DAMAGE[kind](data, rng.randrange(len(data))))
        if rng.random() < 0.5:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    what = f"{kind} of {path.relative_to(output)}"
    verified = done(["verify", f"output={output}"], folder / "log of verify")
    rerun = done(reference.command(output), folder / "log")
    for end in (verified, rerun):
        if not end.named:
            return Verdict(WRONG, f"{what}: {end}")
    difference = reference.difference(output)
    if difference is None and rerun.code == 0:
        return Verdict(IDENTICAL)
    if verified.code or rerun.code:
        return Verdict(NAMED)
    return Verdict(WRONG, f"{what}: not noticed; {difference}")


FAULTS = {"full disk": (errno.ENOSPC, True), "EIO": (errno.EIO, False), "short write": (0, True)}
"""The error of a failed call, or 0 for short writes; whether all later calls fail too."""


def faulty(reference: Reference, folder: Path, number: int, *, fault: str) -> Verdict:
    """A disk that fails at a random call, and then works again."""
    rng, output = random.Random(number), folder / "output"
    output.mkdir()
    code, lasting = FAULTS[fault]
    nth = rng.randint(1, max(1, calls(reference, folder)))

    def prepare() -> None:
        arm(output, nth, code, lasting=lasting)

    end = done(reference.command(output), folder / "log", prepare)
    if not end.named or (code == 0 and end.code):
        return Verdict(WRONG, f"at call {nth}: {end}")
    if code == 0:
        difference = reference.difference(output)
        return Verdict(WRONG if difference else IDENTICAL, difference or "")
    verdict = _resumed(reference, folder)
    if verdict.outcome == IDENTICAL and end.code:
        return Verdict(NAMED)
    return verdict


def calls(reference: Reference, folder: Path) -> int:
    """How many calls of an undisturbed command a fault can strike; counted once for all attacks."""
    kept = folder.parent / "calls"
    if not kept.exists():
        output, count = folder / "counted", folder / "count"
        output.mkdir()

        def prepare() -> None:
            arm(output, 1 << 40, 0, lasting=False)

        def conclude() -> None:
            count.write_text(str(ctypes.CDLL(None).fault_seen()))

        done(reference.command(output), folder / "log", prepare, conclude)
        count.replace(kept)
    return int(kept.read_text())


def arm(folder: Path, nth: int, code: int, *, lasting: bool) -> None:
    shim = ctypes.CDLL(None)
    shim.fault_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    shim.fault_arm(os.fsencode(folder.resolve()), nth, code, lasting)


def crowded(reference: Reference, folder: Path, number: int) -> Verdict:
    """Eight processes that start the same run within a tenth of a second."""
    rng, words = random.Random(number), reference.begin(folder)
    logs = [folder / f"log {one}" for one in range(8)]
    pids = []
    for log in logs:
        pids.append(start(words, log))
        time.sleep(rng.uniform(0, 0.02))
    ends: list[Ended] = [ended(pid, log) for pid, log in zip(pids, logs, strict=True)]
    bad = [end for end in ends if not end.named]
    if bad:
        return Verdict(WRONG, str(bad[0]))
    return _resumed(reference, folder)
