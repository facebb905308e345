"""Workers of a cluster: throughput of two against one, overhead, and 1 to 256 cards simulated.

The simulation runs the real placement in simulated time. The seconds of a block come from counted
work over rates that were measured on one H100 (`tests/bench/measured/h100.csv`), times the spread
of the seconds of equal blocks that the first table has recorded on this machine.
"""

import contextlib
import functools
import heapq
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import astuple
from operator import sub

from rmtgen.kernels.entk.plan import schedule
from rmtgen.kernels.entk.schedule import least_passes
from rmtgen.kernels.entk.work import Repeats
from rmtgen.stages import cluster
from rmtgen.stages.division import Unit
from rmtgen.stages.placement import Placement
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes
from tests.bench.schedule import kernel, ranges, seconds_on_card

FIELDS = ("dataset=mnist5k", "train=768", "test=256", "model=resnet18", "init=random")
FIELDS += ("img_size=32", "kernel=entk", "tile=64", "memory=200MiB")
CARDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
START = 60.0
"""Seconds until a worker has imported torch, loaded the network and checked its gradients."""


class Recorded(Placement):
    """Placement that keeps when each unit was begun and done, and by whom."""

    times: list[tuple[str, float, float, float]] = []

    def next(self, worker, now):
        unit = super().next(worker, now)
        if unit is not None:
            self.begun = {**getattr(self, "begun", {}), (worker, unit.name): now}
        return unit

    def done(self, worker, unit, now):
        self.times.append((worker, unit.cost, self.begun[worker, unit.name], now))
        return super().done(worker, unit, now)


def computed(words):
    """Run stage gram with these words, and print what the client saw of the units."""
    from rmtgen.cli.main import main

    cluster.Placement = Recorded
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["gram", *words])
    sys.stdout.write(json.dumps(Recorded.times))
    sys.stdout.flush()
    return code


def recorded(words, cores):
    """The units of a run in a process of its own, on these cores."""
    script = "import sys; from tests.bench.scale import computed; sys.exit(computed(sys.argv[1:]))"
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def rate(times):
    """Cost a second, from the end of each worker's first unit, in which it loads, to the last."""
    first = {}
    for worker, _, _, end in sorted(times, key=lambda one: one[3]):
        first.setdefault(worker, end)
    start = max(first.values())
    end = max(one[3] for one in times)
    done = sum(
        cost * min(1.0, (stop - max(start, begun)) / (stop - begun))
        for worker, cost, begun, stop in times
        if stop > start and stop != first[worker]
    )
    return done / (end - start)


def throughput():
    """Two workers against one on one core each; the spread of the seconds of equal units."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as folder:
        shared = [*FIELDS, f"output={folder}/features"]
        subprocess.run([sys.executable, "-m", "rmtgen", "extract", *shared], check=True, stdout=2)
        found = {}
        for count in (1, 2):
            output = f"{folder}/{count}"
            subprocess.run(["cp", "-r", f"{folder}/features", output], check=True)
            words = [*FIELDS, f"output={output}", f"cluster={count}"]
            found[count] = recorded(words, cores[:count])
    one, two = (rate(times) for times in found.values())
    own = [(stop - begun) / cost for _, cost, begun, stop in found[2]][2:]
    middle = statistics.median(own)
    rows = [
        (str(count), str(len(times)), f"{statistics.median(b - a for _, _, a, b in times):.2f}")
        for count, times in found.items()
    ]
    rows = [(*row, f"{value / one:.2f}") for row, value in zip(rows, (one, two), strict=True)]
    headings = ("workers", "units", "median seconds of a unit", "throughput against one")
    print(Table(headings, tuple(rows), ">>>>").text())
    return [seconds / middle for seconds in own]


def simulate(units, seconds, workers, rng, spread):
    """Time from the start to the end, and the units of each worker in order.

    Args:
        units: The units.
        seconds: From a unit and the one that its worker has computed before to its seconds.
        workers: Number of workers.
        rng: Source of randomness.
        spread: Factors on the seconds, one of which is drawn for each unit.
    """
    placement = Placement(units, [f"{number:04d}" for number in range(workers)])
    events = [(START, f"{number:04d}", None) for number in range(workers)]
    made, idle, now = {worker: [] for _, worker, _ in events}, set(), 0.0
    while placement.left and events:
        now, worker, unit = heapq.heappop(events)
        if unit is not None:
            placement.done(worker, unit, now)
        idle.add(worker)
        for one in sorted(idle):
            chosen = placement.next(one, now)
            if chosen is not None:
                idle.discard(one)
                taken = seconds(chosen, made[one][-1] if made[one] else None) * rng.choice(spread)
                made[one].append(chosen)
                heapq.heappush(events, (now + taken, one, chosen))
    return now, made


def simulated(spread):
    """ResNet-50, 224 px, 50,000 + 10,000 images, on 1 to 256 cards of 80 GiB."""
    train, test = ranges(50_000, 10_000)
    entk = kernel("resnet50", 224, len(train) + len(test), memory="80GiB", target="cuda")
    panels = {f"panel-{number:06d}": own for number, own in enumerate(entk.panels(train, test))}
    units = [Unit(name, (), entries([own])) for name, own in panels.items()]

    @functools.cache
    def seconds(unit, before):
        """What a worker holds already passes no more."""
        own, held = [panels[unit.name]], [panels[before.name]] if before else []
        both = schedule(entk, held + own, entries(held + own))
        alone = schedule(entk, held, entries(held)) if held else Repeats(0, 0, 0, 0)
        added = Repeats(*map(sub, astuple(both), astuple(alone)))
        return sum(seconds_on_card("resnet50", entk, [entk], [added], entries(own), "split"))

    rows, least = [], least_passes(len(train) + len(test), entries(panels.values()), entk.capacity)
    alone = None
    for cards in CARDS:
        taken, made = simulate(units, seconds, cards, random.Random(cards), spread)
        alone = alone or taken
        orders = ([panels[unit.name] for unit in own] for own in made.values() if own)
        passes = sum(schedule(entk, own, entries(own)).images for own in orders)
        written = 4 * len(train) * (len(train) + len(test)) / taken
        row = (str(cards), duration(taken), f"{alone / (cards * taken):.0%}", f"{passes:,}")
        rows.append((*row, f"{passes / least:.2f}", f"{readable_bytes(int(written))}/s"))
    headings = ("cards", "time", "efficiency", "image passes", "to the optimum", "written")
    note = f"{len(units)} blocks; the fewest passes in this memory are {least:,}"
    print(Table(headings, tuple(rows), ">>>>>>", (note,)).text())


def entries(panels):
    """Entries of some blocks, those of a symmetric one counted once."""
    sizes = [(len(rows), len(columns), rows == columns) for rows, columns, _ in panels]
    return sum(n * (n + 1) // 2 if same else n * m for n, m, same in sizes)


def main():
    """Print both tables."""
    spread = throughput()
    print()
    simulated(spread)
