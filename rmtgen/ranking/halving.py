"""Successive halving on the number of images: which representations are worth more of them.

All are probed on a few images; the more promising go on with several times as many, until the time
is spent. Fewer images favour fewer features, so that a representation is not judged by its accuracy
or risk so far alone, but by what its probe foresees with all images. `make bench BENCH=halving`
measures how often the one that is first with all images goes on.

References: Jamieson & Talwalkar 2016, Non-stochastic best arm identification and hyperparameter
optimization, AISTATS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtgen.ranking.paired import Difference, error_difference, risk_difference
from rmtgen.ranking.probe import Probe
from rmtgen.scalars import choice
from rmtgen.tasks import ORDERS

FACTOR = 4
"""Multiple of the images from one size to the next."""
SIZES = 3
"""Largest number of sizes."""
LEAST = 64
"""Smallest number of images that representations are compared on."""


def image_counts(images: int) -> tuple[int, ...]:
    """The numbers of images that are probed, in ascending order: n/16, n/4 and n.

    Those below `LEAST` are left out.

    Args:
        images: n, all of them.
    """
    counts = [-(-images // FACTOR**power) for power in reversed(range(SIZES))]
    return (*(count for count in counts[:-1] if count >= LEAST), images)


def spread(count: int) -> list[int]:
    """The places 0 … count − 1 in an order whose first places are spread over all of them.

    Neighbours in a list of names are alike, and the time may not suffice for all.

    References: van der Corput 1935, Verteilungsfunktionen (Mitt. I), Proc. Akad. Amsterdam 38.
    """
    bits = max(1, (count - 1).bit_length())
    turned = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(2**bits))
    return [place for place in turned if place < count]


@dataclass(frozen=True)
class Seen:
    """A risk or a 0-1 error after some images.

    Attributes:
        value: That of leave-one-out.
        apart: That less the one of the representation that leads, from the same images.
        foreseen: What it is with all images, as far as the probe foresees; `value` where it does
            not.
    """

    value: float
    apart: Difference
    foreseen: float


@dataclass(frozen=True)
class Standing:
    """Where a representation stands among others after some images.

    Attributes:
        name: Its name.
        n: Number of images.
        by: What it is judged by: `accuracy` or `risk`.
        risk: Its leave-one-out risk.
        error: Its 0-1 error; NaN for targets that encode no classes.
        outdone: Whether it is surely behind now, and foreseen to stay behind.
    """

    name: str
    n: int
    by: str
    risk: Seen
    error: Seen
    outdone: bool

    @property
    def judged(self) -> Seen:
        """What it is judged by."""
        return self.error if self.by == "accuracy" else self.risk

    @property
    def promise(self) -> tuple[Any, ...]:
        """What it is placed by: less is better. Of one accuracy, risk decides."""
        risk = self.risk
        return self.outdone, self.judged.foreseen, risk.foreseen, risk.value, self.name


@dataclass(frozen=True)
class Dropped:
    """A representation that was not taken to the last number of images.

    Attributes:
        name: The name of its run.
        config: The settings of that.
        reason: Why, as a phrase.
        standing: Where it stood when it was last compared; None where it never was.
    """

    name: str
    config: Mapping[str, Any]
    reason: str
    standing: Standing | None = None


def standings(probes: Mapping[str, Probe], images: int, by: str) -> list[Standing]:
    """Where representations stand, the most promising first.

    Those that are outdone come last: the paired interval of 95 % leaves no doubt that they are
    behind the one that leads, and they are foreseen to be behind it with all images too. Within
    both groups the order is that of what is foreseen.

    Args:
        probes: Probes of the same samples, by the name of their representation.
        images: The number of all images.
        by: What the order is by: `accuracy`, of targets that encode classes, or `risk`.

    Raises:
        UsageError: Another order; or probes of different numbers of samples.
    """
    choice(by, "by", ORDERS)
    leader = probes[min(probes, key=lambda name: (*_now(probes[name], by), name))]
    found = [_standing(name, probe, leader, images, by) for name, probe in probes.items()]
    ahead = next(one for one in found if probes[one.name] is leader).judged.foreseen
    for place, one in enumerate(found):
        outdone = one.judged.apart.sure and one.judged.foreseen > ahead
        found[place] = replace(one, outdone=outdone)
    return sorted(found, key=lambda one: one.promise)


def _standing(name: str, probe: Probe, leader: Probe, images: int, by: str) -> Standing:
    """Where one stands, not yet outdone."""
    none = Difference(0.0, 0.0)
    risk, error = _now(probe, "risk")[0], _now(probe, "accuracy")[0]
    return Standing(
        name,
        probe.n,
        by,
        Seen(
            risk,
            none if probe is leader else risk_difference(probe, leader),
            _foreseen(probe, images, "predicted_risk", risk),
        ),
        Seen(
            error,
            none if probe is leader else error_difference(probe, leader),
            _foreseen(probe, images, "predicted_error", error),
        ),
        outdone=False,
    )


def _now(probe: Probe, by: str) -> tuple[float, float]:
    """What representations are compared by on the images so far; of one accuracy, by risk."""
    risk = float(probe.best["loo"])
    return (float(probe.figures["error"]) if by == "accuracy" else risk), risk


def _foreseen(probe: Probe, images: int, column: str, known: float) -> float:
    """What is foreseen for the largest number of images up to all; `known` where nothing is."""
    rows = probe.outlook[(probe.outlook["n"] >= probe.n) & (probe.outlook["n"] <= images)]
    values = rows.sort_values("n")[column].to_numpy(float)
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else known


def affordable(order: Sequence[str], seconds: Mapping[str, float], left: float) -> list[str]:
    """Those that the time suffices for, one after another; who does not fit is passed over.

    Args:
        order: Names, the most promising first.
        seconds: What each takes.
        left: Seconds that are left.
    """
    taken = []
    for name in order:
        if seconds[name] <= left:
            taken.append(name)
            left -= seconds[name]
    return taken
