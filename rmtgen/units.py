"""Conversion between numbers of bytes and text such as `4GiB`."""

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
