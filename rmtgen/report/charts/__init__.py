"""The charts of the report, one module each, as data. Nothing here imports matplotlib.

A module has four names: `STEM` (file name and anchor), `TITLE` (heading), `NEEDS` (the table of the
`theory` stage that at least one run must have; empty: always drawn) and `chart`, a function from a
`RunSet` to a `Chart` with its caption, alt text and data.
"""

from importlib import import_module

from rmtgen.report.chart import Chart
from rmtgen.report.run_set import RunSet

MODULES = (
    "answer",
    "prediction",
    "learning",
    "ridges",
    "spectra",
    "rivals",
    "beyond",
    "alignment",
    "forecast",
    "scaling",
    "local_law",
)
"""Modules of this package, in the order of the report."""


def make_charts(runs: RunSet) -> list[Chart]:
    """Every chart that the runs have data for, in the order of the report."""
    modules = [import_module(f"{__name__}.{name}") for name in MODULES]
    return [
        module.chart(runs)
        for module in modules
        if not module.NEEDS or len(runs.having(module.NEEDS))
    ]
