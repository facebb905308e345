"""Workers that share a stage, before it runs: the real placement in simulated time."""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.plan import taken_in
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.kernels.entk.tiles import BlockCache
from rmtgen.kernels.entk.work import Repeats
from rmtgen.stages.division import Unit
from rmtgen.stages.placement import Placement
from rmtgen.stages.tangent import pairs_in, panel_unit


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
        images: Images that they have passed.
    """

    def __init__(self, groups: Sequence[tuple[Entk, Sequence[Panel]]]):
        """Take the chunks of a kernel, or it alone, each with its panels."""
        self._panels = {
            panel_unit(group, panel, (chunk, number), ()): (group, panel)
            for chunk, (group, panels) in enumerate(groups)
            for number, panel in enumerate(panels)
        }
        self.units, self.images = list(self._panels), 0
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
        self.images += passed
        return Work(group, Repeats(passed, passed, formed, pairs_in([panel])))
