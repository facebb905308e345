"""The eNTK of every architecture of timm beside autograd, one row of a CSV per name.

`make bench BENCH=entk_zoo ALL=1`, with the environment variables

- CSV: the file, to which rows are appended; a name with a verdict in it is skipped
  [build/entk-zoo.csv]. What each network needs is kept in CSV.needs.json.
- JOBS: processes that check networks [1], with one thread each, large networks with more.
- MEMORY: memory of all processes together [half of what is free].
- SECONDS: time after which no more is waited for [no limit].
- NAMES: the names, or "families" for the smallest network of each [all].

Each process checks one name at a time, the smallest networks first. One that takes too much memory
or time is killed, and its name is left for a run with more of them.
"""

import csv
import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import timm
import torch

from rmtgen.units import parse_bytes
from tests.bench.zoo_case import FIELDS, Measured, check, family, measure

LONGEST = 600
"""Maximum seconds of a name."""

WIDE, NARROW = torch.float64, torch.float32


@dataclass
class Limits:
    """What a sweep may take.

    Attributes:
        jobs: Number of processes.
        memory: Bytes of all processes together.
        end: Time on `time.monotonic` at which the sweep ends.
    """

    jobs: int
    memory: int
    end: float

    @classmethod
    def of_environment(cls) -> "Limits":
        """The limits in JOBS, MEMORY and SECONDS."""
        free = psutil.virtual_memory().available // 2
        return cls(
            int(os.environ.get("JOBS", 1)),
            parse_bytes(os.environ.get("MEMORY", free)),
            time.monotonic() + float(os.environ.get("SECONDS", "inf")),
        )


class Unanswered(Exception):  # noqa: N818 - nothing is in error
    """A task has no answer, for the reason in the message."""


def work(connection: Connection) -> None:
    """Answer tasks until the parent goes."""
    tasks = {"measure": measure, "check": check}
    while True:
        try:
            task, threads, arguments = connection.recv()
        except EOFError:
            return
        torch.set_num_threads(threads)
        try:
            answer = tasks[task](*arguments)
        except Exception as failure:
            answer = failure
        connection.send(answer)


class Worker:
    """A process that is started again after it was killed or died."""

    def __init__(self) -> None:
        self.context = get_context("spawn")
        self.process, self.connection = None, None

    def ask(
        self, task: str, arguments: tuple, *, memory: int, until: float, threads: int
    ) -> object:
        """The answer to a task.

        Raises:
            Unanswered: The task failed, or its process died or took too much memory or time.
        """
        if self.process is None or not self.process.is_alive():
            self.connection, other = self.context.Pipe()
            self.process = self.context.Process(target=work, args=(other,), daemon=True)
            self.process.start()
            other.close()
        self.connection.send((task, threads, arguments))
        resident = psutil.Process(self.process.pid)
        while not self.connection.poll(0.2):
            if time.monotonic() > until:
                self.end()
                raise Unanswered("no time was left")
            if resident.memory_info().rss > memory:
                self.end()
                raise Unanswered(f"more than {memory / 2**30:.1f} GiB of memory")
        try:
            answer = self.connection.recv()
        except EOFError:
            self.end()
            raise Unanswered(f"the process died with code {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise Unanswered(f"{type(answer).__name__}: {answer}") from answer
        return answer

    def end(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


@dataclass
class Shares:
    """The memory that is left for further tasks."""

    left: int
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, amount: int) -> None:
        """Wait until there is so much, and take it."""
        with self.changed:
            self.changed.wait_for(lambda: self.left >= amount)
            self.left -= amount

    def give(self, amount: int) -> None:
        """Give it back."""
        with self.changed:
            self.left += amount
            self.changed.notify_all()


def main() -> None:
    """Check every name that has no verdict yet, and print how many there are of each."""
    path = Path(os.environ.get("CSV", "build/entk-zoo.csv"))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes inherit these. The kernel and autograd are compared on the CPU.
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    limits = Limits.of_environment()
    names = [name for name in _names() if name not in rows(path)]
    needs = _needs(names, path.with_name(path.name + ".needs.json"), limits)
    names = sorted(set(names) & set(needs), key=lambda name: (needs[name].bytes(WIDE), name))
    if os.environ.get("NAMES") == "families":
        names = list({family(name): name for name in reversed(names)}.values())[::-1]
    _check_all(names, needs, path, limits)
    found = rows(path)
    print(
        dict(Counter(row["verdict"] for row in found.values())), f"of {len(found)} names in {path}"
    )


def rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a CSV by name, the last one of each."""
    if not path.exists():
        return {}
    with path.open(newline="") as lines:
        return {row["name"]: row for row in csv.DictReader(lines)}


def _names() -> list[str]:
    chosen = os.environ.get("NAMES", "families")
    return (
        timm.list_models() if chosen == "families" or "NAMES" not in os.environ else chosen.split()
    )


def _needs(names: list[str], path: Path, limits: Limits) -> dict[str, Measured]:
    """What each network needs, kept in a file."""
    kept = json.loads(path.read_text()) if path.exists() else {}

    def one(worker: Worker, name: str) -> None:
        share = limits.memory // limits.jobs
        try:
            found = worker.ask("measure", (name,), memory=share, until=_until(limits), threads=1)
        except Unanswered as reason:
            print(f"{name}: not measured, {reason}", flush=True)
            return
        kept[name] = asdict(found)

    _each([name for name in names if name not in kept], one, limits)
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=0))
    return {
        name: Measured(**(one | {"pixels": tuple(one["pixels"])})) for name, one in kept.items()
    }


def _check_all(names: list[str], needs: dict[str, Measured], path: Path, limits: Limits) -> None:
    """Check names in order, in as many processes at a time as their memory allows."""
    shares, writing = Shares(limits.memory), threading.Lock()
    new = not path.exists()
    with path.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, FIELDS)
        if new:
            writer.writeheader()

        def one(worker: Worker, name: str) -> None:
            fits = [kind for kind in (WIDE, NARROW) if needs[name].bytes(kind) <= limits.memory]
            if not fits:
                print(
                    f"{name}: {needs[name].bytes(NARROW) / 2**30:.0f} GiB are too much", flush=True
                )
                return
            share = max(limits.memory // limits.jobs, needs[name].bytes(fits[0]))
            shares.take(share)
            try:
                row = worker.ask(
                    "check",
                    (name, needs[name].pixels, fits[0]),
                    memory=share,
                    until=_until(limits),
                    threads=max(1, limits.jobs * share // limits.memory),
                )
            except Unanswered as reason:
                print(f"{name}: left out, {reason}", flush=True)
                return
            finally:
                shares.give(share)
            with writing:
                writer.writerow(row)
                lines.flush()
            if row["verdict"] not in ("works", "falls back"):
                print(f"{name}: {row['verdict']} {row['error']} {row['reason']}", flush=True)

        _each(names, one, limits)


def _each(names: list[str], one: Callable[[Worker, str], None], limits: Limits) -> None:
    """Run a task for every name, each thread with its own process, until the time is over."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def serve() -> None:
        worker = Worker()
        for name in _taken(waiting):
            if time.monotonic() > limits.end:
                break
            one(worker, name)
        worker.end()

    threads = [threading.Thread(target=serve) for _ in range(min(limits.jobs, len(names)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _taken(waiting: "queue.SimpleQueue[str]") -> Iterator[str]:
    while True:
        try:
            yield waiting.get_nowait()
        except queue.Empty:
            return


def _until(limits: Limits) -> float:
    return min(limits.end, time.monotonic() + LONGEST)
