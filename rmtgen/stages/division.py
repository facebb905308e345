"""A stage's work as units that need nothing of one another, so that processes can share it."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from rmtgen.runs.share import Share
from rmtgen.stages.engine import Job, Result
from rmtgen.store.shards import ShardSet

log = logging.getLogger(__name__)

_HALVINGS = 60
"""Halvings of the interval in which the cost of the costliest span lies."""
NAMED = 4
"""Largest number of missing parts that are named."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done by one process at a time.

    Attributes:
        name: Its name, which no other unit of the stage has.
        parts: Names of the shards that it leaves.
        cost: What it costs, > 0, in a unit of measure that all units of the stage share.
        needs: What a worker must hold for it, each with the cost of getting it. It holds what its
            last unit has needed.
    """

    name: str
    parts: tuple[str, ...]
    cost: float
    needs: tuple[tuple[Hashable, float], ...] = ()

    def after(self, before: "Unit | None") -> float:
        """What it costs a worker that has computed another unit last, or none."""
        held = before.needs if before else ()
        return self.cost + sum(cost for need, cost in self.needs if (need, cost) not in held)


def in_a_row(units: Sequence[Unit], before: Unit | None = None) -> list[float]:
    """What each of some units costs a worker that computes them one after another."""
    return [unit.after(last) for last, unit in zip((before, *units), units, strict=False)]


def spans_of(units: Sequence[Unit], count: int) -> list[range]:
    """Positions of units that follow one another, for each of so many processes.

    The one that costs most costs as little as it can. No part costs more than an equal one and one
    unit if the units need nothing.
    """
    costs = in_a_row(units)
    least, most = 0.0, sum(unit.after(None) for unit in units)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        if len(_filled(units, costs, middle)) <= count:
            most = middle
        else:
            least = middle
    found = _filled(units, costs, most)
    return found + [range(0)] * (count - len(found))


def _filled(units: Sequence[Unit], costs: Sequence[float], most: float) -> list[range]:
    """Spans that cost at most so much, each as long as it can be, or are one unit."""
    found, start, total = [], 0, 0.0
    for position, (unit, cost) in enumerate(zip(units, costs, strict=True)):
        if position > start and total + cost > most:
            found.append(range(start, position))
            start = position
        total = unit.after(None) if position == start else total + cost
    return [*found, range(start, len(units))] if units else []


class Division(ABC):
    """The work of one stage, in units.

    Attributes:
        noun: What a part is called.
        units: Every unit, in the order in which they are best computed.
        shards: Where the parts are kept.
    """

    noun: str
    units: Sequence[Unit]
    shards: ShardSet

    def prepare(self, units: Sequence[Unit]) -> None:
        """Do what must come before some units; most need nothing."""
        return

    @abstractmethod
    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Compute some units, and yield the name of each part as it is durable.

        Parts that are there are not made again.
        """

    @abstractmethod
    def gather(self) -> Result:
        """What the stage leaves, from the parts of all units."""

    def begun(self) -> Result:
        """What is to be recorded of parts that a later call takes over; most record nothing."""
        return Result([], "")

    def close(self) -> None:
        """Remove what the work has left outside the run; most leave nothing."""
        return

    def lacking(self, unit: Unit) -> list[str]:
        """The parts of a unit that are not there yet."""
        return [part for part in unit.parts if part not in self.shards]


def complete(job: Job, division: Division) -> Result:
    """Make what is not there yet, and gather it; what the shares lack is named."""
    lacking = [part for unit in division.units for part in division.lacking(unit)]
    if division.shards.writers and job.writer is None:
        _report(job, lacking, sum(len(unit.parts) for unit in division.units))
    advance(job, division, division.units)
    result = division.gather()
    division.close()
    return result


def _report(job: Job, lacking: Sequence[str], total: int) -> None:
    """Say which parts no share has made."""
    first = ", ".join(lacking[:NAMED]) + (", …" if len(lacking) > NAMED else "")
    said = f"the shards lack {len(lacking)} of {total} parts ({first}): made now"
    log.info(f"{job.directory.path.name}: {said if lacking else 'the shards lack nothing'}")


def contribute(job: Job, division: Division, share: Share) -> Result:
    """Make what is not there yet of one share, and count what all have made."""
    span = spans_of(division.units, share.count)[share.index - 1]
    mine = [division.units[position] for position in span]
    made = advance(job, division, mine)
    division.close()
    total = sum(len(unit.parts) for unit in division.units)
    there = total - sum(len(division.lacking(unit)) for unit in division.units)
    details = {"shard": str(share), "made": made, "there": there, "parts": total}
    return Result([], f"shard {share}: {made} made, {there} of {total} parts there", details)


def advance(
    job: Job,
    division: Division,
    units: Sequence[Unit],
    goes_on: Callable[[], bool] = lambda: True,
) -> int:
    """Make what is not there yet of some units.

    Args:
        job: The stage.
        division: Its work.
        units: Some of its units.
        goes_on: Asked before the first part and after each, which is durable then; False ends the
            work.

    Returns:
        The number of parts that were made.
    """
    pending = [unit for unit in units if division.lacking(unit)]
    total = sum(len(unit.parts) for unit in units)
    left, made = sum(len(division.lacking(unit)) for unit in pending), 0
    if pending and goes_on():
        division.prepare(pending)
        for _ in job.progress(division.make(pending), total, division.noun, done=total - left):
            made += 1
            if not goes_on():
                break
    return made
