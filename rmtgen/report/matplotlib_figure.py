"""Charts as matplotlib figures.

The panels are side by side or stacked. A legend above them names the groups, and a key above each
panel names its kinds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from matplotlib.transforms import ScaledTranslation

from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.style import LIGHT, MARKERS, SERIES, STYLE
from rmtgen.tables import shorten

MANY_POINTS = 5000
"""Number of points of a panel beyond which they become an image inside the SVG.

Figures of 50 runs stay small."""
ROW = 0.22
"""Height of a row of a legend, in inches."""
HANDLE = 6
"""Width of the sample line of a legend's entry, in letters."""


@dataclass(frozen=True)
class Form:
    """A layout of two panels.

    Attributes:
        grid: Rows and columns of panels.
        size: Width and height in inches, without the legend.
        letters: Width of the legend, in letters.
        panel: Width of the key of a panel, in letters.
    """

    grid: tuple[int, int]
    size: tuple[float, float]
    letters: int
    panel: int


WIDE = Form((1, 2), (9.0, 4.1), 130, 54)
STACKED = Form((2, 1), (4.6, 7.4), 60, 50)


def draw(chart: Chart, form: Form) -> Figure:
    """Draw the chart, with the groups that it shows named above its panels."""
    looks = _looks(chart.groups)
    lines = [line for panel in chart.panels for line in panel.lines]
    present, joined = {line.group for line in lines}, {line.group for line in lines if line.dash}
    shown = [group for group in chart.groups if group in present]
    longest = min(form.letters - HANDLE, max(map(len, shown), default=1))
    columns = max(1, min(len(shown), form.letters // (longest + HANDLE)))
    width, height = form.size
    figure = Figure(figsize=(width, height + ROW * -(-len(shown) // columns)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.04)
    _draw_panels(figure, chart, form, looks)
    if shown:
        figure.legend(
            [_sample(*looks[group], "-" if group in joined else "none") for group in shown],
            [plain(shorten(group, longest)) for group in shown],
            loc="outside upper left",
            ncols=columns,
        )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not again for every format
    return figure


def plain(text: str) -> str:
    """`text` with its dollar signs escaped, which would start a formula."""
    return text.replace("$", r"\$")


def _looks(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group, and of lines without a group."""
    return {"": (LIGHT["neutral"], MARKERS[0])} | {
        group: (SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)])
        for place, group in enumerate(groups)
    }


def _sample(colour: str, marker: str, dash: str) -> Line2D:
    """A sample for the legend."""
    return Line2D([], [], color=colour, marker=marker, linestyle=dash, markersize=6)


def _draw_panels(
    figure: Figure, chart: Chart, form: Form, looks: Mapping[str, tuple[str, str]]
) -> None:
    """Draw panels with their keys. Titles side by side have one height."""
    columns = [_columns(_kinds(panel.lines), form.panel) for panel in chart.panels]
    rows = [
        -(-len(_kinds(panel.lines)) // some)
        for panel, some in zip(chart.panels, columns, strict=True)
    ]
    rows = [max(rows)] * len(rows) if form.grid[0] == 1 else rows
    for axes, panel, some, room in zip(
        figure.subplots(*form.grid), chart.panels, columns, rows, strict=True
    ):
        _draw_panel(axes, panel, looks)
        axes.set_title(plain(panel.title), pad=6 + 72 * ROW * room)
        _draw_key(axes, _kinds(panel.lines), columns=some, height=ROW * room)


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    dots = sum(len(line.table) for line in panel.lines if not line.dash)
    for place, line in enumerate(panel.lines):
        _draw_line(
            axes,
            line,
            panel,
            looks[line.group],
            offset=0.05 * (place % 3),
            rasterized=dots > MANY_POINTS,
        )
    _set_axis(axes, "x", panel.x)
    _set_axis(axes, "y", panel.y)


def _draw_line(
    axes: Axes, line: Line, panel: Panel, look: tuple[str, str], *, offset: float, rasterized: bool
) -> None:
    colour, marker = look
    x, y = (_placed(line, *place) for place in (("x", panel.x), ("y", panel.y)))
    colour = _faded(colour) if line.pale else colour
    cloud = not line.dash and len(x) > STYLE["cloud_points"]
    axes.plot(
        x,
        y,
        **_shape(line, colour, marker),
        markevery=(offset, 0.15) if line.dash and len(x) > STYLE["dense_points"] else None,
        alpha=STYLE["opacity"]["cloud"] if cloud else None,
        zorder=1 if line.pale else 2 + line.hollow,
        rasterized=rasterized and not line.dash,
        clip_on=not _inside(x, panel.x) or not _inside(y, panel.y),
        in_layout=False,  # markers on the edge must not move the axes
    )
    if "low" in line.table or "left" in line.table:
        _draw_interval(axes, line, panel, colour, x, y)


def _faded(colour: str) -> tuple[float, ...]:
    """The colour of a pale line, as its opacity makes it on the ground."""
    opacity, ground = STYLE["opacity"]["pale"], to_rgb(LIGHT["ground"])
    mixed = zip(to_rgb(colour), ground, strict=True)
    return tuple(opacity * ink + (1 - opacity) * paper for ink, paper in mixed)


def _shape(line: Line, colour: object, marker: str) -> dict[str, object]:
    """Arguments that draw a line, and its sample in the legend."""
    return {
        "color": colour,
        "linestyle": line.dash or "none",
        "marker": marker if line.marked else "none",
        "markersize": line.size,
        "markerfacecolor": "none" if line.hollow else colour,
        "markeredgewidth": STYLE["stroke"]["hollow"] if line.hollow else 0.0,
    }


def _placed(line: Line, name: str, axis: Axis) -> np.ndarray:
    """A column with NaN for values without a place on the axis, which become gaps."""
    values = line.table[name].to_numpy(float)
    return np.where(np.isfinite(values) & ((values > 0) | (axis.scale != "log")), values, np.nan)


def _inside(values: np.ndarray, axis: Axis) -> bool:
    """Whether all values lie in the view or on its edge, where a marker is drawn whole."""
    finite = values[np.isfinite(values)]
    return bool(((finite >= axis.view[0]) & (finite <= axis.view[1])).all())


def _draw_interval(
    axes: Axes, line: Line, panel: Panel, colour: object, x: np.ndarray, y: np.ndarray
) -> None:
    """Draw bars with caps, or a band. An end beyond the view stops at its edge."""
    upright = "low" in line.table
    names, axis = (("low", "high"), panel.y) if upright else (("left", "right"), panel.x)
    placed = np.isfinite(x) & np.isfinite(y)
    low, high = (np.clip(line.table[name].to_numpy(float), *axis.view)[placed] for name in names)
    along = (x if upright else y)[placed]
    if line.band:
        opacity = STYLE["opacity"]["band"]
        axes.fill_between(along, low, high, color=colour, alpha=opacity, linewidth=0)
        return
    width, cap = STYLE["stroke"]["bar"], "_" if upright else "|"
    (axes.vlines if upright else axes.hlines)(along, low, high, color=colour, linewidth=width)
    for ends in (low, high):
        points = (along, ends) if upright else (ends, along)
        axes.plot(*points, linestyle="none", marker=cap, markersize=5, color=colour)


def _kinds(lines: Sequence[Line]) -> dict[str, Line]:
    """The kinds of a panel in their order, each with its first line."""
    kinds: dict[str, Line] = {}
    for line in lines:
        if line.kind:
            kinds.setdefault(line.kind, line)
    return kinds


def _draw_key(axes: Axes, kinds: Mapping[str, Line], *, columns: int, height: float) -> None:
    """Name the kinds of a panel between its title and its frame, `height` inches above it."""
    if not kinds:
        return
    neutral = LIGHT["neutral"]
    axes.legend(
        [
            Line2D([], [], **_shape(line, _faded(neutral) if line.pale else neutral, MARKERS[0]))
            for line in kinds.values()
        ],
        [plain(name) for name in kinds],
        loc="upper left",
        bbox_to_anchor=(-0.015, 1.0),
        bbox_transform=axes.transAxes
        + ScaledTranslation(0, height + 0.03, axes.get_figure().dpi_scale_trans),
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        handlelength=1.8,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def _columns(names: Iterable[str], letters: int) -> int:
    """Largest number of columns that a key of such entries has room for in so many letters.

    A legend of matplotlib fills its columns one after another.
    """
    widths = [len(name) + HANDLE for name in names]
    fitting = (
        columns
        for columns in range(len(widths), 1, -1)
        if sum(max(part) for part in np.array_split(widths, columns)) <= letters
    )
    return next(fitting, 1)


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    axes.set(
        **{
            f"{which}scale": axis.scale,
            f"{which}lim": axis.view,
            f"{which}label": plain(axis.label),
        }
    )
    if axis.ticks is not None:
        _named_ticks(axes, which, axis)
    elif axis.scale == "log":
        _log_ticks(getattr(axes, f"{which}axis"), axis.view)
    else:
        getattr(axes, f"{which}axis").set_major_locator(MaxNLocator(6))


def _named_ticks(axes: Axes, which: str, axis: Axis) -> None:
    """Place the ticks of the chart. Ticks without a name are short."""
    names = axis.names or tuple(f"{tick:g}" for tick in axis.ticks)
    named = [(tick, name) for tick, name in zip(axis.ticks, names, strict=True) if name]
    side = getattr(axes, f"{which}axis")
    side.set_major_locator(FixedLocator([tick for tick, _ in named]))
    side.set_major_formatter(FixedFormatter([plain(name) for _, name in named]))
    side.set_minor_locator(
        FixedLocator([tick for tick, name in zip(axis.ticks, names, strict=True) if not name])
    )
    side.set_minor_formatter(NullFormatter())


def _log_ticks(side: XAxis | YAxis, ends: tuple[float, float]) -> None:
    """Place few and readable ticks, over a tenth of a decade or over twelve decades."""
    side.set_minor_locator(NullLocator())
    decades = np.log10(ends[1] / ends[0])
    if decades > 3.5:
        side.set_major_locator(LogLocator(numticks=7))
        side.set_major_formatter(LogFormatterMathtext())
        return
    side.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        if decades < 0.8
        else LogLocator(subs=(1, 2, 5) if decades < 2.2 else (1, 3))
    )
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
