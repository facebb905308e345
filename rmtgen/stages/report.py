"""Stage `report`: spectrum, risk and theory of several runs -> page, figures and tables."""

import json

from rmtgen.report.charts import make_charts
from rmtgen.report.figure_files import save_figures
from rmtgen.report.loading import load_result
from rmtgen.report.page import render_page
from rmtgen.report.run_set import RunSet
from rmtgen.report.summary import SUMMARY
from rmtgen.report.theory_scores import flat_scores
from rmtgen.report.unreportable import naming_culprits
from rmtgen.runs.columns import write_table
from rmtgen.runs.manifest import plain
from rmtgen.runs.reportdir import ReportDir
from rmtgen.stages.engine import Job, Result
from rmtgen.store import durable

STEPS = 3
"""Number of steps of the bar after the runs are read: figures, page, tables."""
TEXT_WIDTH = 100
"""Columns of text of summary.txt."""


def work(job: Job) -> Result:
    """Draw the figures and the page, and write the tables."""
    report = job.directory
    if not isinstance(report, ReportDir):
        raise TypeError("a report works on a ReportDir")
    total = len(report.runs) + STEPS
    results = [load_result(run) for run in job.progress(report.runs, total, "step")]
    with naming_culprits(results):
        return _write(job, report, RunSet.of(results))


def _write(job: Job, report: ReportDir, runs: RunSet) -> Result:
    folder = job.folder
    charts = make_charts(runs)
    figures = save_figures(charts, folder / "figures")
    job.bar.update()
    page = render_page(runs, charts, report.title, report.omitted)
    durable.write_text(folder / "report.html", page)
    job.bar.update()
    figured = {
        "heads.csv": (runs.heads, "risks of one kernel and size over draws of its head"),
        "theories.csv": (runs.scores, "how a theory ranks and scales"),
        "beyond.csv": (runs.beyond, "how far an estimate of ensembles or stopped descent is off"),
    }
    tables = [
        path
        for name, (table, title) in figured.items()
        for path in write_table(folder / name, flat_scores(table), title)
    ]
    stored = json.dumps(runs.summary.as_json(), indent=1, ensure_ascii=False)
    durable.write_text(folder / SUMMARY, stored + "\n")
    durable.write_text(folder / "summary.txt", runs.summary.text(TEXT_WIDTH) + "\n")
    job.bar.update()
    drawn = [path for figure in figures for path in figure.paths]
    written = [folder / name for name in ("report.html", SUMMARY, "summary.txt")]
    outputs = [*written, *tables, *drawn]
    details = plain({"summary": runs.best_fits.to_dict("records"), "omitted": report.omitted})
    return Result(outputs, f"{len(report.runs)} run(s), {len(outputs)} files", details)
