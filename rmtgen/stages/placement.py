"""Which unit each worker of a cluster computes next.

A worker gets units that follow one another, because units in a row share images: the factors of a
row block of the eNTK stay on one worker. It begins with an equal share of the cost. One that is
through with its own takes half of what the worker with the most has left. A worker that is gone
leaves its units to the others, and where nothing is left to begin, a unit that takes much longer
than its cost lets expect is given to a second worker. It is harmless if both finish: they write the
same bytes.

Times are arguments, so that a simulation runs the same code.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rmtgen.runs.share import Share
from rmtgen.stages.division import Unit

PATIENCE = 4.0
"""A unit is given to a second worker after so many times its expected seconds."""
LEAST_PATIENCE = 30.0
"""Seconds that every unit is given at least."""


@dataclass
class _Begun:
    """When each of the workers that compute a unit has begun it."""

    unit: Unit
    since: dict[str, float] = field(default_factory=dict)


class Placement:
    """The units that are left, and who computes which.

    Attributes:
        losses: How often a unit was begun by a worker that was gone before its end.
    """

    def __init__(self, units: Sequence[Unit], workers: Sequence[str]):
        """Divide units among the workers that there are at the beginning."""
        self.losses: Counter[str] = Counter()
        self._spans: dict[str, list[Unit]] = {}
        self._free: list[list[Unit]] = []
        self._begun: dict[str, _Begun] = {}
        self._left = {unit.name for unit in units}
        self._seconds, self._cost = 0.0, 0.0
        costs = [unit.cost for unit in units]
        for number, worker in enumerate(workers, 1):
            share = Share(number, len(workers)).of(costs) if units else range(0)
            self._spans[worker] = [units[position] for position in share]
        if not workers:
            self._free.append(list(units))

    @property
    def left(self) -> int:
        """Number of units that are not done."""
        return len(self._left)

    def next(self, worker: str, now: float) -> Unit | None:
        """The unit that an idle worker begins now; None where there is none for it."""
        span = self._spans.setdefault(worker, [])
        if not span:
            span = self._spans[worker] = self._taken()
        unit = span.pop(0) if span else self._late(worker, now)
        if unit is not None:
            self._begun.setdefault(unit.name, _Begun(unit)).since[worker] = now
        return unit

    def done(self, worker: str, unit: Unit, now: float) -> bool:
        """Note that a worker has finished a unit; False if it was done before."""
        begun = self._begun.get(unit.name)
        if begun and worker in begun.since:
            self._seconds += now - begun.since.pop(worker)
            self._cost += unit.cost
        if unit.name not in self._left:
            return False
        self._left.discard(unit.name)
        self._begun.pop(unit.name, None)
        return True

    def gone(self, worker: str) -> None:
        """Leave the units of a worker to the others."""
        if span := self._spans.pop(worker, []):
            self._free.append(span)
        for begun in list(self._begun.values()):
            if begun.since.pop(worker, None) is None:
                continue
            self.losses[begun.unit.name] += 1
            if not begun.since:
                del self._begun[begun.unit.name]
                self._free.append([begun.unit])

    def _taken(self) -> list[Unit]:
        """Units for a worker that has none: nobody's, or half of the most that another has."""
        if self._free:
            return self._free.pop(0)
        most = max(self._spans.values(), key=_cost, default=[])
        if not most:
            return []
        kept = Share(1, 2).of([unit.cost for unit in most]).stop if len(most) > 1 else 0
        taken = most[kept:]
        del most[kept:]
        return taken

    def _late(self, worker: str, now: float) -> Unit | None:
        """The unit that is the longest overdue, where one is that one other worker computes."""
        overdue = {
            now - min(begun.since.values()) - self._patience(begun.unit): begun.unit
            for begun in self._begun.values()
            if len(begun.since) == 1 and worker not in begun.since
        }
        longest = max(overdue, default=0.0)
        return overdue[longest] if longest > 0 else None

    def _patience(self, unit: Unit) -> float:
        """Seconds after which a unit is overdue; endless before any is done."""
        if not self._cost:
            return float("inf")
        return max(LEAST_PATIENCE, PATIENCE * unit.cost * self._seconds / self._cost)


def _cost(units: Sequence[Unit]) -> float:
    return sum(unit.cost for unit in units)
