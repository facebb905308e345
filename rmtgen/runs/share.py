"""A share of the work: the units that one of several independent processes computes."""

import re
from dataclasses import dataclass
from typing import Any

from rmtgen.errors import UsageError
from rmtgen.runs.parsers import shown

MOST_SHARES = 100_000
"""Largest number of shares."""


@dataclass(frozen=True)
class Share:
    """The share `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """The share as a part of the names of files."""
        return f"{self.index}-of-{self.count}"


def parse_share(value: Any) -> Share:
    """The share that text such as 3/16 names.

    Raises:
        UsageError: It names none.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(value).strip())
    index, count = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= index <= count <= MOST_SHARES:
        raise UsageError(
            f"a shard is INDEX/COUNT with 1 ≤ INDEX ≤ COUNT ≤ {MOST_SHARES}, such as 3/16: got"
            f" {shown(value)}."
        )
    return Share(index, count)
