"""Representations of a ranking that were compared on fewer images than the others, or on none."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rmtgen.ranking.halving import Dropped
from rmtgen.report.wording import number
from rmtgen.tables import Table

SHOWN = 12
"""Number of them in a summary as text, and on a page of those that were never compared."""
COLUMNS = (
    *("representation", "n", "loo", "behind", "behind_low", "behind_high", "tied"),
    *("foreseen", "outdone", "reason", "run_name"),
)
"""Columns of dropped.csv."""
HEADINGS = ("not taken further", "images", "behind, %", "why")
NOTE = (
    "images: the number that it was last compared on. behind: risk above that of the first there,"
    " in per cent of it, ± the half-width of the paired interval of 95 %; = where that interval"
    " holds 0"
)


def dropped_frame(dropped: Mapping[str, Dropped]) -> pd.DataFrame:
    """One row each, with the columns `COLUMNS`; n = 0 and no numbers where none were compared."""
    return pd.DataFrame([_row(label, one) for label, one in dropped.items()], columns=list(COLUMNS))


def dropped_table(frame: pd.DataFrame, shown: int) -> Table:
    """The first of them as a table of text."""
    listed = frame.head(shown)
    rows = tuple(
        (
            str(row["representation"]),
            f"{row['n']:,}" if row["n"] else "–",
            behind(row),
            row["reason"],
        )
        for _, row in listed.iterrows()
    )
    more = len(frame) - len(listed)
    notes = (NOTE, *((f"and {more} more: dropped.csv",) if more else ()))
    return Table(HEADINGS, rows, "<>><", notes)


def behind(row: pd.Series) -> str:
    """The difference to the first in per cent of its risk, with the half-width of its interval."""
    first = row["loo"] - row["behind"]
    if not first > 0:
        return "–"
    if row["behind"] == 0:
        return "first"
    half = 100 * (row["behind_high"] - row["behind"]) / first
    value = 100 * row["behind"] / first
    return f"{'= ' if row['tied'] else ''}{number(value, '.2g')} ±{number(half, '.2g')}"


def undecided(frame: pd.DataFrame) -> str:
    """A sentence on those that the images had not put behind; empty where there are none."""
    names = frame["representation"][(frame["n"] > 0) & ~frame["outdone"].astype(bool)].tolist()
    unseen = int((frame["n"] == 0).sum())
    said = []
    if names:
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        said.append(f"{listed} may be as good, and the time did not suffice to see")
    if unseen:
        said.append(f"{unseen} of the representations {'was' if unseen == 1 else 'were'} not seen")
    return f"{'; '.join(said)}: a larger budget goes on from here." if said else ""


def _row(label: str, one: Dropped) -> dict[str, object]:
    standing = one.standing
    row: dict[str, object] = {
        "representation": label,
        "n": 0,
        **dict.fromkeys(("loo", "behind", "behind_low", "behind_high", "foreseen"), np.nan),
        **{"tied": False, "outdone": False, "reason": one.reason, "run_name": one.name},
    }
    if standing is None:
        return row
    low, high = standing.apart.interval
    return row | {
        "n": standing.n,
        "loo": standing.loo,
        **{"behind": standing.apart.value, "behind_low": low, "behind_high": high},
        **{"tied": not standing.apart.sure, "foreseen": standing.foreseen},
        "outdone": standing.outdone,
    }
