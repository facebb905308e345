"""The report page: one HTML file that needs neither a network nor a file beside it.

All text of a run (names, labels, configuration) stays text: the template escapes it, and the page's
script reads charts and long tables from one JSON object and sets what it finds as text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from rmtgen.report.best_fits import best_fits_table, fit_notes
from rmtgen.report.beyond_scores import beyond_table
from rmtgen.report.chart import Chart, as_json, rounded
from rmtgen.report.charts import answer
from rmtgen.report.risk_statistics import MIN_N, trial_means
from rmtgen.report.run_result import RunResult
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.style import css_properties, page_style
from rmtgen.report.theory_scores import scores_table
from rmtgen.report.wording import dataset_names

BEST_HEADINGS = (
    *("run", "training images", "ridge", "test risk", "GCV", "LOO risk, 95\u00a0%"),
    *("accuracy,\u00a0%", "LOO accuracy,\u00a0%", "median gap,\u00a0%", "worst gap,\u00a0%"),
)
"""Headings of the best fits, which have more room on the page than in a terminal."""
FULL_HEADINGS = {
    "test_risk": "test risk",
    "total_se": "±",
    "gcv": "GCV",
    "loo": "LOO",
    "loo_low": "LOO, low",
    "loo_high": "LOO, high",
    "train_risk": "training risk",
    "df": "df",
    "kappa": "κ",
    "test_error": "test error",
    "loo_error": "LOO error",
    "train_error": "training error",
}
"""Headings of the table of all numbers, by column of `trial_means`."""
HERE = Path(__file__).parent
SCRIPT = ("dom.js", "scale.js", "panel.js", "page.js")
"""Files of the page's script, in the order in which they build on each other."""


@dataclass(frozen=True)
class RunSection:
    """One run in the folded part of the page.

    Attributes:
        label: Label of the run.
        name: Name of the run.
        count: Number of rows of its table.
        config: Its configuration, as text.
        stages: Provenance of each stage, as text.
    """

    label: str
    name: str
    count: int
    config: str
    stages: dict[str, str]


def render_page(
    runs: RunSet,
    charts: Sequence[Chart],
    title: str,
    omitted: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the report as the text of one HTML file.

    Args:
        runs: The runs.
        charts: Charts of the runs, from `charts.make_charts`.
        title: Heading of the page and name of the browser tab.
        omitted: Names of runs that are left out, and the reasons.
    """
    tables = [_numbers(run.result) for run in runs]
    return rendered(
        "page.html.j2",
        charts,
        tables,
        title=title,
        description=_description(runs.results),
        outputs=_shared_outputs(runs.results),
        best=replace(best_fits_table(runs.best_fits, runs.labels), headings=BEST_HEADINGS),
        min_n=MIN_N,
        best_notes=fit_notes(runs.best_fits, runs.labels),
        heads=runs.heads_table,
        heads_notes=runs.heads_notes,
        answers=runs.answers,
        leading=[chart for chart in charts if chart.stem == answer.STEM],
        charts=[chart for chart in charts if chart.stem != answer.STEM],
        omitted=omitted,
        scores=scores_table(runs.scores),
        beyond=beyond_table(runs.beyond),
        theory_notes=runs.theory_notes,
        runs=[_section(run, table) for run, table in zip(runs, tables, strict=True)],
    )


def rendered(
    template: str,
    charts: Sequence[Chart],
    tables: Sequence[Mapping[str, object]],
    /,
    **context: Any,
) -> str:
    """Return a page as the text of one HTML file.

    Args:
        template: Name of the template, beside this module.
        charts: Charts that the page's script draws.
        tables: Long tables that it builds on demand.
        context: What the template shows besides.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    embedded = {
        "charts": [as_json(chart) for chart in charts],
        "runs": tables,
        "style": page_style(),
    }
    return environment.get_template(template).render(
        **context,
        css=Markup(f"{css_properties()}\n{_source('page.css')}"),
        script=Markup("\n".join(map(_source, SCRIPT))),
        data=_embedded(embedded),
    )


def _source(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _embedded(data: object) -> Markup:
    """JSON for a script element: no name in it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(
        text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def _description(results: Sequence[RunResult]) -> str:
    """Backbones, data sets, kernels and grid of the runs, in one sentence."""
    risk = pd.concat([run.risk for run in results])
    sizes, ridges, trials = (
        sorted(risk[name].unique()) for name in ("n", "relative_ridge", "trial")
    )
    models, inits, kernels = (
        sorted({getattr(run, name) for run in results}) for name in ("model", "init", "kernel")
    )
    datasets = sorted(set(dataset_names(run.dataset for run in results).values()))
    span = f"{sizes[0]:,} to {sizes[-1]:,}" if len(sizes) > 1 else f"{sizes[0]:,}"
    return (
        f"{_count(len(results), 'run')} of {_some(models, 'backbones')} ({' and '.join(inits)}) on"
        f" {_some(datasets, 'data sets')}, {' and '.join(kernels)} kernel: ridge regression at"
        f" {_count(len(sizes), 'sample size')} ({span} training images),"
        f" {_count(len(ridges), 'ridge')} and {_count(len(trials), 'random subset')} of each size."
    )


def _count(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}{'s' * (number_of != 1)}"


def _some(names: list[str], things: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {things}"


def _shared_outputs(results: Sequence[RunResult]) -> int:
    """Number of outputs of all runs, or 0 where it differs between them."""
    outputs = {int(value) for run in results for value in run.risk["outputs"].dropna().unique()}
    return outputs.pop() if len(outputs) == 1 else 0


def _numbers(result: RunResult) -> dict[str, object]:
    """Means over subsets, for a table that the page's script builds on demand."""
    table = trial_means(result.risk)
    columns = ["n", "relative_ridge", "trials", *FULL_HEADINGS]
    rows = table[columns].itertuples(index=False)
    return {
        "stem": result.name,
        "headings": ["n", "ridge", "subsets", *FULL_HEADINGS.values()],
        "rows": [[rounded(value) for value in row] for row in rows],
    }


def _section(run: Run, table: Mapping[str, list]) -> RunSection:
    result = run.result
    stages = {stage: _lines(values) for stage, values in result.provenance.items()}
    return RunSection(run.label, result.name, len(table["rows"]), _lines(result.config), stages)


def _lines(values: Mapping[str, object]) -> str:
    """One line `key: value` per entry, the value as JSON: a grid of ridges takes one line."""
    return "\n".join(
        f"{key}: {json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in values.items()
    )
