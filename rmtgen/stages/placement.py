"""Which unit each worker of a cluster computes next.

A worker gets units that follow one another, because units in a row share what they need: the
factors of a row block of the eNTK stay on one worker. It begins with an equal share of the cost.
One that is through with its own takes the last units of another, as many as let both end at the
same time, and none if with what it must get for them it would end later than the other alone. A
worker that is gone leaves its units to the others, and where nothing is left to begin, a unit that
takes much longer than its cost lets expect is given to a second worker. It is harmless if both
finish: they write the same bytes.

Times are arguments, so that a simulation runs the same code.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rmtgen.stages.division import Unit, in_a_row, spans_of

PATIENCE = 4.0
"""A unit is given to a second worker after so many times its expected seconds."""
LEAST_PATIENCE = 30.0
"""Seconds that every unit is given at least."""


class _Turn(NamedTuple):
    """When a worker has begun a unit, and what the unit costs it."""

    since: float
    cost: float


@dataclass
class _Begun:
    """The workers that compute a unit."""

    unit: Unit
    turns: dict[str, _Turn] = field(default_factory=dict)


class Placement:
    """The units that are left, and who computes which.

    Attributes:
        losses: How often a unit was begun by a worker that was gone before its end.
    """

    def __init__(self, units: Sequence[Unit], workers: Sequence[str]):
        """Divide units among the workers that there are at the beginning."""
        self.losses: Counter[str] = Counter()
        self._begun: dict[str, _Begun] = {}
        self._last: dict[str, Unit] = {}
        self._left = {unit.name for unit in units}
        self._seconds, self._cost = 0.0, 0.0
        spans = spans_of(units, max(1, len(workers)))
        self._free = [[units[position] for position in span] for span in spans]
        self._spans = {worker: self._free.pop(0) for worker in workers}

    @property
    def left(self) -> int:
        """Number of units that are not done."""
        return len(self._left)

    def next(self, worker: str, now: float) -> Unit | None:
        """The unit that an idle worker begins now; None where there is none for it."""
        span = self._spans.setdefault(worker, [])
        if not span:
            span = self._spans[worker] = self._taken(worker, now)
        unit = span.pop(0) if span else self._late(worker, now)
        if unit is not None:
            turn = _Turn(now, unit.after(self._last.get(worker)))
            self._begun.setdefault(unit.name, _Begun(unit)).turns[worker] = turn
            self._last[worker] = unit
        return unit

    def done(self, worker: str, unit: Unit, now: float) -> bool:
        """Note that a worker has finished a unit; False if it was done before."""
        begun = self._begun.get(unit.name)
        if begun and worker in begun.turns:
            turn = begun.turns.pop(worker)
            self._seconds += now - turn.since
            self._cost += turn.cost
        if unit.name not in self._left:
            return False
        self._left.discard(unit.name)
        self._begun.pop(unit.name, None)
        return True

    def gone(self, worker: str) -> None:
        """Leave the units of a worker to the others."""
        self._last.pop(worker, None)
        if span := self._spans.pop(worker, []):
            self._free.append(span)
        for begun in list(self._begun.values()):
            if begun.turns.pop(worker, None) is None:
                continue
            self.losses[begun.unit.name] += 1
            if not begun.turns:
                del self._begun[begun.unit.name]
                self._free.append([begun.unit])

    def _taken(self, worker: str, now: float) -> list[Unit]:
        """Units for a worker that has none: nobody's, or the last of another's.

        They are those by which the other gains most.
        """
        if self._free:
            return self._free.pop(0)
        offers = [
            (*self._offer(other, worker, now), other) for other, span in self._spans.items() if span
        ]
        gain, kept, other = max(offers, default=(-1.0, 0, ""))
        if gain < 0:
            return []
        span = self._spans[other]
        taken = span[kept:]
        del span[kept:]
        return taken

    def _offer(self, one: str, other: str, now: float) -> tuple[float, int]:
        """Where to cut the units of one worker, so that another takes those behind.

        Returns:
            By how much the later of both ends earlier than the one alone, and how many units it
            keeps.
        """
        span, busy = self._spans[one], self._busy(one, now)
        costs = in_a_row(span, self._last.get(one))
        alone = kept = busy + sum(costs)
        behind, best = 0.0, (-1.0, len(span))
        for position in reversed(range(len(span))):
            kept -= costs[position]
            taken = span[position].after(self._last.get(other)) + behind
            best = max(best, (alone - max(kept, taken), position))
            behind += costs[position]
        return best

    def _busy(self, worker: str, now: float) -> float:
        """What is left of the unit that a worker computes.

        One that takes longer than its cost lets expect is taken to need as long again.
        """
        begun = self._begun.get(self._last[worker].name) if worker in self._last else None
        turn = begun.turns.get(worker) if begun else None
        if turn is None:
            return 0.0
        done = (now - turn.since) * self._cost / self._seconds if self._seconds else 0.0
        return abs(turn.cost - done)

    def _late(self, worker: str, now: float) -> Unit | None:
        """The unit that is the longest overdue, where one is that one other worker computes."""
        overdue = {
            now - turn.since - self._patience(turn): begun.unit
            for begun in self._begun.values()
            for turn in begun.turns.values()
            if now - turn.since > LEAST_PATIENCE
            if len(begun.turns) == 1 and worker not in begun.turns
        }
        longest = max(overdue, default=0.0)
        return overdue[longest] if longest > 0 else None

    def _patience(self, turn: _Turn) -> float:
        """Seconds after which a unit is overdue; endless before any is done."""
        if not self._cost:
            return float("inf")
        return max(LEAST_PATIENCE, PATIENCE * turn.cost * self._seconds / self._cost)
