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
import time
from dataclasses import astuple
from operator import sub

from rmtgen.kernels.entk.plan import schedule
from rmtgen.kernels.entk.schedule import least_passes
from rmtgen.kernels.entk.work import Repeats
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.rundir import RunDir
from rmtgen.stages import cluster, gram
from rmtgen.stages.division import Unit
from rmtgen.stages.engine import CLIENT, Job, division_of
from rmtgen.stages.gram import Tiles
from rmtgen.stages.placement import Placement
from rmtgen.stages.progress import open_bar
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes
from tests.bench.schedule import kernel, ranges, seconds_on_card

FIELDS = ("dataset=mnist5k", "train=640", "test=160", "model=resnet18", "init=random")
FIELDS += ("img_size=64", "kernel=entk", "tile=160", "memory=600MiB")
CARDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
START = 60.0
"""Seconds until a worker has imported torch, loaded the network and checked its gradients."""


class Recorded(Placement):
    """Placement that keeps when each unit was given to a worker and known to be done."""

    times: list[tuple[str, float, float, float]] = []

    def next(self, worker, now):
        unit = super().next(worker, now)
        if unit is not None:
            self.begun = {**getattr(self, "begun", {}), (worker, unit.name): now}
        return unit

    def done(self, worker, unit, now):
        self.times.append((worker, unit.cost, self.begun[worker, unit.name], now))
        return super().done(worker, unit, now)


class RecordedTiles(Tiles):
    """Tiles of a process without a cluster, with the times of each unit."""

    def make(self, units):
        for unit in units:
            begun = time.monotonic()
            yield from super().make([unit])
            Recorded.times.append((str(os.getpid()), unit.cost, begun, time.monotonic()))


def computed(words):
    """Run stage gram with these words, and print worker, cost, begin and end of each unit."""
    from rmtgen.cli.main import main

    cluster.Placement, gram.divide = Recorded, RecordedTiles
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["gram", *words])
    sys.stdout.write(json.dumps(Recorded.times))
    sys.stdout.flush()
    return code


def empty(words):
    """Have a worker go through units that are all done, and print the same of them."""
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    run, cluster.Placement = RunDir(config), Recorded
    with run.lock(CLIENT), open_bar("gram", run.path.name) as bar:
        job = Job("gram", run, bar, CLIENT)
        division = division_of(job)
        division.lacking = lambda unit: list(unit.parts)
        with contextlib.redirect_stderr(io.StringIO()):
            cluster.distribute(job, division)
    sys.stdout.write(json.dumps(Recorded.times))
    sys.stdout.flush()


def recorded(commands, output, function="computed"):
    """The units of processes that run at the same time on one output, each on its cores.

    Args:
        commands: The words of each process, and its cores.
        output: The output.
        function: What each process does: `computed` or `empty`.
    """
    script = f"import sys; from tests.bench import scale; sys.exit(scale.{function}(sys.argv[1:]))"
    running = [
        subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-c", script]
            + [*FIELDS, f"output={output}", word],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for word, cores in commands
    ]
    return [unit for process in running for unit in json.loads(process.communicate()[0])]


def rate(times):
    """Cost a second while all compute: after the first unit of each, in which it loads."""
    first, last = {}, {}
    for worker, _, _, end in sorted(times, key=lambda one: one[3]):
        first.setdefault(worker, end)
        last[worker] = end
    start, end = max(first.values()), min(last.values())
    done = sum(
        cost * max(0.0, min(stop, end) - max(begun, start)) / (stop - begun)
        for worker, cost, begun, stop in times
        if stop != first[worker]
    )
    return done / (end - start)


def throughput():
    """Two against one, of workers and of processes without a cluster; the spread of equal units."""
    one, other = sorted(os.sched_getaffinity(0))[:2]
    ways = {
        "one process": [("shard=1/1", [one])],
        "one worker": [("cluster=1", [one])],
        "two processes": [("shard=1/2", [one]), ("shard=2/2", [other])],
        "two workers": [("cluster=2", [one, other])],
    }
    found, notes = {}, []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rmtgen", "extract", *FIELDS, f"output={folder}/features"]
        subprocess.run(command, check=True, stdout=2)
        for way in os.environ.get("WAYS", ",".join(ways)).split(","):
            output = f"{folder}/{way}"
            subprocess.run(["cp", "-r", f"{folder}/features", output], check=True)
            found[way] = recorded(ways[way], output)
            if way == "one process":  # it leaves its units, because a share gathers nothing
                idle = recorded([("cluster=1", [one])], output, "empty")
                without = statistics.median(end - begun for _, _, begun, end in idle)
                notes.append(f"a worker takes {1e3 * without:.0f} ms for a unit that is done")
    first = rate(next(iter(found.values())))
    rows = []
    for way, times in found.items():
        middle = statistics.median(end - begun for _, _, begun, end in times)
        rows.append((way, str(len(times)), f"{middle:.2f}", f"{rate(times) / first:.2f}"))
    headings = ("", "units", "median seconds of a unit", "throughput")
    print(Table(headings, tuple(rows), "<>>>", tuple(notes)).text())
    own = [(end - begun) / cost for _, cost, begun, end in times][2:]
    middle = statistics.median(own)
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
