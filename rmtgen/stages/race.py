"""A ranking in a given time: the more promising representations are taken to more images.

All begin with a sixteenth of the images. What each takes is measured there; those that promise
most go on, as many as the time suffices for, to a quarter and to all of them. A representation that
would not fit is not begun, and what is running when the time ends stops after its batch: the next
call goes on from there.
"""

import logging
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rmtgen.errors import RmtgenError, UsageError
from rmtgen.ranking.halving import Dropped, Standing, affordable, image_counts, standings
from rmtgen.ranking.probe import Probe
from rmtgen.stages.attempts import Attempts
from rmtgen.stages.budget import Budget
from rmtgen.units import duration

log = logging.getLogger(__name__)

LATER = 0.5
"""Share of the time that the first comparison leaves to later ones: it is the one to see all."""
AT_LEAST = 1.5
"""Smallest multiple of the images that is worth another comparison."""
COMPARED = 2
"""Number of representations that a comparison needs."""


class Racer(Protocol):
    """What a race asks of a representation: see `rmtgen.stages.entrant.Entrant`."""

    @property
    def name(self) -> str:
        """The name of its run."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of its run."""

    @property
    def reached(self) -> int:
        """The number of images whose features are there."""

    @property
    def scored(self) -> bool:
        """Whether its probe of all images is there."""

    def lacks(self, images: int) -> bool:
        """Whether features of the first images are lacking."""

    def seconds(self, images: int) -> float:
        """What it takes to compute and probe those of so many images, as foreseen."""

    def advance(self, images: int, limit: float) -> bool:
        """Compute them up to an instant of the clock; whether they are there."""

    def probe(self, images: int) -> Probe:
        """The probe of the first images."""


@dataclass(frozen=True, eq=False)
class Finish:
    """How a race ended.

    Attributes:
        probes: Probes of the same images, by the name of the run.
        dropped: Representations that were not taken as far, the last to fall first.
    """

    probes: Mapping[str, Probe]
    dropped: tuple[Dropped, ...]


