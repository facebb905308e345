"""Numbers, names and sentences as readers see them."""

import math
import re
from collections.abc import Iterable, Sequence

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AROUND = re.compile(r"^(?:folder|csv|wds|features):|\.(?:tar|csv|tsv|npy|npz)$")
"""What a short name of a data set leaves out."""
NAMED_RUNS = 6
"""Number of runs that an alt text names. It is listened to, so it counts the runs beyond these."""


def number(value: float, form: str = ".4g") -> str:
    """`value` in the format `form`. An unknown value is a dash."""
    return format(value, form) if math.isfinite(value) else "–"


def scientific(value: float) -> str:
    """Two digits and a short exponent: 0.00123 is `1.2e-3`. The ridgeless limit 0 stays 0."""
    if value == 0 or not math.isfinite(value):
        return number(value, "g")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def power_of_ten(value: float) -> str:
    """One digit and a power of ten: 2.1e-5 is 2×10⁻⁵. An exact zero stays 0."""
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    return f"{'' if digit == '1' else f'{digit}×'}10{str(int(exponent)).translate(RAISED)}"


def compact(value: float) -> str:
    """Three digits of a risk, or two and an exponent where it is far from 1."""
    return number(value, ".3g") if 1e-3 <= value < 1e3 else scientific(value)


def percentage(ratio: float) -> str:
    """100 × ratio: two digits below ten percent, whole numbers above."""
    return number(100 * ratio, ".2g" if ratio < 0.1 else ".0f")


def share(part: float, whole: float) -> str:
    """A part of a whole in percent, or a dash where the whole is 0."""
    return f"{part / whole:.0%}" if whole else "–"


def dataset_names(datasets: Iterable[str]) -> dict[str, str]:
    """Short names of data sets: `folder:../data/cifar100.tar` and `csv:cifar100.csv` are cifar100.

    Where two data sets would have one short name, both keep their own.
    """
    given = list(dict.fromkeys(datasets))
    short = [_AROUND.sub("", name.rstrip("/").rpartition("/")[2]) for name in given]
    return {
        name: called if short.count(called) == 1 else name
        for name, called in zip(given, short, strict=True)
    }


def count_fits(count: int) -> str:
    """`1 fit`, `2 fits`."""
    return f"{count:,} fit{'s' * (count != 1)}"


def counted(caption: str, skipped: int) -> str:
    """`caption` and the number of fits that could not be drawn, where there are any."""
    return (
        f"{caption} Left out, without a finite, positive GCV and test risk: {count_fits(skipped)}."
        if skipped
        else caption
    )


def gapped(caption: str, points: int) -> str:
    """`caption` and the number of points that are gaps, where there are any."""
    plural = "s are gaps" if points != 1 else " is a gap"
    return f"{caption} {points:,} point{plural}: not finite or not positive." if points else caption


def listed(start: str, findings: Sequence[str]) -> str:
    """One sentence that can be listened to: `start`, then the findings of `NAMED_RUNS` runs."""
    more = len(findings) - NAMED_RUNS
    ending = f"; and {more} more runs" if more > 0 else ""
    return f"{start}. {'; '.join(findings[:NAMED_RUNS])}{ending}."
