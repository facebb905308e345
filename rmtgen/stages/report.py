"""Stage `report`: risk.csv, spectrum.h5 and theory.h5 of an experiment's runs -> report.html,
figures and a table.
"""

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtgen.cli.terminal import (
    Outcome,
    Transcript,
    note,
    open_bar,
    plain,
    progress,
    terminal_columns,
)
from rmtgen.report.summary import Summary
from rmtgen.runs.manifest import FileRecord, Manifest, provenance
from rmtgen.stages.engine import parse_experiment, run_command
from rmtgen.store import durable

if TYPE_CHECKING:
    from tqdm import tqdm

SUMMARY = "summary.json"
"""The tables and notes of the terminal, as data."""
SUMMARY_TEXT = "summary.txt"
"""The same as text of `TEXT_WIDTH` columns."""
TEXT_WIDTH = 100
STAGES = ("spectrum", "risk", "theory")
"""The stages whose results are reported; `compare` takes runs without the last too."""


def make_report(words: Sequence[str], transcript: Transcript) -> None:
    """Report the runs of the experiment that the command line describes."""
    experiment = parse_experiment(__doc__, words)
    from rmtgen.runs.rundir import RunDir  # after --help, which needs no NumPy

    runs = [RunDir(config) for config in experiment.runs]
    for run in runs:
        for stage in STAGES:
            run.require(stage)
    folder = Path(experiment.runs[0].output) / "reports" / experiment.report_name
    write_report(Report([run.path for run in runs], folder, experiment.name), transcript)


@dataclass(frozen=True)
class Report:
    """What to report, and where.

    Attributes:
        runs: directories of finished runs.
        folder: where the report goes.
        title: its heading.
        omitted: runs that it only names, and why.
    """

    runs: Sequence[Path]
    folder: Path
    title: str
    omitted: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, transcript: Transcript) -> None:
    """Make the page, the figures and the tables, unless they are there; tell the table and the
    path.
    """
    runs, folder = report.runs, report.folder
    transcript.align([folder.name, *(run.name for run in runs)])
    upstream = {f"{run.name}/{stage}": _digest(run, stage) for run in runs for stage in STAGES}
    spec_hash = durable.digest(
        durable.canonical_json([report.title, upstream, report.omitted]).encode()
    )
    manifest, status = _current(folder, spec_hash), "cached"
    if manifest is None:
        manifest, status = _made(report, {"spec_hash": spec_hash, "upstream": upstream}), "computed"
    outputs = [folder / name for name in manifest.outputs]
    headline = f"{len(runs)} run(s), {len(outputs)} files" if status == "computed" else None
    details = {**manifest.details, "omitted": dict(report.omitted)}
    transcript.add(
        Outcome(folder.name, folder, status, manifest.seconds, headline, details, outputs)
    )
    for name, why in report.omitted.items():
        note(f"{name} is not reported: {why}", "warning")
    summary = Summary.from_json(json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
    transcript.show(f"\n{summary.text(terminal_columns())}\n")
    transcript.show_next(shlex.join(["open", str(folder / "report.html")]))


def _digest(run: Path, stage: str) -> str:
    manifest = Manifest.read(run, stage)
    return manifest.outputs_digest if manifest else "missing"


def _current(folder: Path, spec_hash: str) -> Manifest | None:
    manifest = Manifest.read(folder, "report")
    if manifest is None or manifest.spec_hash != spec_hash or SUMMARY not in manifest.outputs:
        return None
    whole = all(record.still_describes(folder / name) for name, record in manifest.outputs.items())
    return manifest if whole else None


def _made(report: Report, made_from: Mapping[str, Any]) -> Manifest:
    from rmtgen.runs.rundir import locked

    folder, started = report.folder, time.perf_counter()
    with locked(folder):
        with open_bar("report", folder.name) as bar:
            outputs, details = _make(report, bar)
        manifest = Manifest(
            stage="report",
            spec={"title": report.title},
            inputs={},
            outputs={str(path.relative_to(folder)): FileRecord.of(path) for path in outputs},
            details=details,
            seconds=round(time.perf_counter() - started, 3),
            provenance=provenance(),
            **made_from,
        )
        manifest.write(folder)
    return manifest


def _make(report: Report, bar: "tqdm") -> tuple[list[Path], dict[str, Any]]:
    """The files, and the table's numbers."""
    from rmtgen.report.charts import make_charts
    from rmtgen.report.figure_files import save_figures
    from rmtgen.report.loading import load_result
    from rmtgen.report.page import render_page
    from rmtgen.report.run_set import RunSet
    from rmtgen.report.theory_scores import flat_scores
    from rmtgen.runs.columns import write_table

    folder, steps = report.folder, len(report.runs) + 3
    runs = RunSet.of([load_result(run) for run in progress(bar, report.runs, steps, "step")])
    charts = make_charts(runs)
    figures = save_figures(charts, folder / "figures")
    bar.update()
    page = render_page(runs, charts, report.title, report.omitted)
    durable.write_text(folder / "report.html", page)
    bar.update()
    title = "how a theory ranks and scales"
    tables = write_table(folder / "theories.csv", flat_scores(runs.scores), title)
    stored = json.dumps(runs.summary.as_json(), indent=1, ensure_ascii=False)
    durable.write_text(folder / SUMMARY, stored + "\n")
    durable.write_text(folder / SUMMARY_TEXT, runs.summary.text(TEXT_WIDTH) + "\n")
    bar.update()
    drawn = [path for figure in figures for path in figure.paths]
    written = [folder / name for name in ("report.html", SUMMARY, SUMMARY_TEXT)]
    details = plain({"summary": runs.best_fits.to_dict("records")})
    return [*written, *tables, *drawn], details


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("report", make_report, arguments)


if __name__ == "__main__":
    sys.exit(main())
