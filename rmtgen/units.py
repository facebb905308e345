"""Conversion between text such as `4GiB` or `10m` and numbers of bytes or seconds."""

import re

from rmtgen.errors import UsageError, did_you_mean

_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(s|min|m|h)\s*")


def parse_bytes(text: str | int) -> int:
    """The number of bytes in "4GiB", "500 MB" or a plain integer.

    Raises:
        UsageError: The text is not a positive number with a known unit.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]{0,9})\s*", str(text))
    if not match:
        raise UsageError(f"expected an amount of memory such as 4GiB, got {str(text)[:60]!r}.")
    number, unit = match.groups()
    if unit and unit not in _BYTES:
        raise UsageError(f"unknown unit {unit!r} in {str(text)!r}. {did_you_mean(unit, _BYTES)}")
    size = float(number) * _BYTES[unit or "B"]
    if not 1 <= size < 2**63:
        raise UsageError(f"memory must be positive and below 8 EiB, got {str(text)!r:.60}.")
    return int(size)


def readable_bytes(size: float) -> str:
    """A number of bytes as text such as "12.3 GiB", in binary units."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f} {unit}"
    return f"{size:.0f} B"


def duration(seconds: float) -> str:
    """A time such as 1.2 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parse_duration(text: str) -> float:
    """The seconds in "90s", "10m", "1.5 h" or "1h30m".

    Raises:
        UsageError: The text is not a positive time with its units.
    """
    given = text.strip()
    found = _SPAN.findall(given)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in found)
    if not found or _SPAN.sub("", given) or not seconds > 0:
        raise UsageError(
            f"expected a time above 0 with its unit, such as 90s, 10m or 1h30m, got {text[:60]!r}."
        )
    return seconds
