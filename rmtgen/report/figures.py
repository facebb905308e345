"""The report's charts as files: SVG for the page and the paper, PDF for LaTeX, PNG for slides.

Each is drawn twice, its panels side by side and stacked, so that a page can show readable text on a
telephone too.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style

from rmtgen.report.chart import Chart
from rmtgen.report.charts import charts
from rmtgen.report.draw import STACKED, WIDE, draw
from rmtgen.report.figure_style import STYLE
from rmtgen.report.results import RunResult
from rmtgen.store.durable import make_folder, write_bytes

# no date and no version of matplotlib: equal results must give equal files
SILENT = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, eq=False)
class FigureFile:
    """A chart on disk.

    Attributes:
        chart: what is drawn, with its words.
        svg: panels side by side.
        narrow_svg: the same panels stacked, for narrow screens.
        png: the wide form at 200 dots an inch.
        pdf: the wide form with its fonts.
    """

    chart: Chart
    svg: Path
    narrow_svg: Path
    png: Path
    pdf: Path


def save_figures(results: Sequence[RunResult], folder: Path) -> list[FigureFile]:
    """Draw every chart of one run or many and write it as SVG (wide and narrow), PNG and PDF.

    The same results give the same bytes. Each file appears under its name only when it is whole.

    Raises:
        UsageError: no runs, or two with one name.
        StorageError: the disk refuses.
    """
    found = charts(results)
    make_folder(folder)
    with matplotlib.style.context(STYLE, after_reset=True):
        return [_save(chart, folder) for chart in found]


def _save(chart: Chart, folder: Path) -> FigureFile:
    wide, narrow = draw(chart, WIDE), draw(chart, STACKED)
    paths = [folder / (chart.stem + ending) for ending in (".svg", "-narrow.svg", ".png", ".pdf")]
    for figure, path in zip((wide, narrow, wide, wide), paths, strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=200, metadata=SILENT[path.suffix])
        write_bytes(path, buffer.getvalue())
    return FigureFile(chart, *paths)
