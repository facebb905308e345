"""How an eNTK divides its work among cores, measured on one and two and replayed on more.

On one core, every task that `side_by_side` hands to the cores is timed. A replay gives the recorded
tasks of each division to c cores in their order, at most as many at once as the division allows.
Python holds the interpreter's lock for the torch calls of a task, one core at a time: no division
takes less than its calls times the seconds of a call on one number. Passes, and the rest (what is
formed and copied for products), follow Amdahl's law through the seconds on one core and two.

`make bench BENCH=entk_cores`. CASES="resnet18:32:1024" chooses models, pixels and N.
"""

import heapq
import os
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode

from rmtgen import entk_gram
from rmtgen.kernels.entk import cpu, rules
from rmtgen.kernels.entk.capture import Capture
from tests.bench.entk import problem
from tests.bench.machine import describe, timed

CASES = ("resnet18:32:1024", "resnet50:32:512", "resnet18:224:64")
CORES = (2, 4, 8, 16, 32)


class Calls(TorchFunctionMode):
    """A counter of the calls of torch."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@dataclass
class Division:
    """The tasks of one call of `side_by_side`: their seconds, at most so many at once."""

    seconds: list[float]
    most: int
    calls: int = 0

    def replayed(self, cores: int) -> float:
        """Seconds on a number of cores, each of which takes the next task when it is done."""
        free = [0.0] * max(1, min(cores, self.most))
        for seconds in self.seconds:
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)


@dataclass
class Record:
    """The seconds of a kernel, those of its passes and those of its divisions."""

    seconds: float = 0.0
    passes: float = 0.0
    dividing: float = 0.0
    divisions: list[Division] = field(default_factory=list)

    @property
    def rest(self) -> float:
        """Seconds of neither."""
        return self.seconds - self.passes - self.dividing

    def replayed(self, cores: int, two: "Record", lock: float) -> float:
        """Seconds on a number of cores.

        Args:
            cores: Number of cores.
            two: The same kernel on two cores.
            lock: Seconds of the interpreter's lock for each call of torch.
        """
        return (
            amdahl(self.passes, two.passes, cores)
            + amdahl(self.rest, two.rest, cores)
            + sum(max(one.replayed(cores), one.calls * lock) for one in self.divisions)
        )


def amdahl(one: float, two: float, cores: int) -> float:
    """Seconds on a number of cores, from those on one and on two."""
    alone = min(one, max(0.0, 2 * two - one))
    return alone + (one - alone) / cores


def recorded(threads: int, work: Callable, *, counted: bool = False) -> Record:
    """A piece of work; one thread records its tasks, and a count of calls takes time of its own."""
    torch.set_num_threads(threads)
    record, calls, passing, dividing = Record(), Calls(), Capture.__call__, cpu.side_by_side

    def side_by_side(task: Callable, tasks: Iterable, most: int) -> None:
        def one_by_one() -> None:
            before, seconds = calls.count, []
            with calls if counted else nullcontext():  # within, since entk_gram leaves outer modes
                for one in tasks:
                    seconds.append(timed(lambda one=one: task(one))[0])
            record.divisions.append(Division(seconds, most, calls.count - before))

        work = one_by_one if threads == 1 else lambda: dividing(task, tasks, most)
        record.dividing += timed(work)[0]

    def passes(*args: Any, **settings: Any) -> Any:
        seconds, found = timed(lambda: passing(*args, **settings))
        record.passes += seconds
        return found

    with ExitStack() as stack:
        for module in (cpu, rules):
            stack.enter_context(patch.object(module, "side_by_side", side_by_side))
        stack.enter_context(patch.object(Capture, "__call__", passes))
        record.seconds = timed(work)[0]
    return record


def seconds_of_a_call() -> float:
    """Seconds of a call of torch on one number."""
    one, calls = torch.ones(()), 10_000
    started = time.perf_counter()
    for _ in range(calls):
        one.add(one)
    return (time.perf_counter() - started) / calls


def main() -> None:
    """Print one line per case: measured on one core and two, replayed on more."""
    warnings.simplefilter("ignore")
    lock = seconds_of_a_call()
    print(describe())
    print(f"a call of torch on one number: {lock * 1e6:.1f} µs")
    heads = "".join(f"{f'× {cores}':>8}" for cores in CORES)
    heads = "".join(f"{f'× {cores}':>7}" for cores in CORES)
    names = "".join(f"{name:>15}" for name in ("all", "passes", "tasks", "rest"))
    print(f"{'':<17}{names}{'calls':>9}{'lock':>7}{heads}")
    for case in os.environ.get("CASES", " ".join(CASES)).split():
        print(line(case, lock), flush=True)


def line(case: str, lock: float) -> str:
    """One case: seconds on one core and two, calls within tasks, and how much faster more are."""
    name, pixels, n = case.split(":")
    model, images = problem(name, int(pixels), int(n))

    def work() -> torch.Tensor:
        return entk_gram(model, images)

    counted = recorded(1, work, counted=True)
    one, two = recorded(1, work), recorded(2, work)
    for division, other in zip(one.divisions, counted.divisions, strict=True):
        division.calls = other.calls
    calls = sum(division.calls for division in one.divisions)
    pieces = (
        (getattr(one, of), getattr(two, of)) for of in ("seconds", "passes", "dividing", "rest")
    )
    shown = "".join(f"{f'{first:.2f} / {second:.2f}':>15}" for first, second in pieces)
    speeds = "".join(f"{one.seconds / one.replayed(cores, two, lock):>7.1f}" for cores in CORES)
    return f"{case:<17}{shown}{calls:>9}{lock * calls:>7.2f}{speeds}"


if __name__ == "__main__":
    main()
