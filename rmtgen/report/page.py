"""The report page: one HTML file that needs nothing else, neither a network nor a file beside it.

Everything a run brings along (names, labels, configuration) is text: to the template, which escapes
it, and to the page's script, which reads figures and long tables from one JSON object in the page
and sets what it finds as text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import jinja2
import pandas as pd
from markupsafe import Markup

from rmtgen.report.chart import Chart, as_json, rounded
from rmtgen.report.fits import MIN_N, trial_means
from rmtgen.report.results import RunResult, run_labels, summary_cells, summary_notes, summary_table
from rmtgen.report.theories import HEADINGS, READING, theory_cells, theory_notes, theory_scores
from rmtgen.report.wording import dataset_names

SUMMARY_HEADINGS = (
    *("run", "training images", "ridge", "test risk", "GCV"),
    *("accuracy,\u00a0%", "LOO accuracy,\u00a0%", "median gap,\u00a0%", "worst gap,\u00a0%"),
)
FULL_HEADINGS = {
    "test_risk": "test risk",
    "total_se": "±",
    "gcv": "GCV",
    "loo": "LOO",
    "train_risk": "training risk",
    "df": "df",
    "kappa": "κ",
    "test_error": "test error",
    "loo_error": "LOO error",
    "train_error": "training error",
}


HERE = Path(__file__).parent


@dataclass(frozen=True)
class RunSection:
    """One run in the folded part of the page."""

    label: str
    name: str
    count: int
    config: str
    stages: dict[str, str]


def render_page(
    results: Sequence[RunResult],
    charts: Sequence[Chart],
    title: str,
    omitted: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The whole report as the text of one HTML file.

    Args:
        results: Runs of different names.
        charts: The figures, from `charts.charts`.
        title: Heading of the page and name of the browser tab.
        omitted: Runs that are not reported, by name, and why.

    Raises:
        UsageError: no runs, or two with one name.
    """
    summary = summary_table(results)
    labels = run_labels(summary)
    tables = [_numbers(run) for run in results]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=title,
        what=_what_was_run(results),
        outputs=_shared_outputs(results),
        summary_headings=SUMMARY_HEADINGS,
        summary=[list(row.values()) for row in summary_cells(summary)],
        min_n=MIN_N,
        notes=summary_notes(summary),
        charts=charts,
        omitted=omitted,
        theory_headings=HEADINGS,
        theories=[list(row.values()) for row in theory_cells(theory_scores(results))],
        theory_notes=theory_notes(results),
        reading=f"{READING[0].upper()}{READING[1:]}.",
        runs=[_section(*run) for run in zip(results, labels, tables, strict=True)],
        css=Markup((HERE / "page.css").read_text("utf-8")),
        script=Markup((HERE / "page.js").read_text("utf-8")),
        data=_embedded({"charts": [as_json(chart) for chart in charts], "runs": tables}),
    )


def _embedded(data: object) -> Markup:
    """JSON that can stand in a script element: no name in it can end the element or begin a
    comment.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(
        text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def _what_was_run(results: Sequence[RunResult]) -> str:
    """Who, on what, and over which grid, in one sentence."""
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
    """The number of outputs where all runs agree on one, else 0."""
    outputs = {int(value) for run in results for value in run.risk["outputs"].dropna().unique()}
    return outputs.pop() if len(outputs) == 1 else 0


def _numbers(run: RunResult) -> dict[str, object]:
    """Means over subsets, for a table that the page's script makes when it is asked for."""
    table = trial_means(run.risk)
    columns = [
        table["n"],
        table["relative_ridge"],
        table["trials"],
        *(table[name] for name in FULL_HEADINGS),
    ]
    rows = [[rounded(value) for value in row] for row in zip(*columns, strict=True)]
    return {
        "stem": run.name,
        "headings": ["n", "ridge", "subsets", *FULL_HEADINGS.values()],
        "rows": rows,
    }


def _section(run: RunResult, label: str, table: Mapping[str, list]) -> RunSection:
    made = {stage: _lines(values) for stage, values in run.provenance.items()}
    return RunSection(label, run.name, len(table["rows"]), _lines(run.config), made)


def _lines(values: Mapping[str, object]) -> str:
    """One `key: value` a line, the values as JSON, so that a grid of ridges takes a line and not a
    page.
    """
    return "\n".join(
        f"{key}: {json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in values.items()
    )
