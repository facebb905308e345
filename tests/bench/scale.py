"""Workers of a cluster: throughput of two against one, overhead, and 1 to 256 cards simulated.

The simulation runs the real placement in simulated time. The seconds of a block come from counted
work over rates that were measured on one H100 (`tests/bench/measured/h100.csv`), times the spread
of the seconds of equal blocks that the first table has recorded on this machine.
"""

import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from operator import add

from rmtgen.kernels.entk.chunks import chunks
from rmtgen.kernels.entk.schedule import least_passes
from rmtgen.kernels.entk.work import Repeats
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.rundir import RunDir
from rmtgen.stages import cluster, gram
from rmtgen.stages.engine import CLIENT, Job, division_of
from rmtgen.stages.panels import pairs_in
from rmtgen.stages.placement import Placement
from rmtgen.stages.progress import open_bar
from rmtgen.stages.simulation import Holders, simulate
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes
from tests.bench.schedule import kernel, ranges, seconds_on_card

FIELDS = ("dataset=mnist5k", "train=640", "test=160", "model=resnet18", "init=random")
FIELDS += ("img_size=64", "kernel=entk", "tile=160", "memory=600MiB")
TILE = 1024
"""Samples of a tile, as runs have them."""
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


def recorded_division(job, divide=gram.divide):
    """The work of a process without a cluster, with the times of each unit."""
    division = divide(job)
    make = division.make

    def timed(units):
        for unit in units:
            begun = time.monotonic()
            yield from make([unit])
            Recorded.times.append((str(os.getpid()), unit.cost, begun, time.monotonic()))

    division.make = timed
    return division


def computed(words):
    """Run stage gram with these words, and print worker, cost, begin and end of each unit."""
    from rmtgen.cli.main import main

    cluster.Placement, gram.divide = Recorded, recorded_division
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


def simulated(spread):
    """ResNet-50, 224 px, 50,000 + 10,000 images, on 1 to 256 cards of 80 GiB."""
    sides = train, test = ranges(50_000, 10_000)
    options = {"memory": "80GiB", "target": "cuda", "tile": TILE}
    entk = kernel("resnet50", 224, len(train) + len(test), **options)
    for groups in (chunks(entk, train, train, test, sums=entk.budget // 8), [entk]):
        print(cards(entk, [(group, list(group.panels(*sides))) for group in groups], spread).text())
        print()


def cards(entk, groups, spread):
    """The seconds and passes of a kernel in chunks, or in one piece, on several cards."""
    entries, images = pairs_in(groups[0][1]), len(entk.passes.images)
    per, rows, alone = paces(entk, [group for group, _ in groups]), [], None
    for count in CARDS:
        holders, rng, spent = Holders(groups), random.Random(count), [0.0] * 3

        def seconds(worker, unit, holders=holders, rng=rng, spent=spent):
            chunk, done = holders.begin(worker, unit)
            factor, counts = rng.choice(spread), (done.images, done.formed, done.pairs)
            parts = [factor * n * pace for n, pace in zip(counts, per[chunk], strict=True)]
            spent[:] = map(add, spent, parts)
            return sum(parts)

        taken = simulate(holders.units, count, seconds, START)
        alone, passes = alone or taken, holders.passed
        shares = [START / taken, *(part / (count * taken) for part in spent)]
        fewest = (least_passes(images, entries, entk.capacity, number) for number in (1, count))
        written = 8 * entries * len(groups) if len(groups) > 1 else 4 * images**2
        rows.append(
            (
                *(f"{count}", duration(taken), f"{alone / (count * taken):.0%}"),
                *(f"{share:.0%}" for share in (*shares, 1 - sum(shares))),
                *(f"{passes:,.0f}", *(f"{passes / least:.2f}" for least in fewest)),
                f"{readable_bytes(int(written / taken))}/s",
            )
        )
    headings = ("cards", "time", "efficiency", "start", "passes", "forming", "products", "idle")
    headings += ("image passes", "to the fewest of one", "of so many", "written")
    note = f"{len(holders.units)} blocks in {len(groups)} chunk(s), tile={TILE}; images that pass"
    note += " for a chunk count by its share of a pass"
    if len(groups) > 1:
        note += f"; {readable_bytes(written)} of sums are written, and read by the one that gathers"
    return Table(headings, tuple(rows), ">" * len(headings), (note,))


def paces(entk, groups):
    """Seconds on the card of an image, of a sample formed and of a pair, by chunk."""
    one = seconds_on_card("resnet50", entk, [entk], [Repeats(1, 1, 1, 1)], 1, "split")
    image, formed, pair = one
    meeting = sum(group.cost.meeting for group in groups)
    return {
        group: (
            image * group.share,
            formed * group.cost.forming / entk.cost.forming,
            pair * group.cost.meeting / meeting,
        )
        for group in groups
    }


def main():
    """Print both tables."""
    spread = throughput()
    print()
    simulated(spread)
