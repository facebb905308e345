"""Parsers of configuration values: from what YAML or the command line gives to a checked value.

Each parser raises `UsageError` with what it expected and the value it got.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.names import expanded

_MOST_IN_GRID = 10_000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])"
"""A name of a machine, or an address, in brackets if it is of IPv6."""
UNSET = ("", "none", "null")
"""Words for no value; the second one is how it is shown."""
MOST_PORT = 65535
"""Largest number of a port."""
MOST = 10**9
"""Largest count that a field takes."""
MOST_WORKERS = 1024
"""Largest number of workers on this machine."""
MOST_SEED = 2**62
"""Largest seed, so that torch and NumPy take those that are counted up from it."""


def shown(value: Any) -> str:
    """A value for a message: its `repr`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def parse_grid(value: Any, *, integers: bool) -> tuple[float, ...]:
    """Parse a grid of numbers, in the order given and without duplicates.

    Args:
        value: A list, or text such as "0,1e-8:1e2:21", where low:high:count is a geometric range.
        integers: Round the numbers of a range to integers, and refuse other fractions.

    Returns:
        The numbers.

    Raises:
        UsageError: A term is neither a number ≥ 0 nor a range with 0 < low < high and count ≥ 2;
            the grid is empty; or a number is not whole where it must be.
    """
    terms = value if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers: list[float] = []
    for term in terms:
        numbers += _grid_term(str(term).strip())
        if len(numbers) > _MOST_IN_GRID:
            raise UsageError(f"expected at most {_MOST_IN_GRID} numbers, got {shown(value)}.")
    if integers:
        ranged = any(":" in str(term) for term in terms)
        numbers = sorted(round(number) for number in numbers) if ranged else numbers
        if any(number != int(number) for number in numbers):
            raise UsageError(f"expected whole numbers, got {shown(value)}.")
        numbers = [int(number) for number in numbers]
    if not numbers:
        raise UsageError(f"expected at least one number, got {shown(value)}.")
    return tuple(dict.fromkeys(numbers))


def _grid_term(term: str) -> list[float]:
    texts = [part.strip() for part in term.split(":")]
    if not all(map(_NUMBER.fullmatch, texts)) and not {"nan", "inf", "-inf"} & set(texts):
        raise UsageError(f"expected a number or low:high:count, got {shown(term)}.")
    parts = [float(part) for part in texts]
    if any(math.isnan(part) or math.isinf(part) or part < 0 for part in parts):
        raise UsageError(f"grid values must be finite and ≥ 0, got {shown(term)}.")
    if len(parts) == 1:
        return parts
    if (
        len(parts) != 3
        or not 0 < parts[0] < parts[1]
        or parts[2] not in range(2, _MOST_IN_GRID + 1)
    ):
        raise UsageError(
            f"a range is low:high:count with 0 < low < high and count from 2 to {_MOST_IN_GRID},"
            f" got {shown(term)}."
        )
    low, high, count = parts[0], parts[1], int(parts[2])
    step = (math.log(high) - math.log(low)) / (count - 1)
    return [low, *(math.exp(math.log(low) + step * k) for k in range(1, count - 1)), high]


def text(value: Any) -> str:
    """The value, which must be text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"expected text, got {shown(value)}.")
    return value


def names(value: Any) -> tuple[str, ...]:
    """Names as a list, or separated by commas; none for `none`, `null` and the empty text."""
    if value is None or (isinstance(value, str) and value.lower() in UNSET):
        return ()
    listed = value if isinstance(value, (list, tuple)) else str(value).split(",")
    found = tuple(str(name).strip() for name in listed)
    if not all(found) or len(set(found)) < len(found):
        raise UsageError(f"expected different names, none of them empty, got {shown(value)}.")
    return found


def optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser that takes `none`, `null` and the empty text for None, and else calls `parse`."""
    return lambda value: None if value is None or str(value).lower() in UNSET else parse(value)


def place(value: Any) -> str:
    """A path as text, with a home folder written out."""
    if "\0" in text(value):
        raise UsageError(f"a path has no null character, got {shown(value)}.")
    return str(expanded(value)) if value.startswith("~") else value


def data_set(value: Any) -> str:
    """The name of a data set, as it is given; the path after a colon must be one."""
    name, colon, path = text(value).partition(":")
    if colon and not path:
        raise UsageError(f"expected a path after {name}:, got nothing.")
    place(path if colon else name)
    return value


def auto(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser that leaves `auto` as it is, and else calls `parse`."""
    return lambda value: value if value == "auto" else parse(value)


def share(value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < 1:
        raise UsageError(f"expected a share between 0 and 1, got {value!r}.")
    return number


def one_of(*choices: str) -> Callable[[Any], str]:
    """A parser of one of some words."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise UsageError(
                f"expected one of {', '.join(choices)}, got {shown(value)}."
                f" {did_you_mean(str(value), choices)}"
            )
        return value

    return parse


def whole(low: int, high: int = MOST) -> Callable[[Any], int]:
    """A parser of a whole number in [low, high]."""

    def parse(value: Any) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,30}", value.strip()):
            number = int(value)
        if number is None or not low <= number <= high:
            bounds = f"≥ {low}" if number is None or number < low else f"from {low} to {high}"
            raise UsageError(f"expected a whole number {bounds}, got {shown(value)}.")
        return number

    return parse


def parse_cluster(value: Any) -> str:
    """A number of workers from 1 to `MOST_WORKERS`, or the address of a scheduler, as text."""
    address = re.fullmatch(rf"(?:tcp|tls|ws|wss)://{_HOST}:([0-9]{{1,5}})", str(value))
    if address and 1 <= int(address[1]) <= MOST_PORT:
        return str(value)
    try:
        return str(whole(1, MOST_WORKERS)(value))
    except UsageError:
        raise UsageError(
            f"expected a number of workers from 1 to {MOST_WORKERS} or an address such as"
            f" tcp://HOST:8786, got {shown(re.sub('//.*@', '//…@', str(value)))}."
        ) from None


def switch(value: Any) -> bool:
    """A truth value from true, yes, on, 1 and their opposites, in any case."""
    words = {
        "true": True,
        "yes": True,
        "1": True,
        "on": True,
        "false": False,
        "no": False,
        "0": False,
        "off": False,
    }
    if str(value).lower() not in words:
        raise UsageError(f"expected true or false, got {shown(value)}.")
    return words[str(value).lower()]


def sample_sizes(value: Any) -> tuple[int, ...] | str:
    """Sample sizes ≥ 1 as a grid, or `auto`."""
    if value == "auto":
        return value
    sizes = tuple(map(int, parse_grid(value, integers=True)))
    if min(sizes) < 1:
        raise UsageError(f"sample sizes must be ≥ 1, got {shown(value)}.")
    return sizes
