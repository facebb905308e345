"""Charts as matplotlib figures: panels side by side or stacked, the groups named above them all,
the kinds above each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
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
from rmtgen.report.figure_style import COLORS, GREY, MARKERS, PALE
from rmtgen.report.wording import shorten

MANY_POINTS = 5000
"""Past this, the points of a panel become an image inside the SVG so that figures of 50 runs stay
small."""
DENSE = 25
"""Past this, a line has markers at even distances and not at its points."""
CLOUD = 60
"""Past this, points are translucent."""
ROW = 0.22
"""Height of a row of a legend, in inches."""
HANDLE = 6
"""Width of the mark of a legend's entry, in letters."""


@dataclass(frozen=True)
class Form:
    """A way to lay two panels out.

    Attributes:
        grid: rows and columns of panels.
        size: width and height in inches, without the legend.
        letters: of a legend across the figure.
        panel: letters of a key across a panel.
    """

    grid: tuple[int, int]
    size: tuple[float, float]
    letters: int
    panel: int


WIDE = Form((1, 2), (9.0, 4.1), 130, 54)
STACKED = Form((2, 1), (4.6, 7.4), 60, 50)


def draw(chart: Chart, form: Form) -> Figure:
    """The chart with the groups that it shows named above its panels."""
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
    """`text` with its dollar signs kept from starting a formula."""
    return text.replace("$", r"\$")


def _looks(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group, and of what belongs to none."""
    return {"": (GREY, "o")} | {
        group: (COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)])
        for place, group in enumerate(groups)
    }


def _sample(color: str, marker: str, dash: str) -> Line2D:
    """A mark that stands in the legend only."""
    return Line2D([], [], color=color, marker=marker, linestyle=dash, markersize=6)


def _draw_panels(
    figure: Figure, chart: Chart, form: Form, looks: Mapping[str, tuple[str, str]]
) -> None:
    """Panels with their keys; titles side by side stand at one height."""
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
    color, marker = look
    x, y = (_placed(line, *place) for place in (("x", panel.x), ("y", panel.y)))
    if line.pale:
        color = tuple(0.3 * channel + 0.7 for channel in to_rgb(color))
    axes.plot(
        x,
        y,
        **_shape(line, color, marker),
        linewidth=1.5 if line.marked else 1.2,
        markevery=(offset, 0.15) if line.dash and len(x) > DENSE else None,
        alpha=0.6 if not line.dash and len(x) > CLOUD else None,
        zorder=1 if line.pale else 2 + line.hollow,
        rasterized=rasterized and not line.dash,
        clip_on=not _inside(x, panel.x) or not _inside(y, panel.y),
        in_layout=False,  # markers on the edge must not move the axes
    )
    if "low" in line.table or "left" in line.table:
        _draw_interval(axes, line, panel, color, x, y)


def _shape(line: Line, color: object, marker: str) -> dict[str, object]:
    """How a line is drawn; the legend shows it so too."""
    return {
        "color": color,
        "linestyle": line.dash or "none",
        "marker": marker if line.marked else "none",
        "markersize": line.size,
        "markerfacecolor": "none" if line.hollow else color,
        "markeredgewidth": 1.0 if line.hollow else 0.0,
    }


def _placed(line: Line, name: str, axis: Axis) -> np.ndarray:
    """A column with NaN, a gap, for what has no place on the axis."""
    values = line.table[name].to_numpy(float)
    return np.where(np.isfinite(values) & ((values > 0) | (axis.scale != "log")), values, np.nan)


def _inside(values: np.ndarray, axis: Axis) -> bool:
    """Whether all lie in the view or on its edge, where a marker is drawn whole."""
    finite = values[np.isfinite(values)]
    return bool(((finite >= axis.view[0]) & (finite <= axis.view[1])).all())


def _draw_interval(
    axes: Axes, line: Line, panel: Panel, color: object, x: np.ndarray, y: np.ndarray
) -> None:
    """Bars with caps, or a band; an end beyond the view stops at its edge."""
    upright = "low" in line.table
    names, axis = (("low", "high"), panel.y) if upright else (("left", "right"), panel.x)
    placed = np.isfinite(x) & np.isfinite(y)
    low, high = (np.clip(line.table[name].to_numpy(float), *axis.view)[placed] for name in names)
    along = (x if upright else y)[placed]
    if line.band:
        axes.fill_between(along, low, high, color=color, alpha=0.18, linewidth=0)
        return
    (axes.vlines if upright else axes.hlines)(along, low, high, color=color, linewidth=1.2)
    for ends in (low, high):
        points = (along, ends) if upright else (ends, along)
        axes.plot(
            *points, linestyle="none", marker="_" if upright else "|", markersize=5, color=color
        )


def _kinds(lines: Sequence[Line]) -> dict[str, Line]:
    """The kinds of a panel in their order, each with the first line of it."""
    kinds = {}
    for line in lines:
        if line.kind:
            kinds.setdefault(line.kind, line)
    return kinds


def _draw_key(axes: Axes, kinds: Mapping[str, Line], *, columns: int, height: float) -> None:
    """The kinds of a panel between its title and its frame, from so many inches above the frame."""
    if not kinds:
        return
    axes.legend(
        [
            Line2D([], [], **_shape(line, PALE if line.pale else GREY, "o"))
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
        fontsize=9,
        handlelength=1.8,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def _columns(names: Iterable[str], letters: int) -> int:
    """The most columns that a key of such entries has in so many letters; it fills them one after
    another.
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
    """Ticks where the chart has them; those without a name are short."""
    names = axis.names or tuple(f"{tick:g}" for tick in axis.ticks)
    named = [(tick, name) for tick, name in zip(axis.ticks, names, strict=True) if name]
    side = getattr(axes, f"{which}axis")
    side.set_major_locator(FixedLocator([tick for tick, _ in named]))
    side.set_major_formatter(FixedFormatter([plain(name) for _, name in named]))
    side.set_minor_locator(
        FixedLocator([tick for tick, name in zip(axis.ticks, names, strict=True) if not name])
    )
    side.set_minor_formatter(NullFormatter())


def _log_ticks(side: object, ends: tuple[float, float]) -> None:
    """Ticks that stay few and readable over a tenth of a decade as over twelve."""
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
