"""Stage `rank`: the scores of all representations -> page, figures and tables."""

import json
from pathlib import Path

from rmtgen.report.figure_files import save_figures
from rmtgen.report.ranked_set import RankedSet
from rmtgen.report.ranking_chart import chart
from rmtgen.report.ranking_page import render_ranking
from rmtgen.report.summary import SUMMARY
from rmtgen.runs.columns import SIDECAR_SUFFIX, write_table
from rmtgen.runs.manifest import plain
from rmtgen.runs.reportdir import ReportDir
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.raced import RacedDir
from rmtgen.stages.report import TEXT_WIDTH
from rmtgen.store import durable

PAGE = "ranking.html"
TABLE = "ranking.csv"
DROPPED = "dropped.csv"
OUTPUTS = "outputs.csv"


def work(job: Job) -> Result:
    """Draw the figure and the page, and write the table."""
    report = job.directory
    if not isinstance(report, ReportDir):
        raise TypeError("a ranking works on a ReportDir")
    folder = job.folder
    if isinstance(report, RacedDir):
        ranked = report.ranked
    else:
        ranked = RankedSet.load(report.runs, report.order)
    charts = [chart(ranked)]
    figures = save_figures(charts, folder / "figures")
    durable.write_text(folder / PAGE, render_ranking(ranked, charts, report.title, report.omitted))
    tables = write_table(folder / TABLE, ranked.table, "a representation of the same images")
    what = "a value or label, as a representation explains it"
    tables += write_table(folder / OUTPUTS, ranked.outputs, what)
    tables += _dropped(folder / DROPPED, ranked)
    stored = json.dumps(ranked.summary.as_json(), indent=1, ensure_ascii=False)
    durable.write_text(folder / SUMMARY, stored + "\n")
    durable.write_text(folder / "summary.txt", ranked.summary.text(TEXT_WIDTH) + "\n")
    drawn = [path for figure in figures for path in figure.paths]
    outputs = [folder / PAGE, folder / SUMMARY, folder / "summary.txt", *tables, *drawn]
    details = {
        "ranking": ranked.table.to_dict("records"),
        "dropped": ranked.dropped_frame.to_dict("records"),
        "omitted": report.omitted,
    }
    return Result(outputs, f"{len(report.runs)} representation(s)", plain(details))


def _dropped(path: Path, ranked: RankedSet) -> list[Path]:
    """The table of those that were not taken further; one of an earlier ranking goes."""
    if ranked.dropped:
        return write_table(path, ranked.dropped_frame, "a representation of fewer images")
    for old in (path, path.with_name(path.name + SIDECAR_SUFFIX)):
        old.unlink(missing_ok=True)
    return []
