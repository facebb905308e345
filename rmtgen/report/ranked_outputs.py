"""What the representations of a ranking explain of each value or label, one at a time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.ranking_words import Words, area
from rmtgen.report.wording import number
from rmtgen.tables import Table

SHOWN = 30
"""Number of values or labels that a table shows; outputs.csv has all."""
NAMED = 5
"""Number of labels that a note names."""


def outputs_table(frame: pd.DataFrame, first: str, words: Words) -> Table:
    """What the first representation explains of each output, and which is the best there.

    Args:
        frame: `rmtgen.ranking.table.output_table` of a ranking.
        first: The first representation of the ranking.
        words: Those of its labels.
    """
    best = frame.drop_duplicates("output").set_index("output")
    own = frame[frame["representation"] == first].set_index("output").loc[best.index]
    several = frame["representation"].nunique() > 1
    areas = ("AUC", "share, %") * words.areas
    headings = (words.noun[:-1], "R²", *areas, *(("highest R²",) * several))
    rows = [
        (
            str(name),
            _interval(row),
            *((area(row), number(100 * row["share"], ".1f")) if words.areas else ()),
            *((_best(best.loc[name], row),) if several else ()),
        )
        for name, row in own.head(SHOWN).iterrows()
    ]
    note = f"{words.noun} as {first} explains them"
    notes = [note + "; highest R²: of another one, where it is higher" * several]
    if len(own) > SHOWN:
        notes.append(f"{len(own) - SHOWN} more are in outputs.csv")
    return Table(headings, tuple(rows), "<" + ">" * (len(headings) - 1), tuple(notes))


def _interval(row: pd.Series) -> str:
    if not np.isfinite(row["r2"]):
        return "–"
    return f"{row['r2']:.3f} [{number(row['r2_low'], '.3f')}, {number(row['r2_high'], '.3f')}]"


def _best(best: pd.Series, own: pd.Series) -> str:
    if not best["r2"] > own["r2"]:
        return "–"
    return f"{best['r2']:.3f} {best['representation']}"


def constant_labels(shares: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """A note on labels that all images have, or none; nothing without any.

    Args:
        shares: Share of the images that have each label.
        names: Their names.
    """
    found = [name for name, share in zip(names, shares, strict=True) if share in (0, 1)]
    if not found:
        return ()
    shown = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
    return (
        f"{len(found)} of {len(names)} labels are in no image or in all ({shown}): nothing is"
        " learnt of them, and they have no AUC.",
    )
