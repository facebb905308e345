"""A stage's work as units that need nothing of one another, so that processes can share it."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rmtgen.runs.share import Share
from rmtgen.stages.engine import Job, Result
from rmtgen.store.shards import ShardSet

log = logging.getLogger(__name__)

NAMED = 4
"""Largest number of missing parts that are named."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done by one process at a time.

    Attributes:
        name: Its name, which no other unit of the stage has.
        parts: Names of the shards that it leaves.
        cost: What it costs, > 0, in a unit of measure that all units of the stage share.
    """

    name: str
    parts: tuple[str, ...]
    cost: float


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
    _compute(job, division, division.units)
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
    mine = share.of([unit.cost for unit in division.units])
    made = _compute(job, division, [division.units[position] for position in mine])
    division.close()
    total = sum(len(unit.parts) for unit in division.units)
    there = total - sum(len(division.lacking(unit)) for unit in division.units)
    details = {"shard": str(share), "made": made, "there": there, "parts": total}
    return Result([], f"shard {share}: {made} made, {there} of {total} parts there", details)


def _compute(job: Job, division: Division, units: Sequence[Unit]) -> int:
    """Make what is not there yet of some units; the number of parts made."""
    pending = [unit for unit in units if division.lacking(unit)]
    total = sum(len(unit.parts) for unit in units)
    left = sum(len(division.lacking(unit)) for unit in pending)
    division.prepare(pending)
    for _ in job.progress(division.make(pending), total, division.noun, done=total - left):
        pass
    return left
