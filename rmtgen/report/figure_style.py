"""The looks that all figures share: colours, type, and a run's own colour and marker.

Runs keep one colour (Okabe & Ito 2008) and one marker through all figures.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rmtgen.report.results import RunResult

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # 8 against 7 colours: 56 runs before a pair repeats
GREY = "#555555"
PALE = "#cccccc"
STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "lines.linewidth": 1.6,
    "svg.hashsalt": "rmtgen",  # else every drawing has other ids
    "svg.fonttype": "path",
}


@dataclass(frozen=True, eq=False)
class Series:
    """A run with its name, colour and marker in the figures."""

    result: RunResult
    label: str
    color: str
    marker: str


@dataclass(frozen=True)
class Words:
    """Caption and alternative text of a figure, known once it is drawn."""

    caption: str
    alt: str


def mark(color: str, marker: str = "", line: str = "-", *, hollow: bool = False) -> Line2D:
    """A line or a marker that stands in a legend only."""
    face = "none" if hollow else color
    return Line2D([], [], color=color, marker=marker, linestyle=line, markersize=6, markerfacecolor=face)


def key(axes: Axes, place: str, marks: dict[str, Line2D]) -> None:
    """A legend of named marks."""
    axes.legend(list(marks.values()), list(marks), loc=place, handlelength=1.8)


def plain(text: str) -> str:
    """`text` with its dollar signs kept from starting a formula."""
    return text.replace("$", r"\$")
