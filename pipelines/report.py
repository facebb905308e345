"""Stage `report`: risk.csv, spectrum.h5 and theory.h5 of an experiment's runs -> report.html, figures and a table."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipelines.stage import exit_code, parse_experiment, say
from rmtgen import durable
from rmtgen.manifest import FileRecord, Manifest, provenance
from rmtgen.rundir import RunDir, locked

SUMMARY = "summary.txt"
STAGES = ("spectrum", "risk", "theory")
"""The stages whose results are reported; `compare` takes runs without the last too."""


def make_report(arguments: Sequence[str] | None = None) -> None:
    """Report the runs of the experiment that the command line describes."""
    experiment = parse_experiment(__doc__, arguments)
    runs = [RunDir(config) for config in experiment.runs]
    for run in runs:
        for stage in STAGES:
            run.require(stage)
    write_report(
        [run.path for run in runs],
        Path(experiment.runs[0].output) / "reports" / experiment.report_name,
        experiment.name,
    )


def write_report(runs: Sequence[Path], folder: Path, title: str) -> None:
    """Make the page, the figures and the table for some finished runs, unless they are there; print the table and the path."""
    upstream = {f"{run.name}/{stage}": _digest(run, stage) for run in runs for stage in STAGES}
    spec_hash = durable.digest(durable.canonical_json([title, upstream]).encode())
    if _is_current(folder, spec_hash):
        say(f"report   {folder.name}  cached")
    else:
        started = time.perf_counter()
        with locked(folder):
            outputs = _make(runs, folder, title)
            seconds = round(time.perf_counter() - started, 3)
            records = {str(path.relative_to(folder)): FileRecord.of(path) for path in outputs}
            made = Manifest("report", {"title": title}, spec_hash, {}, upstream, records, {}, seconds, provenance())
            made.write(folder)
        say(f"report   {folder.name}  {len(runs)} run(s), {len(outputs)} files, {seconds:.1f} s")
    say("\n" + (folder / SUMMARY).read_text(encoding="utf-8"))
    say(f"open {(folder / 'report.html')}")


def _digest(run: Path, stage: str) -> str:
    manifest = Manifest.read(run, stage)
    return manifest.outputs_digest if manifest else "missing"


def _is_current(folder: Path, spec_hash: str) -> bool:
    manifest = Manifest.read(folder, "report")
    if manifest is None or manifest.spec_hash != spec_hash:
        return False
    return all(record.still_describes(folder / name) for name, record in manifest.outputs.items())


def _make(runs: Sequence[Path], folder: Path, title: str) -> list[Path]:
    from rmtgen.report.figures import save_figures
    from rmtgen.report.loading import load_result
    from rmtgen.report.page import render_page
    from rmtgen.report.results import format_table, summary_table
    from rmtgen.report.theories import format_notes, format_theories, theory_notes, theory_scores

    results = [load_result(run) for run in runs]
    figures = save_figures(results, folder / "figures")
    durable.write_text(folder / "report.html", render_page(results, figures, title))
    scores = theory_scores(results)
    durable.write_text(folder / "theories.csv", scores.to_csv(index=False))
    parts = (format_table(summary_table(results)), format_theories(scores), format_notes(theory_notes(results)))
    durable.write_text(folder / SUMMARY, "\n\n".join(part for part in parts if part) + "\n")
    drawn = [path for figure in figures for path in (figure.svg, figure.narrow_svg, figure.png)]
    return [folder / "report.html", folder / SUMMARY, folder / "theories.csv", *drawn]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return exit_code(lambda: make_report(arguments))


if __name__ == "__main__":
    sys.exit(main())
