"""The charts as files: SVG for web pages and papers, PDF for LaTeX, PNG for slides.

Each chart is drawn twice: with its panels side by side, and stacked for narrow screens.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style

from rmtgen.report.chart import Chart
from rmtgen.report.matplotlib_figure import STACKED, WIDE, draw
from rmtgen.report.style import MATPLOTLIB
from rmtgen.store.durable import make_folder, write_bytes
from rmtgen.store.files import require_folder

METADATA = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata of each format, without a date and without the version of matplotlib, so that equal
results give equal files."""


@dataclass(frozen=True, eq=False)
class FigureFile:
    """The files of a chart.

    Attributes:
        chart: The chart.
        svg: Panels side by side.
        narrow_svg: Panels stacked, for narrow screens.
        png: Panels side by side, 200 dots per inch.
        pdf: Panels side by side, with the fonts embedded.
    """

    chart: Chart
    svg: Path
    narrow_svg: Path
    png: Path
    pdf: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files."""
        return self.svg, self.narrow_svg, self.png, self.pdf


def save_figures(charts: Sequence[Chart], folder: Path) -> list[FigureFile]:
    """Draw charts and write each as SVG (wide and narrow), PNG and PDF.

    Equal charts give equal bytes. Each file appears under its name only when it is whole.

    Raises:
        StorageError: The disk refuses a write.
    """
    make_folder(require_folder(folder))
    with matplotlib.style.context(MATPLOTLIB, after_reset=True):
        return [_save(chart, folder) for chart in charts]


def _save(chart: Chart, folder: Path) -> FigureFile:
    wide, narrow = draw(chart, WIDE), draw(chart, STACKED)
    paths = [folder / (chart.stem + ending) for ending in (".svg", "-narrow.svg", ".png", ".pdf")]
    for figure, path in zip((wide, narrow, wide, wide), paths, strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=200, metadata=METADATA[path.suffix])
        write_bytes(path, buffer.getvalue())
    return FigureFile(chart, *paths)
