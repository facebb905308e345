"""The report's three figures, one style for all: SVG for the page and the paper, PNG for slides.

Each figure is drawn twice, its panels side by side and stacked, so that a page can show readable text on a telephone too.
Runs keep one colour (Okabe & Ito 2008) and one marker through all figures. Points that are not finite and positive cannot stand on a
log axis: they are left out as gaps, and the caption counts them.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from rmtgen.durable import make_folder, write_bytes
from rmtgen.report.results import (
    RunResult,
    agreement,
    best_curve,
    check_runs,
    gaps,
    number,
    percentage,
    run_labels,
    scientific,
    shorten,
    trial_means,
)

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # 8 against 7 colours: 56 runs before a pair repeats
LINES = ("-", "--", ":")  # one for each fixed ridge
GREY = "#555555"
PALE = "#cccccc"
EIGENVALUE_FLOOR = 1e-10  # below this share of the largest there is only rounding
NAMED_RUNS = 6  # an alt text is listened to: past this many runs it says how many more there are
MANY_POINTS = 6000  # past this, points become an image inside the SVG so that pages of 50 runs stay small
CURVE_POINTS = 300
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
class FigureFile:
    """A figure on disk and the words that go with it.

    Attributes:
        title: A heading.
        caption: What is drawn and how to read it, with the points left out counted.
        alt: What the figure shows, in numbers, for those who cannot see it.
        svg: Panels side by side.
        narrow_svg: The same panels stacked, for narrow screens.
        png: The wide form at 200 dots an inch.
    """

    title: str
    caption: str
    alt: str
    svg: Path
    narrow_svg: Path
    png: Path


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


Drawer = Callable[[list[Series], Axes, Axes], Words]


def save_figures(results: Sequence[RunResult], folder: Path) -> list[FigureFile]:
    """Draw every figure for one run or many and write it as SVG (wide and narrow) and PNG.

    The same results give the same bytes. Each file appears under its name only when it is whole.

    Raises:
        UsageError: no runs, or two with one name.
        StorageError: the disk refuses.
    """
    series = _series(results)
    make_folder(folder)
    with matplotlib.style.context(STYLE, after_reset=True):
        return [
            _save(folder / "predicted-vs-measured", "Predicted and measured risk", _draw_prediction, series),
            _save(folder / "learning-curves", "Learning curves", _draw_learning, series),
            _save(folder / "spectra", "Spectra and target power", _draw_spectra, series),
        ]


def _series(results: Sequence[RunResult]) -> list[Series]:
    check_runs(results)
    columns = ("model", "init", "dataset", "kernel")
    labels = run_labels(
        pd.DataFrame([{"run": run.name, **{name: getattr(run, name) for name in columns}} for run in results])
    )
    looks = zip(labels, cycle(COLORS), cycle(MARKERS), strict=False)
    return [Series(result, *look) for result, look in zip(results, looks, strict=False)]


def _save(stem: Path, title: str, draw: Drawer, series: list[Series]) -> FigureFile:
    wide, words = _drawn(draw, series, stacked=False)
    narrow, _ = _drawn(draw, series, stacked=True)
    paths = [stem.with_name(stem.name + ending) for ending in (".svg", "-narrow.svg", ".png")]
    for figure, path in zip((wide, narrow, wide), paths, strict=True):
        # no date and no version of matplotlib: equal results must give equal files
        silent = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=200, metadata=silent)
        write_bytes(path, buffer.getvalue())
    return FigureFile(title, words.caption, words.alt, *paths)


def _drawn(draw: Drawer, series: list[Series], *, stacked: bool) -> tuple[Figure, Words]:
    width, height, letters = (4.6, 7.4, 48) if stacked else (9.0, 4.1, 104)
    longest = min(letters - 6, max(len(item.label) for item in series))
    columns = min(len(series), max(1, letters // (longest + 6)))
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(width, height + 0.22 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.04)
    words = draw(series, *figure.subplots(*((2, 1) if stacked else (1, 2))))
    figure.legend(
        [_mark(item.color, marker=item.marker) for item in series],
        [_plain(shorten(item.label, longest)) for item in series],
        loc="outside upper left",
        ncols=columns,
    )
    return figure, words


# ------------------------------------------------------------------------------------------ predicted and measured risk


def _draw_prediction(series: list[Series], fits: Axes, by_size: Axes) -> Words:
    table = pd.concat([item.result.risk for item in series])
    shown = _drawable(table)
    view = _view(shown["test_risk"], shown["gcv"])
    # one decade shows the training risk fall away; an axis down to its 1e-16 would show nothing else
    low = min(view[0], max(view[0] / 10, _limits(shown["train_risk"])[0]))
    fits.plot(view, view, color=GREY, linewidth=1, linestyle="--", zorder=1.5)
    for item in series:
        _draw_fits(fits, item, edge=view[1], rasterized=len(shown) > MANY_POINTS)
    fits.set(title="Every fit", xlabel="measured test risk", ylabel="risk from training images alone")
    _log_axis(fits, "x", view)
    _log_axis(fits, "y", (low, view[1]))
    marks = {
        "GCV": _mark(GREY, "o", "none"),
        "training risk": _mark(PALE, "o", "none"),
        "exact": _mark(GREY, line="--"),
    }
    _key(fits, "upper left", marks)
    _draw_gaps(series, by_size)
    return _prediction_words(series, shown, skipped=len(table) - len(shown), low=low, edge=view[1])


def _draw_fits(axes: Axes, item: Series, *, edge: float, rasterized: bool) -> None:
    risk = _drawable(item.result.risk)
    inside = (risk[["test_risk", "gcv"]] <= edge).all(axis=1)
    strong, beyond = risk[inside], risk.loc[~inside, ["test_risk", "gcv"]].clip(upper=edge)
    look = {"linestyle": "none", "marker": item.marker, "rasterized": rasterized}
    pale = [0.25 * channel + 0.75 for channel in to_rgb(item.color)]
    axes.plot(strong["test_risk"], strong["train_risk"], color=pale, markersize=3, mew=0, zorder=1, **look)
    axes.plot(strong["test_risk"], strong["gcv"], color=item.color, markersize=4, mew=0, alpha=0.6, zorder=2, **look)
    look |= {"color": item.color, "markersize": 5, "mfc": "none", "clip_on": False, "in_layout": False}
    axes.plot(beyond["test_risk"], beyond["gcv"], zorder=3, **look)


def _draw_gaps(series: list[Series], axes: Axes) -> None:
    spreads = [gaps(item.result.risk).mul(100).groupby(item.result.risk["n"]).agg(["median", "max"]) for item in series]
    for item, spread in zip(series, spreads, strict=True):
        axes.plot(spread["median"], color=item.color, marker=item.marker, markersize=5)
        axes.plot(spread["max"], color=item.color, marker=item.marker, markersize=3, linestyle=":", linewidth=1.2)
    axes.set(title="Gap at each sample size", ylabel="|GCV / test risk − 1|  (%)")
    _size_axis(axes, series)
    _log_axis(axes, "y", _limits(*(spread[name] for spread in spreads for name in spread)))
    _key(axes, "best", {"median fit": _mark(GREY), "worst fit": _mark(GREY, line=":")})


def _prediction_words(series: list[Series], shown: pd.DataFrame, *, skipped: int, low: float, edge: float) -> Words:
    below = int((shown["train_risk"] < low).sum())
    hidden = f" ({below:,} of them lie below the view)" if below else ""
    top = shown[["test_risk", "gcv"]].max(axis=1)
    beyond = int((top > edge).sum())
    capped = (
        f" Open points on the edge stand for {_fits(beyond)} off the scale, up to {scientific(top.max())}."
        if beyond
        else ""
    )
    caption = (
        "Every fit: each strong point is one fit: one run, sample size, ridge and random subset. Its height is the risk GCV predicts "
        "from the training images alone, its place across the risk measured on held-out images; on the dashed line the prediction is "
        f"exact.{capped} The pale points behind are the training risk of the same fits: it falls towards zero as a fit begins to "
        f"interpolate, and says little about new images{hidden}. Gap at each sample size: how far GCV is off, in the median and at worst "
        "over ridges and subsets."
    )
    told = []
    for item in series:
        gap = agreement(item.result.risk, min_n=0)
        where = f" at n = {gap.worst_n:,}" if gap.count else ""
        told.append(f"{item.label}: median gap {percentage(gap.median)} %, worst {percentage(gap.worst)} %{where}")
    return Words(_counted(caption, skipped), _listed(f"GCV against measured test risk, {_fits(len(shown))}", told))


# ------------------------------------------------------------------------------------------------------ learning curves


def _draw_learning(series: list[Series], at_best: Axes, at_fixed: Axes) -> Words:
    bests = [best_curve(item.result.risk) for item in series]
    fixed = [_fixed_curves(item.result.risk) for item in series]
    for item, rows, curves in zip(series, bests, fixed, strict=True):
        look = {"color": item.color, "marker": item.marker, "markersize": 5, "capsize": 2.5}
        at_best.errorbar(rows["n"], rows["test_risk"], rows["test_risk_trial_se"], **look)
        _draw_rings(at_best, item, rows, size=9)
        for (_, curve), line in zip(curves, LINES, strict=False):
            at_fixed.plot(curve["n"], curve["test_risk"], color=item.color, linestyle=line, linewidth=1.2, alpha=0.6)
            _draw_rings(at_fixed, item, curve, size=4.5)
    values = [curve[name] for curves in fixed for _, curve in curves for name in ("test_risk", "gcv")]
    for axes, title, view in (
        (
            at_best,
            "At the best ridge of each size",
            _limits(*(rows[name] for rows in bests for name in ("test_risk", "gcv"))),
        ),
        (at_fixed, "Test risk at fixed ridges", _view(*values)),
    ):
        axes.set(title=title, ylabel="risk")
        _size_axis(axes, series)
        _log_axis(axes, "y", view)
    ring = _mark(GREY, "o", "none", hollow=True)
    _key(at_best, "best", {"test risk ± s.e.": _mark(GREY, "o"), "GCV": ring})
    names = _ridge_names([[ridge for ridge, _ in curves] for curves in fixed])
    _key(
        at_fixed,
        "best",
        {name: _mark(GREY, line=line) for name, line in zip(names, LINES, strict=False)} | {"GCV": ring},
    )
    return _learning_words(series, bests, top=at_fixed.get_ylim()[1], peak=max(_positive(*values), default=0))


def _draw_rings(axes: Axes, item: Series, rows: pd.DataFrame, *, size: float) -> None:
    look = {"linestyle": "none", "marker": item.marker, "markersize": size, "markerfacecolor": "none"}
    axes.plot(rows["n"], rows["gcv"], color=item.color, **look)


def _fixed_curves(risk: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
    """Means over trials against n at the smallest ridge and at one and two thirds of the way up the grid."""
    table = trial_means(risk)
    grid = np.sort(table["relative_ridge"].unique())
    chosen = dict.fromkeys(grid[np.arange(len(LINES)) * len(grid) // len(LINES)])
    return [(ridge, table[table["relative_ridge"] == ridge]) for ridge in chosen]


def _ridge_names(grids: list[list[float]]) -> list[str]:
    if all(grid == grids[0] for grid in grids):
        return [f"ridge {_power(ridge)}" for ridge in grids[0]]
    return [f"{word} ridge" for word in ("smallest", "small", "middle")[: max(map(len, grids))]]


def _learning_words(series: list[Series], bests: list[pd.DataFrame], *, top: float, peak: float) -> Words:
    above = f" Curves that leave the view reach up to {scientific(peak)}." if peak > top else ""
    trials = max(item.result.risk["trial"].nunique() for item in series)
    caption = (
        "Test risk (filled) against the number of training images, and what GCV predicted without test images (open). First at the ridge "
        f"of smallest test risk, size by size; bars are standard errors over random subsets, {trials} of each size. Then at ridges held "
        f"fixed relative to tr K/N; where a small ridge makes a hump, the fit begins to interpolate.{above}"
    )
    told = []
    for item, rows in zip(series, bests, strict=True):
        first, last = rows.iloc[0], rows.iloc[-1]
        start = f"{number(first['test_risk'], '.3g')} at n = {first['n']:,.0f}, " if len(rows) > 1 else ""
        told.append(
            f"{item.label}: best test risk {start}{number(last['test_risk'], '.3g')} at n = {last['n']:,.0f}, "
            f"where GCV says {number(last['gcv'], '.3g')}"
        )
    skipped = sum(len(item.result.risk) - len(_drawable(item.result.risk)) for item in series)
    return Words(_counted(caption, skipped), _listed("Learning curves", told))


# -------------------------------------------------------------------------------------------------------------- spectra


def _draw_spectra(series: list[Series], decay: Axes, power: Axes) -> Words:
    shares = [item.result.eigenvalues / item.result.eigenvalues.sum() for item in series]
    powers = [_cumulative_power(item.result) for item in series]
    for place, (item, share, captured) in enumerate(zip(series, shares, powers, strict=True)):
        modes = np.unique(np.rint(np.geomspace(1, len(share), CURVE_POINTS)).astype(int))
        look = {"color": item.color, "marker": item.marker, "markersize": 5, "markevery": (0.05 * (place % 3), 0.15)}
        decay.plot(modes, np.where(share > 0, share, np.nan)[modes - 1], **look)
        power.plot(modes, captured[modes - 1], **look)
    longest = max(len(share) for share in shares)
    view = _limits(*shares)
    low = max(view[0], view[1] * EIGENVALUE_FLOOR)
    for axes, title, name in (
        (decay, "Eigenvalues", "share of tr K/n"),
        (power, "Target power C(m)", "share of target power in modes 1 to m"),
    ):
        axes.set(title=title, xlabel="mode m", ylabel=name)
        _log_axis(axes, "x", _limits([1, longest]))
    _log_axis(decay, "y", (low, view[1]))
    power.set_ylim(0, 1.03)
    return _spectra_words(series, powers, below=sum(int((share < low).sum()) for share in shares))


def _cumulative_power(result: RunResult) -> np.ndarray:
    """C(m) = Σ_{i≤m} v_i² / (Σ v_i² + null energy), for m = 1 … r."""
    return result.target_power.cumsum() / (result.target_power.sum() + result.null_energy)


def _spectra_words(series: list[Series], powers: list[np.ndarray], *, below: int) -> Words:
    sizes = ", ".join(f"{n:,}" for n in sorted({item.result.spectrum_n for item in series}))
    hidden = f" {below:,} eigenvalues lie below the view." if below else ""
    caption = (
        f"Spectra at n = {sizes}. Eigenvalues of K/n stand in descending order, as shares of their sum, the unit in which "
        "ridges are given: modes far below the ridge have no part in the fit. C(m) is the share of the targets' power in the "
        f"leading m eigenvectors; the earlier it rises, the better the targets align with the kernel.{hidden}"
    )
    told = []
    for item, captured in zip(series, powers, strict=True):
        first = item.result.eigenvalues[0] / item.result.eigenvalues.sum()
        half = int(np.searchsorted(captured, 0.5)) + 1
        reach = (
            f"{half:,} modes hold half of the target power"
            if half <= len(captured)
            else f"all modes hold {percentage(captured[-1])} % of the target power"
        )
        told.append(f"{item.label}: the first mode holds {percentage(first)} % of the trace, {reach}")
    return Words(caption, _listed("Eigenvalues of K/n and cumulative target power", told))


# ----------------------------------------------------------------------------------------------- axes, keys and wording


def _drawable(risk: pd.DataFrame) -> pd.DataFrame:
    """The rows whose GCV and test risk can stand on log axes."""
    pair = risk[["gcv", "test_risk"]]
    return risk[((pair > 0) & np.isfinite(pair)).all(axis=1)]


def _positive(*columns: Sequence[float]) -> np.ndarray:
    values = np.concatenate([np.asarray(column, dtype=float) for column in columns])
    return values[np.isfinite(values) & (values > 0)]


def _limits(*columns: Sequence[float]) -> tuple[float, float]:
    """Limits of a log axis that holds every finite positive value with a margin."""
    values = _positive(*columns)
    if not values.size:
        return 0.1, 1.0
    low, high = values.min(), values.max()
    margin = max((high / low) ** 0.06, 1.04)
    return low / margin, high * margin


def _view(*columns: Sequence[float]) -> tuple[float, float]:
    """`_limits` cut at ten times the 90th percentile: a ridgeless fit of risk 1e6 would press all others into a corner."""
    values = _positive(*columns)
    return _limits(values[values <= 10 * np.quantile(values, 0.9)]) if values.size else _limits(values)


def _log_axis(axes: Axes, which: str, limits: tuple[float, float]) -> None:
    """A log axis whose ticks stay few and readable over a tenth of a decade as over twelve."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis = getattr(axes, f"{which}axis")
    axis.set_minor_locator(NullLocator())
    decades = np.log10(limits[1] / limits[0])
    if decades > 3.5:
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_major_formatter(LogFormatterMathtext())
        return
    axis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        if decades < 0.8
        else LogLocator(subs=(1, 2, 5) if decades < 2.2 else (1, 3))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _size_axis(axes: Axes, series: list[Series]) -> None:
    """Sample sizes on a log axis, ticked where they were measured and labelled where there is room, from the largest down."""
    sizes = np.unique(np.concatenate([item.result.risk["n"] for item in series]))
    low, high = _limits(sizes)
    axes.set(xlabel="training images n", xscale="log", xlim=(low, high))
    labelled = [sizes[-1]]
    for n in sizes[-2::-1]:
        if np.log(labelled[-1] / n) > 0.12 * np.log(high / low):
            labelled.append(n)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_minor_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _mark(color: str, marker: str = "", line: str = "-", *, hollow: bool = False) -> Line2D:
    face = "none" if hollow else color
    return Line2D([], [], color=color, marker=marker, linestyle=line, markersize=6, markerfacecolor=face)


def _key(axes: Axes, place: str, marks: dict[str, Line2D]) -> None:
    axes.legend(list(marks.values()), list(marks), loc=place, handlelength=1.8)


def _plain(text: str) -> str:
    """`text` with its dollar signs kept from starting a formula."""
    return text.replace("$", r"\$")


def _power(value: float) -> str:
    """One figure of a ridge, as 2×10⁻⁵; an exact zero stays 0."""
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    factor = "" if digit == "1" else rf"{digit}\times"
    return rf"${factor}10^{{{int(exponent)}}}$"


def _fits(count: int) -> str:
    return f"{count:,} fit{'s' * (count != 1)}"


def _counted(caption: str, skipped: int) -> str:
    return (
        f"{caption} Left out for want of a finite, positive GCV and test risk: {_fits(skipped)}."
        if skipped
        else caption
    )


def _listed(start: str, told: list[str]) -> str:
    more = f"; and {len(told) - NAMED_RUNS} more runs" if len(told) > NAMED_RUNS else ""
    return f"{start}. {'; '.join(told[:NAMED_RUNS])}{more}."
