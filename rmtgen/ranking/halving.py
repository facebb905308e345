"""Successive halving on the number of images: which representations are worth more of them.

All are probed on a few images; the more promising go on with several times as many, until the time
is spent. Fewer images favour fewer features, so that a representation is not judged by its risk so
far alone, but by what its probe foresees with all images.

References: Jamieson & Talwalkar 2016, Non-stochastic best arm identification and hyperparameter
optimization, AISTATS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtgen.ranking.paired import Difference, risk_difference
from rmtgen.ranking.probe import Probe

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
class Standing:
    """Where a representation stands among others after some images.

    Attributes:
        name: Its name.
        n: Number of images.
        loo: Its leave-one-out risk.
        apart: That less the smallest one of the others and itself, from the same images.
        foreseen: Its risk with all images, as far as its probe foresees; `loo` where it does not.
        outdone: Whether it is surely behind now, and foreseen to stay behind.
    """

    name: str
    n: int
    loo: float
    apart: Difference
    foreseen: float
    outdone: bool

    @property
    def best(self) -> float:
        """The smallest leave-one-out risk of all."""
        return self.loo - self.apart.value


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


def standings(probes: Mapping[str, Probe], images: int) -> list[Standing]:
    """Where representations stand, the most promising first.

    Those that are outdone come last: the paired interval of 95 % leaves no doubt that they are
    behind the one of smallest leave-one-out risk, and they are foreseen to be behind it with all
    images too. Within both groups the order is that of the risk that is foreseen.

    Args:
        probes: Probes of the same samples, by the name of their representation.
        images: The number of all images.

    Raises:
        UsageError: Probes of different numbers of samples.
    """
    leader = min(probes, key=lambda name: (probes[name].best["loo"], name))
    ahead = _foreseen(probes[leader], images)
    found = []
    for name, probe in probes.items():
        apart = risk_difference(probe, probes[leader]) if name != leader else Difference(0.0, 0.0)
        foreseen = _foreseen(probe, images)
        outdone = apart.sure and foreseen > ahead
        found.append(Standing(name, probe.n, float(probe.best["loo"]), apart, foreseen, outdone))
    return sorted(found, key=lambda one: (one.outdone, one.foreseen, one.loo, one.name))


def _foreseen(probe: Probe, images: int) -> float:
    """The risk at the largest number of images up to all that the probe foresees."""
    rows = probe.outlook[(probe.outlook["n"] >= probe.n) & (probe.outlook["n"] <= images)]
    risks = rows.sort_values("n")["predicted_risk"].to_numpy(float)
    risks = risks[np.isfinite(risks)]
    return float(risks[-1]) if len(risks) else float(probe.best["loo"])


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
