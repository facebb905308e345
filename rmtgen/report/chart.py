"""What a figure shows, as data: drawn by matplotlib for the files (`draw`) and by the page's script
for the reader (`page`).

A chart is two panels with their words. A panel holds lines; a line belongs to a group (a run, a
theory, a data set), which has its colour and marker, and is of a kind (test risk, GCV, …), which
has its dash. Both can be toggled on the page, and name the legends of the files.

Points that cannot stand on a log axis are kept as they are: the renderers leave gaps, the table and
the CSV show them, `missing` counts them for the caption.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

COORDINATES = ("x", "y", "low", "high", "left", "right")
"""Columns of a line's table that place it; every other column is told when a reader points at it.
"""
SIGNIFICANT = 5
"""Figures of a number on the page."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: what it measures, with its unit.
        scale: "log" or "linear", which the reader can switch where all values are positive.
        view: the two ends.
        ticks: where ticks stand, None to choose them.
        names: what is written at `ticks`; numbers if empty.
    """

    label: str
    scale: str
    view: tuple[float, float]
    ticks: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Line:
    """Points of one group and kind.

    Attributes:
        group: whose they are; "" for a line that belongs to none, drawn in grey.
        kind: what they are; "" where the group says it all.
        table: columns `x` and `y`; `low` and `high` (of y) or `left` and `right` (of x) where there
            is an interval; then what else to tell of a point, by the names that a reader sees.
        dash: "-", "--", ":", "-." or "" for points alone.
        marked: a marker at the points: all, or some of a dense line.
        hollow: an open marker.
        size: of the marker, in points of type.
        band: the interval is a band, not bars.
        pale: drawn behind the others, in a lighter colour.
    """

    group: str
    kind: str
    table: pd.DataFrame
    dash: str = "-"
    marked: bool = True
    hollow: bool = False
    size: float = 5.0
    band: bool = False
    pale: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """Lines on two axes."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure: what it shows and the words that go with it.

    Attributes:
        stem: name of its files, and its anchor on the page.
        title: a heading.
        caption: what is drawn and how to read it, with the points left out counted.
        alt: what it shows, in numbers, for those who cannot see it.
        panels: two, side by side or stacked.
        groups: every group in the order of its colours and markers: the same run has the same in
            every chart.
        warnings: what makes a result in it doubtful, one sentence each.
    """

    stem: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def missing(tables: Iterable[pd.DataFrame], *axes: Axis) -> int:
    """Points that have no place on the axes: not finite, or not positive on a log axis."""
    return sum(int((~_placed(table, *axes)).sum()) for table in tables)


def _placed(table: pd.DataFrame, *axes: Axis) -> pd.Series:
    placed = pd.Series(True, index=table.index)
    for name, axis in zip(("x", "y"), axes, strict=True):
        values = table[name].astype(float)
        placed &= np.isfinite(values) & ((values > 0) | (axis.scale != "log"))
    return placed


def as_json(chart: Chart) -> dict[str, object]:
    """The chart for the page's script: numbers to `SIGNIFICANT` figures, null where there is none.

    A column of text is `{"words": each once, "at": places}`: of fifty runs, every point has its
    run's name.
    """
    return {
        "stem": chart.stem,
        "title": chart.title,
        "alt": chart.alt,
        "groups": list(chart.groups),
        "panels": [
            {
                "title": panel.title,
                "x": _axis(panel.x),
                "y": _axis(panel.y),
                "lines": [_line(line, chart.groups) for line in panel.lines],
            }
            for panel in chart.panels
        ],
    }


def _axis(axis: Axis) -> dict[str, object]:
    return {
        "label": axis.label,
        "scale": axis.scale,
        "view": list(axis.view),
        "ticks": list(axis.ticks or ()),
        "names": list(axis.names),
    }


def _line(line: Line, groups: Sequence[str]) -> dict[str, object]:
    shape = {
        name: getattr(line, name)
        for name in ("kind", "dash", "marked", "hollow", "size", "band", "pale")
    }
    columns = {str(name): _column(line.table[name].tolist()) for name in line.table}
    return {"group": groups.index(line.group) if line.group else -1, **shape, "columns": columns}


def _column(values: list) -> object:
    if not any(isinstance(value, str) for value in values):
        return [rounded(value) for value in values]
    words = list(dict.fromkeys(values))
    return {"words": words, "at": [words.index(value) for value in values]}


def rounded(value: object) -> object:
    """A number to `SIGNIFICANT` figures, whole where it is; None for one that is not finite; text
    as it is.
    """
    if isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    short = (
        float(f"{number:.{SIGNIFICANT}g}")
        if abs(number) < 1e15 and number != int(number)
        else number
    )
    return int(short) if short == int(short) and abs(short) < 1e15 else short
