"""The page of a ranking: the answer first, one picture, the table, then why."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rmtgen.report.chart import Chart
from rmtgen.report.dropped import SHOWN, dropped_table
from rmtgen.report.page import rendered
from rmtgen.report.ranked_set import RankedSet
from rmtgen.tables import Table


def render_ranking(
    ranked: RankedSet, charts: Sequence[Chart], title: str, omitted: Mapping[str, str]
) -> str:
    """Return the ranking as the text of one HTML file.

    Args:
        ranked: The representations.
        charts: Charts of the ranking.
        title: Heading of the page and name of the browser tab.
        omitted: Names of representations that could not be ranked, and the reasons.
    """
    settings, reading = ranked.settings, ranked.reading
    count, outputs = len(settings["names"]), ranked.outputs_table
    said = () if outputs is None else outputs.notes
    return rendered(
        "ranking.html.j2",
        charts,
        (),
        title=title,
        answer=ranked.answer,
        notes=ranked.notes,
        table=ranked.best_table,
        reading=f"{reading[:1].upper()}{reading[1:]}.",
        charts=charts,
        omitted=omitted,
        dropped=_dropped(ranked.dropped_frame, ranked.by) if ranked.dropped else None,
        dropped_count=len(ranked.dropped),
        images=ranked.number_of_images,
        dataset=settings["dataset"],
        labelled=f"{count:,} {ranked.words.noun if count > 1 else ranked.words.noun.rstrip('s')}",
        named=ranked.words.named,
        balanced=ranked.words.balanced,
        outputs=outputs,
        outputs_reading=" ".join(f"{note[:1].upper()}{note[1:]}." for note in said),
    )


def _dropped(frame: pd.DataFrame, by: str) -> Table:
    """All that were compared, and some of those that never were: these may be hundreds."""
    return dropped_table(frame, int((frame["n"] > 0).sum()) + SHOWN, by)
