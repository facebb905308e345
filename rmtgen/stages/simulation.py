"""Workers that share a stage, before it runs: the real placement in simulated time."""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rmtgen.kernels.entk import Entk, Plan
from rmtgen.kernels.entk.plan import Shared, taken_in
from rmtgen.kernels.entk.schedule import Panel, least_passes
from rmtgen.kernels.entk.tiles import BlockCache
from rmtgen.kernels.entk.work import Repeats
from rmtgen.stages.division import Unit
from rmtgen.stages.panels import pairs_in, panel_unit
from rmtgen.stages.placement import Placement

MOST_UNITS = 4096
"""Units up to which workers are simulated for a plan."""


def simulate(
    units: Sequence[Unit], workers: int, seconds: Callable[[str, Unit], float], start: float = 0.0
) -> float:
    """Seconds from the start of workers to the end of the last unit.

    Args:
        units: The units.
        workers: Number of workers.
        seconds: From a worker and the unit that it begins to how long this takes; called in the
            order of the beginnings.
        start: Seconds that each worker takes to start.
    """
    names = [f"{number:06d}" for number in range(workers)]
    placement, idle, now = Placement(units, names), set[str](), 0.0
    events: list[tuple[float, str, Unit | None]] = [(start, name, None) for name in names]
    while placement.left:
        now, worker, unit = heapq.heappop(events)
        if unit is not None:
            placement.done(worker, unit, now)
        idle.add(worker)
        for one in sorted(idle):
            if (chosen := placement.next(one, now)) is not None:
                idle.discard(one)
                heapq.heappush(events, (now + seconds(one, chosen), one, chosen))
    return now


class Work(NamedTuple):
    """What a unit takes a worker: samples passed and formed, and entries, of one chunk."""

    chunk: Entk
    repeats: Repeats


class Holders:
    """Workers that compute the panels of a kernel, each with the blocks that it holds.

    Attributes:
        units: The panels of every chunk.
        passed: Images that they have passed; one for a chunk counts by its share of a pass.
    """

    def __init__(self, groups: Sequence[tuple[Entk, Sequence[Panel]]]):
        """Take the chunks of a kernel, or it alone, each with its panels."""
        self._panels = {
            panel_unit(group, panel, (chunk, number), ()): (group, panel)
            for chunk, (group, panels) in enumerate(groups)
            for number, panel in enumerate(panels)
        }
        self.units, self.passed = list(self._panels), 0.0
        self._held: dict[str, tuple[Entk, BlockCache[None]]] = {}

    def begin(self, worker: str, unit: Unit) -> Work:
        """Have a worker compute a unit; what it does for it."""
        group, panel = self._panels[unit]
        if worker not in self._held or self._held[worker][0] is not group:
            self._held[worker] = group, BlockCache(group.capacity)
        cache = self._held[worker][1]
        before = cache.computed
        formed = taken_in(group, panel, cache)
        passed = cache.computed - before
        self.passed += passed * group.share
        return Work(group, Repeats(passed, passed, formed, pairs_in([panel])))


def shared(
    plan: Plan, kernel: Entk, groups: Sequence[tuple[Entk, Sequence[Panel]]], counts: Sequence[int]
) -> dict[int, Shared]:
    """A kernel on several numbers of workers, each as fast as the plan's device.

    Args:
        plan: The plan of one process.
        kernel: The kernel.
        groups: Its chunks, or it alone, each with its panels.
        counts: Numbers of workers.

    Returns:
        By the number of workers; empty where there are more than `MOST_UNITS` units.
    """
    if sum(len(panels) for _, panels in groups) > MOST_UNITS:
        return {}
    alone = Holders(groups)
    flops = sum(_multiplied(alone.begin("", unit)) for unit in alone.units)
    image, flop = plan.seconds.passes / alone.passed, plan.seconds.products / flops
    found = {}
    for count in counts:
        holders = Holders(groups)

        def seconds(worker: str, unit: Unit, holders: Holders = holders) -> float:
            work = holders.begin(worker, unit)
            return work.repeats.images * work.chunk.share * image + _multiplied(work) * flop

        taken = simulate(holders.units, count, seconds, plan.seconds.check)
        working = min(count, len(holders.units))  # the others find nothing to do
        least = least_passes(plan.samples, plan.pairs, kernel.capacity, working)
        found[count] = Shared(taken, round(holders.passed), least)
    return found


def _multiplied(work: Work) -> float:
    """FLOPs of gradients formed and of products."""
    chunk, repeats = work
    return chunk.cost.forming * repeats.formed + chunk.cost.meeting * repeats.pairs
