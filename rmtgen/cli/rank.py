"""`rmtgen rank`: which representation is best for labelled images, from these alone."""

from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.arguments import Request, experiment_parser, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript, note
from rmtgen.errors import RmtgenError, StorageError, UsageError
from rmtgen.runs.graph import RANKED
from rmtgen.runs.reportdir import REPORTS, ReportDir
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.engine import run_stage

ALIASES = {"data": "dataset", "models": "model"}
"""Names that fields have on this command line too."""
DEFAULTS = {"test": "0"}
"""A ranking needs no test images."""
MOST = 100
"""Largest number of representations."""
*OF_ONE, JOINT = RANKED


def main(arguments: Sequence[str]) -> int:
    """Rank the representations that a configuration lists; the exit code."""
    with reported("rank", arguments) as transcript:
        _rank(arguments, transcript)
    return transcript.exit_code


def _rank(arguments: Sequence[str], transcript: Transcript) -> None:
    parser = experiment_parser(
        "rank", "Rank representations by a ridge probe, from labelled images alone."
    )
    for alias, name in ALIASES.items():
        parser.add_argument(f"--{alias}", dest=name, metavar="VALUE", help=f"the same as --{name}")
    request = parse(parser, [_present(word) for word in arguments], DEFAULTS)
    folders = _folders(request)
    transcript.align(folder.path.name for folder in folders)
    scored, failed = _scored(folders, transcript)
    root = Path(request.experiment.runs[0].output) / REPORTS
    name = request.experiment.report_name.removeprefix("run-")
    report = ReportDir(scored, root / f"rank-{name}", "Which representation", failed)
    transcript.add(run_stage(JOINT, report))
    transcript.show_report(report.path, JOINT)


def _present(word: str) -> str:
    """A word `models=…` under the name of its field."""
    name, equals, value = word.partition("=")
    return f"{ALIASES.get(name.lower(), name)}={value}" if equals else word


def _folders(request: Request) -> list[RunDir]:
    runs = request.experiment.runs
    if len(runs) > MOST:
        raise UsageError(
            f"a ranking is of at most {MOST} representations, got {len(runs)}: each takes a pass"
            " over all images. Narrow the patterns of models."
        )
    if share := runs[0].shard:
        raise UsageError(
            f"a ranking compares whole results, got shard={share}. Share the extraction: `rmtgen"
            " extract` with test=0 and the same settings; then rank without a shard."
        )
    return [RunDir(config) for config in runs]


def _scored(
    folders: Sequence[RunDir], transcript: Transcript
) -> tuple[list[RunDir], dict[str, str]]:
    """The representations that were scored, and why others were not.

    Raises:
        RmtgenError: None could be scored, or two in a row fail for one reason before any could:
            it is that of the images, then, and not of a network.
    """
    scored: list[RunDir] = []
    failed: dict[str, str] = {}
    for folder in folders:
        try:
            for stage in OF_ONE:
                outcome = run_stage(stage, folder)
                if outcome.status != "not needed":
                    transcript.add(outcome)
        except StorageError:
            raise
        except RmtgenError as error:
            if not scored and (str(error) in failed.values() or folder is folders[-1]):
                raise
            failed[folder.path.name] = str(error)
            note(f"{folder.path.name} is not ranked: {error}", "warning")
        else:
            scored.append(folder)
    return scored, failed
