"""`rmtgen rank`: which representation is best for labelled images, from these alone."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rmtgen.cli.arguments import Parser, Request, experiment_parser, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.plan_ranking import plan_ranking
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import UsageError
from rmtgen.runs.graph import RANKED
from rmtgen.runs.reportdir import REPORTS, ReportDir
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.attempts import Attempts
from rmtgen.stages.budget import Budget
from rmtgen.stages.engine import run_stage
from rmtgen.stages.scored import score_run
from rmtgen.stages.shared import images_shared
from rmtgen.units import parse_duration

ALIASES = {"data": "dataset", "models": "model"}
"""Names that fields have on this command line too."""
DEFAULTS = {"test": "0"}
"""A ranking needs no test images."""
OPTIONS = ("budget", "by")
"""Options that may be given as words too, as make gives them."""
MOST = 100
"""Largest number of representations without a budget."""
clock = time.monotonic
"""The clock of a budget."""
*_, JOINT = RANKED


def main(arguments: Sequence[str]) -> int:
    """Rank the representations that a configuration lists; the exit code."""
    with reported("rank", arguments) as transcript:
        _rank(arguments, transcript)
    return transcript.exit_code


def _rank(arguments: Sequence[str], transcript: Transcript) -> None:
    started = clock()
    request = requested(arguments)
    budget = _budget(request, started)
    order = _order(request)
    folders = _folders(request, budget)
    if request.options.plan:
        plan_ranking(folders, budget, transcript)
        return
    transcript.align(folder.path.name for folder in folders)
    root = Path(request.experiment.runs[0].output) / REPORTS
    path = root / f"rank-{request.experiment.report_name.removeprefix('run-')}"

    def made(runs: Sequence[RunDir], failed: dict[str, str]) -> ReportDir:
        return ReportDir(runs, path, "Which representation", failed, order)

    passes = {one.path for folder in folders for one in folder.members or (folder,)}
    with images_shared(len(passes)):
        if budget:
            report = _raced(folders, made, budget, transcript, order)
        else:
            report = made(*_scored(folders, transcript))
    transcript.add(run_stage(JOINT, report))
    transcript.show_report(report.path, JOINT)


def requested(arguments: Sequence[str]) -> Request:
    """What the words after `rmtgen rank` ask for.

    Raises:
        UsageError, MissingInputError: As `parse`.
    """
    return parse(_parser(), [_present(word) for word in arguments], DEFAULTS)


def _parser() -> Parser:
    described = "Rank representations by a ridge probe, from labelled images alone."
    parser = experiment_parser("rank", described, ["[--by ORDER]", "[--budget TIME]", "[--plan]"])
    for alias, name in ALIASES.items():
        parser.add_argument(f"--{alias}", dest=name, metavar="VALUE", help=f"the same as --{name}")
    parser.add_argument(
        "--by",
        metavar="ORDER",
        help="what the order is by: accuracy or risk [accuracy, and risk without classes]",
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="what the ranking may take, such as 10m: those that promise most come further",
    )
    parser.add_argument("--plan", action="store_true", help="show what it will take, and end")
    return parser


def _order(request: Request) -> str | None:
    """The order that is asked for, where it is another than the usual one.

    Raises:
        UsageError: As `order_of`.
    """
    given = request.options.by
    if given is None:
        return None
    from rmtgen.tasks import order_of  # it imports NumPy, which the help does without

    task = request.experiment.runs[0].task
    order = order_of(task, given)
    return None if order == order_of(task, None) else order


def _budget(request: Request, started: float) -> Budget | None:
    given = request.options.budget
    return None if given is None else Budget(parse_duration(given), clock, started)


def _raced(
    folders: Sequence[RunDir],
    made: Callable[[Sequence[RunDir], dict[str, str]], ReportDir],
    budget: Budget,
    transcript: Transcript,
    order: str | None,
) -> ReportDir:
    from rmtgen.stages.raced import raced  # it imports torch, which a cached ranking does without

    return raced(folders, made, budget, transcript.add, order)


def _present(word: str) -> str:
    """A word `models=…` under the name of its field, and one of an option as that."""
    name, equals, value = word.partition("=")
    if name.lower() in OPTIONS and equals:
        return f"--{name.lower()}={value}"
    return f"{ALIASES.get(name.lower(), name)}={value}" if equals else word


def _folders(request: Request, budget: Budget | None) -> list[RunDir]:
    runs = request.experiment.runs
    if len(runs) > MOST and budget is None:
        raise UsageError(
            f"a ranking without a budget is of at most {MOST} representations, got {len(runs)}:"
            " each takes a pass over all images. Give the time that it may take, such as"
            " --budget 30m (make: BUDGET=30m), or narrow the patterns of models."
        )
    if share := runs[0].shard:
        raise UsageError(
            f"a ranking compares whole results, got shard={share}. Share the extraction: `rmtgen"
            " extract` with test=0 and the same settings; then rank without a shard."
        )
    for name in ("task", "balanced"):
        found = list(dict.fromkeys(str(getattr(run, name)).lower() for run in runs))
        if len(found) > 1:
            raise UsageError(
                f"a ranking is of one {name}: got {name}={found[0]} and {name}={found[1]}. Rank"
                " each by itself."
            )
    if budget and runs[0].balanced:
        raise UsageError(
            "a budget takes those further that are foreseen to be best, and balanced=true has no"
            " forecast. Leave one of them out."
        )
    return [RunDir(config) for config in runs]


def _scored(
    folders: Sequence[RunDir], transcript: Transcript
) -> tuple[list[RunDir], dict[str, str]]:
    """The representations that were scored, and why others were not.

    Raises:
        RmtgenError: As `Attempts.failure`.
    """
    scored: list[RunDir] = []
    attempts = Attempts(len(folders))
    for folder in folders:
        try:
            for outcome in score_run(folder):
                transcript.add(outcome)
        except Exception as error:  # noqa: BLE001 - one must not end the others
            attempts.failure(folder.path.name, error, alone=not scored)
        else:
            scored.append(folder)
    return scored, attempts.failed
