"""The chart of a ranking: accuracy of each representation, and against what it costs."""

import numpy as np
import pandas as pd

from rmtgen.report.axes import log_axis
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.ranked_set import RankedSet
from rmtgen.report.ranking_words import Words
from rmtgen.report.wording import number

STEM = "ranking"
TITLE = "How good each representation is, and what it costs"
NAMED = 6
"""Number of representations that the alt text names."""
SPEED = (
    " Second panel: the same against the images that the extraction took per second on this"
    " machine, decoding included; the dashed line joins the representations that no other beats in"
    " both."
)
"""What is said of the second panel where the speed of an extraction is known."""
DIMENSION = " Second panel: the same against the number of features."
"""What is said of it where no network ran."""
ROOM = 0.06
"""Margin of a linear axis, as a share of it."""


def chart(ranked: RankedSet) -> Chart:
    """Accuracy, or the risk of targets that encode no classes, by place and by cost."""
    table = _drawn(ranked.table, ranked.words)
    timed = table["images_per_second"].notna().any()
    second, said = (_by_speed(table), SPEED) if timed else (_by_dimension(table), DIMENSION)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=_caption(table.attrs["label"]) + said,
        alt=_in_numbers(table),
        panels=(_by_place(table), second),
        groups=tuple(table["representation"]),
    )


def _in_numbers(table: pd.DataFrame) -> str:
    """The first of the ranking, to be listened to."""
    shown = [
        f"{row.representation}: {number(row.y, '.3g')} [{number(row.low, '.3g')},"
        f" {number(row.high, '.3g')}]"
        for row in table.head(NAMED).itertuples()
    ]
    more = f"; and {len(table) - NAMED} more" if len(table) > NAMED else ""
    label = table.attrs["label"]
    return f"{label[:1].upper()}{label[1:]}. {'; '.join(shown)}{more}."


def _drawn(ranking: pd.DataFrame, words: Words) -> pd.DataFrame:
    """The ranking with the columns `y low high` of what is drawn."""
    known = ranking[words.measure].notna().any()
    name, unit = (words.measure, words.scale) if known else ("loo", 1)
    columns = {"y": name, "low": f"{name}_low", "high": f"{name}_high"}
    table = ranking.assign(**{new: unit * ranking[old] for new, old in columns.items()})
    table.attrs["label"] = words.axis if known else f"{words.kind}LOO risk"
    return table


def _by_place(table: pd.DataFrame) -> Panel:
    places = tuple(float(place) for place in table["place"])
    shown = places if len(places) <= 16 else places[:: -(-len(places) // 12)]
    axis = Axis(
        "place", "linear", (0.5, len(places) + 0.5), shown, tuple(f"{place:.0f}" for place in shown)
    )
    return Panel("By place", axis, _linear(table), tuple(_points(table, "place")))


def _by_speed(table: pd.DataFrame) -> Panel:
    rates = table["images_per_second"].astype(float)
    lines = _points(table, "images_per_second")
    front = table[table["pareto"]].assign(x=rates).sort_values("x")
    steps = pd.DataFrame({"x": front["x"], "y": front["y"]})
    lines.append(Line("", "none is as good and as fast", steps, dash="--", marked=False))
    return Panel(
        "Against speed", log_axis("images per second", rates), _linear(table), tuple(lines)
    )


def _by_dimension(table: pd.DataFrame) -> Panel:
    axis = log_axis("features", table["dim"].astype(float))
    return Panel("Against size", axis, _linear(table), tuple(_points(table, "dim")))


def _points(table: pd.DataFrame, column: str) -> list[Line]:
    """A point and its interval for each representation, against a column."""
    lines = []
    for x, row in zip(table[column].astype(float), table.itertuples(), strict=True):
        point = {"x": [x], "y": [row.y], "low": [row.low], "high": [row.high]}
        lines.append(Line(row.representation, "", pd.DataFrame(point), dash="", size=6.5))
    return lines


def _linear(table: pd.DataFrame) -> Axis:
    """A linear axis that holds every value and interval."""
    values = table[["y", "low", "high"]].to_numpy(float)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = ROOM * (high - low) or 1.0
    return Axis(table.attrs["label"], "linear", (float(low - margin), float(high + margin)))


def _caption(label: str) -> str:
    return (
        f"The {label} of a ridge probe on each representation, from the labelled images alone, with"
        " its 95 % interval. Intervals that overlap say little of the order: all representations"
        " saw the same images, and the table says which differences are sure."
    )
