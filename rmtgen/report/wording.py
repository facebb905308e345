"""Numbers, names and sentences as people read them."""

import math
from collections.abc import Iterable

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NAMED_RUNS = 6  # an alt text is listened to: past this many runs it says how many more there are


def number(value: float, form: str = ".4g") -> str:
    """`value` in the format `form`; an unknown value is a dash."""
    return format(value, form) if math.isfinite(value) else "–"


def scientific(value: float) -> str:
    """Two figures and a short exponent, 0.00123 as `1.2e-3`; an exact zero, the ridgeless limit,
    stays 0.
    """
    if value == 0 or not math.isfinite(value):
        return number(value, "g")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def power_of_ten(value: float) -> str:
    """One figure of a ridge, as 2×10⁻⁵; an exact zero stays 0."""
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    return f"{'' if digit == '1' else f'{digit}×'}10{str(int(exponent)).translate(RAISED)}"


def compact(value: float) -> str:
    """Three figures of a risk, two and an exponent where it is far from one."""
    return number(value, ".3g") if 1e-3 <= value < 1e3 else scientific(value)


def percentage(ratio: float) -> str:
    """100 × ratio with two figures below ten percent and none behind the point above."""
    return number(100 * ratio, ".2g" if ratio < 0.1 else ".0f")


def share(part: float, whole: float) -> str:
    """A part of a whole in percent, a dash where the whole is nothing."""
    return f"{part / whole:.0%}" if whole else "–"


def shorten(text: str, width: int, tail: int | None = None) -> str:
    """`text` in at most `width` characters: the middle gives way, for a slug begins with its model
    and ends with its hash.

    The last `tail` characters stay, half of them unless told.
    """
    if len(text) <= width:
        return text
    tail = (width - 1) // 2 if tail is None else tail
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def dataset_names(datasets: Iterable[str]) -> dict[str, str]:
    """What data sets are called: `folder:../data/cifar100.tar` is cifar100. Where two would have
    one name, both keep their own.
    """
    given = list(dict.fromkeys(datasets))
    short = [
        name.rstrip("/").rpartition("/")[2].removeprefix("folder:").removesuffix(".tar")
        for name in given
    ]
    return {
        name: called if short.count(called) == 1 else name
        for name, called in zip(given, short, strict=True)
    }


def count_fits(count: int) -> str:
    """`1 fit`, `2 fits`."""
    return f"{count:,} fit{'s' * (count != 1)}"


def counted(caption: str, skipped: int) -> str:
    """`caption`, with the number of fits that could not be drawn where there are any."""
    return (
        f"{caption} Left out for want of a finite, positive GCV and test risk:"
        f" {count_fits(skipped)}."
        if skipped
        else caption
    )


def gapped(caption: str, points: int) -> str:
    """`caption`, with the number of points that are gaps where there are any."""
    plural = "s are gaps" if points != 1 else " is a gap"
    return (
        f"{caption} {points:,} point{plural}, being not finite or not positive."
        if points
        else caption
    )


def listed(start: str, told: list[str]) -> str:
    """One sentence a listener can bear: `start`, then what is told of the first `NAMED_RUNS` runs."""
    more = f"; and {len(told) - NAMED_RUNS} more runs" if len(told) > NAMED_RUNS else ""
    return f"{start}. {'; '.join(told[:NAMED_RUNS])}{more}."
