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
    *("representation", "n", "loo", "behind", "behind_low", "behind_high", "foreseen"),
    *("accuracy", "accuracy_behind", "accuracy_behind_low", "accuracy_behind_high"),
    *("accuracy_foreseen", "tied", "outdone", "reason", "run_name"),
)
"""Columns of dropped.csv."""
NUMBERS = COLUMNS[2 : COLUMNS.index("tied")]
UNITS = {"risk": "%", "accuracy": "points"}
"""The unit that representations are behind by, in each order."""
_NOTE = (
    "images: the number that it was last compared on. behind: {what},"
    " ± the half-width of the paired interval of 95 %; = where that interval holds 0"
)
NOTES = {
    "risk": _NOTE.format(what="risk above that of the first there, in per cent of it"),
    "accuracy": _NOTE.format(what="accuracy below that of the first there, in points"),
}
"""What the columns of the table are, in each order."""


def dropped_frame(dropped: Mapping[str, Dropped]) -> pd.DataFrame:
    """One row each, with the columns `COLUMNS`; n = 0 and no numbers where none were compared."""
    return pd.DataFrame([_row(label, one) for label, one in dropped.items()], columns=list(COLUMNS))


def dropped_table(frame: pd.DataFrame, shown: int, by: str) -> Table:
    """The first of them as a table of text, in the order of accuracy or of risk."""
    listed = frame.head(shown)
    rows = tuple(
        (
            str(row["representation"]),
            f"{row['n']:,}" if row["n"] else "–",
            behind(row, by),
            row["reason"],
        )
        for _, row in listed.iterrows()
    )
    more = len(frame) - len(listed)
    notes = (NOTES[by], *((f"and {more} more: dropped.csv",) if more else ()))
    headings = ("not taken further", "images", f"behind, {UNITS[by]}", "why")
    return Table(headings, rows, "<>><", notes)


def behind(row: pd.Series, by: str) -> str:
    """The difference to the first with the half-width of its interval.

    Args:
        row: A row of a ranking or of dropped.csv.
        by: `risk`, in per cent of that of the first, or `accuracy`, in points.
    """
    name = "behind" if by == "risk" else "accuracy_behind"
    value, high = row[name], row[f"{name}_high"]
    unit = row["loo"] - value if by == "risk" else 1.0
    if not (unit > 0 and np.isfinite(value)):
        return "–"
    if value == high == 0:
        return "first"
    half = number(100 * (high - value) / unit, ".2g")
    return f"{'= ' if row['tied'] else ''}{number(100 * value / unit, '.2g')} ±{half}"


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
        **dict.fromkeys(NUMBERS, np.nan),
        **{"tied": False, "outdone": False, "reason": one.reason, "run_name": one.name},
    }
    if standing is None:
        return row
    risk, error = standing.risk, standing.error
    low, high = risk.apart.interval
    least, most = error.apart.interval
    return row | {
        "n": standing.n,
        **{"loo": risk.value, "foreseen": risk.foreseen},
        **{"behind": risk.apart.value, "behind_low": low, "behind_high": high},
        **{"accuracy": 1 - error.value, "accuracy_foreseen": 1 - error.foreseen},
        "accuracy_behind": error.apart.value,
        **{"accuracy_behind_low": least, "accuracy_behind_high": most},
        **{"tied": not standing.judged.apart.sure, "outdone": standing.outdone},
    }
