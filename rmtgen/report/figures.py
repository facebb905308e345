"""The report's figures, one style for all: SVG for the page and the paper, PNG for slides.

Each figure is drawn twice, its panels side by side and stacked, so that a page can show readable text on a telephone too.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rmtgen.durable import make_folder, write_bytes
from rmtgen.report.figure_forecast import draw_forecast
from rmtgen.report.figure_law import draw_law
from rmtgen.report.figure_learning import draw_learning
from rmtgen.report.figure_prediction import draw_prediction
from rmtgen.report.figure_spectra import draw_spectra
from rmtgen.report.figure_style import COLORS, MARKERS, STYLE, Series, Words, mark, plain
from rmtgen.report.figure_theories import draw_theories
from rmtgen.report.results import RunResult, check_runs, run_labels
from rmtgen.report.wording import shorten


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
        return [_save(folder / stem, title, draw, shown) for stem, title, draw, shown in _drawings(series)]


def _drawings(series: list[Series]) -> Iterator[tuple[str, str, Drawer, list[Series]]]:
    """File name, heading, drawer and runs of every figure that there is something for."""
    yield "predicted-vs-measured", "Predicted and measured risk", draw_prediction, series
    yield "learning-curves", "Learning curves", draw_learning, series
    yield "spectra", "Spectra and target power", draw_spectra, series
    known = [item for item in series if item.result.theory]
    if known:
        yield "theories", "What predicts the risk, and what does not", draw_theories, known
        yield "forecast", "Forecast and alignment", draw_forecast, known
    tested = [item for item in known if "local_law" in item.result.theory]
    if tested:
        yield "local-law", "The local random matrix law", draw_law, tested


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
        [mark(item.color, marker=item.marker) for item in series],
        [plain(shorten(item.label, longest)) for item in series],
        loc="outside upper left",
        ncols=columns,
    )
    return figure, words