class Race:
    """A race of representations against a clock.

    Attributes:
        attempts: Which representations failed.
    """

    def __init__(self, racers: Sequence[Racer], images: int, budget: Budget, by: str):
        """Take the representations, the number of all images, the time, and what decides.

        Args:
            racers: The representations.
            images: The number of all images.
            budget: The time.
            by: `accuracy` or `risk`, as in `standings`.
        """
        self._racers = {racer.name: racer for racer in racers}
        self._images, self._budget, self._by = images, budget, by
        self.attempts = Attempts(len(racers))
        self._probes: dict[int, dict[str, Probe]] = {}
        self._standings: dict[str, Standing] = {}
        self._reasons: dict[str, str] = {}

    def run(self) -> Finish:
        """Take representations as far as the time suffices.

        Raises:
            UsageError: It suffices for none.
            RmtgenError: As `Attempts.failure`.
        """
        budget = self._budget
        first, *later = [self._images] if self._finished else image_counts(self._images)
        self._begin(first, budget.end - budget.left * LATER * bool(later))
        if len(self._probes[first]) < COMPARED:
            self._begin(first, budget.end)
        if not self._probes[first]:
            raise UsageError(
                f"a budget must suffice for the first {first:,} images of a representation: got"
                f" {duration(budget.seconds)}, in which none had them. Give more; what is computed"
                " is kept."
            )
        for done, count in enumerate(later):
            if not self._go_on(count, budget.left / (len(later) - done)):
                break
        last = self._last()
        self._begin(first, budget.end)
        if last > first:
            self._fill(self._fitting(last, budget.left, self._reasons.keys()), last)
        ranked = self._ranked(last)
        return Finish(ranked, self._dropped(ranked))

    def _last(self) -> int:
        """The largest number of images that representations were compared on."""
        counts = {count: len(self._ranked(count)) for count in self._probes}
        compared = min(COMPARED, max(counts.values()))
        return max(count for count, found in counts.items() if found >= compared)

    def _ranked(self, count: int) -> dict[str, Probe]:
        """Those with so many images, but for those that failed later."""
        failed = self.attempts.failed
        return {name: one for name, one in self._probes[count].items() if name not in failed}

    @property
    def _finished(self) -> bool:
        """Whether an earlier call has scored all."""
        try:
            return all(racer.scored for racer in self._racers.values())
        except RmtgenError:
            return False

    def _begin(self, count: int, limit: float) -> None:
        """Take those that nothing is known of to the first number of images, up to an instant."""
        probes = self._probes.setdefault(count, {})
        for name, racer in self._racers.items():
            if name in probes or name in self.attempts.failed:
                continue
            try:
                if racer.lacks(count) and self._budget.clock() >= limit:
                    self._reasons[name] = self._ended(racer, count)
                else:
                    self._take(name, count, limit)
            except Exception as error:  # noqa: BLE001 - one must not end the others
                self.attempts.failure(name, error, alone=not probes)
        if probes:
            self._compare(count)

    def _go_on(self, count: int, time: float) -> bool:
        """Take those that promise most to more images; whether another comparison can follow.

        Where the time does not suffice for the first two, what is left for later comparisons goes
        to this one; and where that is too little, it is of fewer images.
        """
        before, order = max(self._probes), self._order()
        ahead = order[:COMPARED]
        if self._takes(ahead, count) > time:
            time = self._budget.left
            count = self._within(ahead, before, count, time)
        if count < AT_LEAST * before:
            return False
        taken = self._fitting(count, time)
        if not taken:
            return False
        log.info(
            f"{len(taken)} of {len(order)} go on to {count:,} images;"
            f" {duration(self._budget.left)} left"
        )
        self._fill(taken, count)
        enough = max(1, min(COMPARED, len(self._order())))  # of a single one nothing is compared
        return len(self._probes.get(count, ())) >= enough

    def _fitting(self, count: int, time: float, known: Collection[str] = ()) -> list[str]:
        """Those that the time suffices for; why the others are not taken is noted.

        Args:
            count: The number of images that they are to be taken to.
            time: Seconds for all of them.
            known: Names of those of which it is noted already.
        """
        order = self._order()
        seconds = {name: self._racers[name].seconds(count) for name in order}
        taken = affordable(order, seconds, time)
        if not taken and not known:  # the last comparison stays what it was
            return taken
        for name in set(order) - {*taken, *known}:
            self._reasons[name] = (
                f"{count:,} images would take {duration(seconds[name])}, of {duration(time)} for"
                " all that go on"
            )
        return taken

    def _fill(self, names: Sequence[str], count: int) -> None:
        """Take those further that fit into what is left of the time, one after another.

        The first two are begun all the same: what they compute is kept.
        """
        probes = self._probes.setdefault(count, {})
        for name in names:
            seconds, left = self._racers[name].seconds(count), self._budget.left
            if name in probes:
                continue
            if len(probes) >= COMPARED and seconds > left:
                self._reasons[name] = (
                    f"{count:,} images would take {duration(seconds)}, of {duration(left)} left"
                )
                continue
            try:
                self._take(name, count, self._budget.end)
            except Exception as error:  # noqa: BLE001 - one must not end the others
                self.attempts.failure(name, error, alone=False)
        if probes:
            self._compare(count)
        else:
            del self._probes[count]

    def _take(self, name: str, count: int, limit: float) -> None:
        racer = self._racers[name]
        if racer.advance(count, limit):
            self._probes[count][name] = racer.probe(count)
        else:
            self._reasons[name] = self._ended(racer, count)

    def _ended(self, racer: Racer, count: int) -> str:
        if not racer.reached:
            return "not begun: the time went to others"
        return f"the time ended after {racer.reached:,} of {count:,} images"

    def _compare(self, count: int) -> None:
        """Note where those with so many images stand, but for those compared on more since."""
        for one in standings(self._probes[count], self._images, self._by):
            if one.n >= self._standings.get(one.name, one).n:
                self._standings[one.name] = one

    def _order(self) -> list[str]:
        """By promise; those that fell earlier come later, and then those that were cut off."""
        known = [one for one in self._standings.values() if one.name not in self.attempts.failed]
        order = [one.name for one in sorted(known, key=_promise)]
        cut = [name for name, racer in self._racers.items() if self._cut_off(name, racer)]
        return order + cut

    def _cut_off(self, name: str, racer: Racer) -> bool:
        compared = name in self._standings or name in self.attempts.failed
        return not compared and racer.reached > 0

    def _takes(self, names: Sequence[str], count: int) -> float:
        return sum(self._racers[name].seconds(count) for name in names)

    def _within(self, names: Sequence[str], least: int, most: int, time: float) -> int:
        """The largest number of images that some can be taken to in a time."""
        counts = range(least, most + 1)
        fitting = bisect_right(counts, time, key=lambda count: self._takes(names, count))
        return counts[max(0, fitting - 1)]

    def _dropped(self, ranked: Mapping[str, Probe]) -> tuple[Dropped, ...]:
        left = [name for name in self._racers if name not in {*ranked, *self.attempts.failed}]
        found = [
            Dropped(name, self._racers[name].config, self._reasons[name], self._standings.get(name))
            for name in left
        ]
        return tuple(sorted(found, key=_fall))


def _promise(one: Standing) -> tuple[Any, ...]:
    return -one.n, *one.promise


def _fall(one: Dropped) -> tuple[Any, ...]:
    return (0, *_promise(one.standing)) if one.standing else (1, one.name)
