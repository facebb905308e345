"""A chart as data, which matplotlib draws into files and the page's script draws for the reader.

A chart is two panels with their words. A panel holds lines. A line belongs to a group (a run, a
theory, a data set), which has a colour and a marker, and to a kind (test risk, GCV, …), which has a
dash. The legends of the files name both, and the page can hide both.

Points that have no place on a log axis are kept: the renderers leave gaps, the table and the CSV
show them, and `missing` counts them for the caption.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

SIGNIFICANT = 5
"""Significant digits of a number on the page."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: Quantity and unit.
        scale: "log" or "linear". The reader can switch it where all values are positive.
        view: The two ends.
        ticks: Positions of the ticks. None: chosen by the renderer.
        names: Labels of `ticks`. Empty: their values.
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
        group: Group of the points. Empty: none, and the line is grey.
        kind: Kind of the points. Empty where the group says enough.
        table: Columns `x` and `y`; `low` and `high` (of y) or `left` and `right` (of x) where there
            is an interval; further columns are shown beside a point under their own names.
        dash: "-", "--", ":" or "-.". Empty: points without a line.
        marked: Whether the points have markers; a dense line has them at some of its points.
        hollow: Whether the markers are open.
        size: Diameter of the markers, in points.
        band: Whether the interval is a band instead of bars.
        pale: Whether the line is drawn behind the others, in a lighter colour.
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
    """Two panels and the words that go with them.

    Attributes:
        stem: Name of the files without their ending, and anchor on the page.
        title: Heading.
        caption: What is drawn, how to read it, and the number of points left out.
        alt: The result in numbers, for readers who cannot see the chart.
        panels: The panels, side by side or stacked.
        groups: All groups in the order of their colours and markers. A run has the same colour and
            marker in every chart.
        warnings: One sentence for each reason to doubt a result in the chart.
    """

    stem: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def missing(tables: Iterable[pd.DataFrame], *axes: Axis) -> int:
    """Number of points without a place on the axes: not finite, or not positive on a log axis."""
    return sum(int((~_placed(table, *axes)).sum()) for table in tables)


def _placed(table: pd.DataFrame, *axes: Axis) -> pd.Series:
    placed = pd.Series(True, index=table.index)
    for name, axis in zip(("x", "y"), axes, strict=True):
        values = table[name].astype(float)
        placed &= np.isfinite(values) & ((values > 0) | (axis.scale != "log"))
    return placed


def as_json(chart: Chart) -> dict[str, object]:
    """Return the chart for the page's script, its numbers to `SIGNIFICANT` digits or null.

    A column of text is `{"words": …, "at": …}`: every word once, and the index of each row's word.
    In a report of fifty runs every point carries the name of its run.
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
    """Return a number to `SIGNIFICANT` digits, None for one that is not finite, text unchanged."""
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
