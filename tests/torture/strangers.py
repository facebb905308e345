"""Attacks on what processes that share a run take from one another: parts, and versions."""

import importlib.metadata
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.torture.attacks import IDENTICAL, NAMED, WRONG, Verdict
from tests.torture.processes import Ended, Reference, done, ended, is_over, start
from tests.torture.together import SHARES, begin, cluster_of, compared

OTHER = "0.0.1"
"""What a worker of another version says of a package."""


def part_corrupted(reference: Reference, folder: Path, number: int) -> Verdict:
    """A bit flipped in a finished part, while shares or workers go on or before all is gathered."""
    attack = (_in_cluster, _in_shares)[number % 2]
    return attack(reference, folder, random.Random(number))


def _in_shares(reference: Reference, folder: Path, rng: random.Random) -> Verdict:
    stage, words = rng.choice(("extract", "gram")), reference.command(folder / "output")[3:]
    command = ["run", "--stage", stage, *words]
    if stage == "gram":
        done(["run", "--stage", "extract", *words], folder / "log of extract")
    logs = [folder / f"log {index}" for index in range(1, SHARES + 1)]
    pids = [start([*command, f"shard={i}/{SHARES}"], log) for i, log in enumerate(logs, 1)]
    early, struck = rng.random() < 0.5, None  # noqa: PLR2004
    while early and not struck and not all(map(is_over, pids)):
        struck = _flipped(folder / "output", rng)
        time.sleep(0.001)
    for pid, log in zip(pids, logs, strict=True):
        if (end := ended(pid, log)).code:
            return Verdict(WRONG, f"a share of {stage}: {end}")
    struck = struck or _flipped(folder / "output", rng)
    if struck is None:
        return Verdict(WRONG, f"no part of {stage} is there")
    return _noticed(reference, folder, struck, done(command, folder / "log of all"))


def _in_cluster(reference: Reference, folder: Path, rng: random.Random) -> Verdict:
    output, struck = folder / "output", None
    with cluster_of(folder) as cluster:
        client = begin(reference, folder, cluster)
        time.sleep(rng.uniform(0, reference.seconds))
        while not struck and not is_over(client):
            struck = _flipped(output, rng)
            time.sleep(0.01)
        end = ended(client, folder / "log of client")
    if struck is None:
        return Verdict(IDENTICAL) if end.code == 0 else Verdict(WRONG, f"client: {end}")
    return _noticed(reference, folder, struck, end)


def _flipped(output: Path, rng: random.Random) -> Path | None:
    """Flip a bit in one of the parts that are finished and not gathered yet; its path."""
    parts = sorted(_parts(output))
    for path in rng.sample(parts, min(1, len(parts))):
        try:
            with path.open("r+b") as file:
                at = rng.randrange(path.stat().st_size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << at % 8]))
        except FileNotFoundError:  # of a stage that is done meanwhile
            return None
        return path
    return None


def _parts(output: Path) -> Iterator[Path]:
    for journal in output.glob("runs/*/*/journal.*.jsonl"):
        try:
            lines = journal.read_bytes().split(b"\n")[1:-1]
        except FileNotFoundError:
            continue
        yield from (journal.parent / f"{json.loads(line)['name']}.h5" for line in lines)


def _noticed(reference: Reference, folder: Path, struck: Path, end: Ended) -> Verdict:
    """Whether it was said which part is damaged, and all is well once it is deleted as was said."""
    output = folder / "output"
    if end.code == 0:
        if not struck.exists() or reference.difference(output) is None:
            return compared(reference, folder, 1)
        end = done(["verify", f"output={output}"], folder / "log of verify")
    if not end.named or end.code == 0 or str(struck) not in end.said.replace("\n", ""):
        return Verdict(WRONG, f"{struck.relative_to(output)} not named: {end}")
    struck.unlink()
    verdict = compared(reference, folder, 1)
    return Verdict(NAMED) if verdict.outcome == IDENTICAL else verdict


def other_version(reference: Reference, folder: Path, number: int) -> Verdict:
    """One of two workers has another version, or both have."""
    package = ("rmtgen", "torch", "numpy")[number // 2 % 3]
    strange = 1 + number % 2
    with cluster_of(folder) as cluster:
        for worker in cluster.workers[:strange]:
            cluster.kill(worker)
            cluster.worker(_claiming(package))
        end = ended(begin(reference, folder, cluster), folder / "log of client")
    said = f"versions differ: {package} {OTHER}, here "
    expected = (0,) if strange == 1 else (3,)
    if not end.named or end.code not in expected or said not in end.said:
        return Verdict(WRONG, f"{strange} workers with another {package}: {end}")
    verdict = compared(reference, folder, 1)
    return Verdict(NAMED) if end.code and verdict.outcome == IDENTICAL else verdict


def _claiming(package: str) -> Callable[[], None]:
    def claim() -> None:
        known = importlib.metadata.version
        importlib.metadata.version = lambda name: OTHER if name == package else known(name)

    return claim
