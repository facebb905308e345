"""The report: what the runs found, as tables, charts and one self-contained page.

Names load on first use, so a stage that only prints the summary table never waits for matplotlib or
Jinja2.
"""

from importlib import import_module

_HOMES = {
    "Agreement": "fits",
    "RunResult": "results",
    "agreement": "fits",
    "best": "fits",
    "charts": "charts",
    "format_table": "results",
    "summary_table": "results",
    "FigureFile": "figures",
    "save_figures": "figures",
    "render_page": "page",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
