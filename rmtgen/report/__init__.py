"""The report of finished runs: tables, charts as data, figure files and one self-contained page.

- `loading`: reads a run's directory into a `RunResult`.
- `run_result`: `RunResult`, the checked results of one run.
- `risk_statistics`: gap, best ridge and regret of one run's risk table.
- `swaps`: the spectrum of one run with the target power of another.
- `theory_scores`, `theory_notes`: how well each theory does; what it predicts for each run.
- `beyond_scores`: how well the risk of ensembles and of stopped descent is estimated.
- `head_spread`: how much the risk of an eNTK hangs on the head that was drawn.
- `best_fits`: the table of the best fit of each run.
- `run_set`: `RunSet`, the runs of a report with all of the above, computed once.
- `summary`: what the terminal shows, kept as JSON.
- `chart`: axes, lines, panels and charts as data; `axes`: the axes that charts share.
- `charts`: one module per chart, and `make_charts`.
- `style`: colours, markers, widths and text sizes, from `style.json`.
- `matplotlib_figure`, `figure_files`: charts drawn and written as SVG, PNG and PDF.
- `study_charts`: the charts of a study of arrays, as files.
- `page`: the HTML page, from `page.html.j2`, `page.css` and its script (`dom.js`, `scale.js`,
  `panel.js`, `page.js`).
- `wording`: numbers and sentences.

Names are imported on first use: the summary needs neither matplotlib nor Jinja.
"""

from importlib import import_module

_HOMES = {
    "FigureFile": "figure_files",
    "RunResult": "run_result",
    "RunSet": "run_set",
    "Summary": "summary",
    "agreement": "risk_statistics",
    "best": "risk_statistics",
    "load_result": "loading",
    "make_charts": "charts",
    "render_page": "page",
    "save_figures": "figure_files",
    "study_figures": "study_charts",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
