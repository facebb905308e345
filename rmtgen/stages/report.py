"""Stage `report`: spectrum, risk and theory of several runs -> page, figures and tables."""

from rmtgen.report.figures import save_figures
from rmtgen.report.loading import load_result
from rmtgen.report.page import render_page
from rmtgen.report.results import format_table, summary_table
from rmtgen.report.theories import (
    flat_scores,
    format_notes,
    format_theories,
    theory_notes,
    theory_scores,
)
from rmtgen.runs.columns import write_table
from rmtgen.runs.manifest import plain
from rmtgen.runs.rundir import ReportDir
from rmtgen.stages.engine import Job, Result
from rmtgen.store import durable

STEPS = 3
"""Steps of the bar after the runs are read: figures, page, tables."""


def work(job: Job) -> Result:
    """Draw the figures and the page, and write the tables."""
    report = job.directory
    if not isinstance(report, ReportDir):
        raise TypeError("a report works on a ReportDir")
    total = len(report.runs) + STEPS
    results = [load_result(run) for run in job.progress(report.runs, total, "step")]
    figures = save_figures(results, report.path / "figures")
    job.bar.update()
    charts = [figure.chart for figure in figures]
    page = render_page(results, charts, report.title, report.omitted)
    durable.write_text(report.path / "report.html", page)
    job.bar.update()
    scores, table = theory_scores(results), summary_table(results)
    theories = write_table(
        report.path / "theories.csv", flat_scores(scores), "how a theory ranks and scales"
    )
    parts = (format_table(table), format_theories(scores), format_notes(theory_notes(results)))
    summary = "\n\n".join(part for part in parts if part) + "\n"
    durable.write_text(report.path / "summary.txt", summary)
    job.bar.update()
    drawn = [
        path
        for figure in figures
        for path in (figure.svg, figure.narrow_svg, figure.png, figure.pdf)
    ]
    outputs = [report.path / "report.html", report.path / "summary.txt", *theories, *drawn]
    details = plain({"summary": table.to_dict("records"), "omitted": report.omitted})
    return Result(outputs, f"{len(results)} run(s), {len(outputs)} files", details)
