"""The report page: one HTML file that needs nothing else, neither a network nor a file beside it.

Everything a run brings along (names, labels, configuration) is text to the template and is escaped there. Only the figures are
markup, and they come from `figures.py`; their ids are made unique, since SVGs inside one page share one name space.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from rmtgen.report.figures import FigureFile
from rmtgen.report.fits import MIN_N, trial_means
from rmtgen.report.results import RunResult, run_labels, summary_cells, summary_notes, summary_table
from rmtgen.report.theories import HEADINGS, READING, theory_cells, theory_notes, theory_scores
from rmtgen.report.wording import number, scientific

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


@dataclass(frozen=True)
class RunSection:
    """One run in the folded part of the page."""

    label: str
    name: str
    rows: list[list[str]]
    config: str
    stages: dict[str, str]


def render_page(results: Sequence[RunResult], figures: Sequence[FigureFile], title: str) -> str:
    """The whole report as the text of one HTML file.

    Args:
        results: Runs of different names.
        figures: What `save_figures` returned for them; the SVG files are read and put into the page.
        title: Heading of the page and name of the browser tab.

    Raises:
        UsageError: no runs, or two with one name.
    """
    summary = summary_table(results)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
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
        figures=[(figure, *_inline(figure, place)) for place, figure in enumerate(figures, start=1)],
        theory_headings=HEADINGS,
        theories=[list(row.values()) for row in theory_cells(theory_scores(results))],
        theory_notes=theory_notes(results),
        reading=f"{READING[0].upper()}{READING[1:]}.",
        full_headings=("n", "ridge", "subsets", *FULL_HEADINGS.values()),
        runs=[_section(run, label) for run, label in zip(results, run_labels(summary), strict=True)],
    )


def _what_was_run(results: Sequence[RunResult]) -> str:
    """Who, on what, and over which grid, in one sentence."""
    risk = pd.concat([run.risk for run in results])
    sizes, ridges, trials = (sorted(risk[name].unique()) for name in ("n", "relative_ridge", "trial"))
    models, inits, datasets, kernels = (
        sorted({getattr(run, name) for run in results}) for name in ("model", "init", "dataset", "kernel")
    )
    span = f"{sizes[0]:,} to {sizes[-1]:,}" if len(sizes) > 1 else f"{sizes[0]:,}"
    return (
        f"{_count(len(results), 'run')} of {_some(models, 'backbones')} ({' and '.join(inits)}) on {_some(datasets, 'data sets')}, "
        f"{' and '.join(kernels)} kernel: ridge regression at {_count(len(sizes), 'sample size')} ({span} training images), "
        f"{_count(len(ridges), 'ridge')} and {_count(len(trials), 'random subset')} of each size."
    )


def _count(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}{'s' * (number_of != 1)}"


def _some(names: list[str], things: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {things}"


def _shared_outputs(results: Sequence[RunResult]) -> int:
    """The number of outputs where all runs agree on one, else 0."""
    outputs = {int(value) for run in results for value in run.risk["outputs"].dropna().unique()}
    return outputs.pop() if len(outputs) == 1 else 0


def _inline(figure: FigureFile, place: int) -> Iterator[Markup]:
    """The wide and the narrow drawing as markup for the page."""
    for path, form in ((figure.svg, "wide"), (figure.narrow_svg, "narrow")):
        yield _inline_svg(path.read_text("utf-8"), f"figure-{place}-{form}", figure.alt)


def _inline_svg(svg: str, prefix: str, alt: str) -> Markup:
    """A matplotlib SVG made fit to stand in an HTML page: no prolog, ids of its own, sized by the page, read out as `alt`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    head, body = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{escape(alt)}">{body}')


def _section(run: RunResult, label: str) -> RunSection:
    table = trial_means(run.risk)
    rows = [
        [
            str(int(row["n"])),
            scientific(row["relative_ridge"]),
            str(int(row["trials"])),
            *(number(row[name]) for name in FULL_HEADINGS),
        ]
        for row in table.to_dict("records")
    ]
    return RunSection(
        label,
        run.name,
        rows,
        _lines(run.config),
        {stage: _lines(made) for stage, made in run.provenance.items()},
    )


def _lines(values: Mapping[str, object]) -> str:
    """One `key: value` a line, the values as JSON, so that a grid of ridges takes a line and not a page."""
    return "\n".join(f"{key}: {json.dumps(value, default=str, ensure_ascii=False)}" for key, value in values.items())
