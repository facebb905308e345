"""Stage `report`: risk.csv, spectrum.h5 and theory.h5 of an experiment's runs -> report.html,
figures and a table.
"""

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
    fit,
    note,
    open_bar,
    plain,
    progress,
    terminal_columns,
)
from rmtgen.runs.manifest import FileRecord, Manifest, provenance
from rmtgen.stages.engine import parse_experiment, run_command
from rmtgen.store import durable

if TYPE_CHECKING:
    from tqdm import tqdm

SUMMARY = "summary.txt"
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
    summary = (folder / SUMMARY).read_text(encoding="utf-8")
    transcript.show(f"\n{fit(summary.rstrip(), terminal_columns())}\n")
    transcript.show_next(shlex.join(["open", str(folder / "report.html")]))


def _digest(run: Path, stage: str) -> str:
    manifest = Manifest.read(run, stage)
    return manifest.outputs_digest if manifest else "missing"


def _current(folder: Path, spec_hash: str) -> Manifest | None:
    manifest = Manifest.read(folder, "report")
    if manifest is None or manifest.spec_hash != spec_hash:
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

    folder = report.folder
    results = [load_result(run) for run in progress(bar, report.runs, len(report.runs) + 3, "step")]
    figures = save_figures(results, folder / "figures")
    bar.update()
    page = render_page(results, [figure.chart for figure in figures], report.title, report.omitted)
    durable.write_text(folder / "report.html", page)
    bar.update()
    scores = theory_scores(results)
    tables = write_table(
        folder / "theories.csv", flat_scores(scores), "how a theory ranks and scales"
    )
    table = summary_table(results)
    parts = (format_table(table), format_theories(scores), format_notes(theory_notes(results)))
    durable.write_text(folder / SUMMARY, "\n\n".join(part for part in parts if part) + "\n")
    bar.update()
    drawn = [
        path
        for figure in figures
        for path in (figure.svg, figure.narrow_svg, figure.png, figure.pdf)
    ]
    return [folder / "report.html", folder / SUMMARY, *tables, *drawn], plain(
        {"summary": table.to_dict("records")}
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("report", make_report, arguments)


if __name__ == "__main__":
    sys.exit(main())
