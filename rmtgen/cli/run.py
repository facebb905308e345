"""`rmtgen run`: the stages of every run of an experiment, in one process."""

import dataclasses
from collections.abc import Sequence

from rmtgen.cli.arguments import Request, experiment_parser, next_command, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import UsageError, did_you_mean
from rmtgen.runs.concatenation import refuse_concatenations
from rmtgen.runs.graph import RANKED, STAGES, leading_to
from rmtgen.runs.rundir import ResultDir
from rmtgen.stages.engine import directories, run_stage
from rmtgen.stages.shared import images_shared

LAST = tuple(STAGES)[-1]


def main(arguments: Sequence[str]) -> int:
    """Run every stage, or those up to the one of `--stage`; the exit code."""
    with reported("run", arguments) as transcript:
        _run(arguments, transcript)
    return transcript.exit_code


def _run(arguments: Sequence[str], transcript: Transcript) -> None:
    description = "Run every stage in one process; one that is done says `cached`."
    parser = experiment_parser("run", description, ["[--stage NAME]"])
    parser.add_argument(
        "--stage", metavar="NAME", default=LAST, help=f"the last stage to run [{LAST}]"
    )
    request = parse(parser, arguments)
    last = request.options.stage
    if last not in STAGES:
        raise UsageError(f"unknown stage {last!r}. {did_you_mean(last, STAGES)}")
    if divided := run_stages(leading_to(last), request, transcript):
        transcript.next_command = _gathering(request, divided)
    elif following := _following(last, request):
        words = ["run", "--stage", following]
        transcript.next_command = next_command(request, words, following)


def main_stage(stage: str, arguments: Sequence[str]) -> int:
    """Run one stage alone, on results of the earlier ones that are there; the exit code."""
    with reported(stage, arguments) as transcript:
        request = parse(experiment_parser(stage, STAGES[stage].summary), arguments)
        if run_stages((stage,), request, transcript):
            transcript.next_command = _gathering(request, stage)
        elif following := _following(stage, request):
            transcript.next_command = next_command(request, [following], following)
    return transcript.exit_code


def run_stages(stages: Sequence[str], request: Request, transcript: Transcript) -> str | None:
    """Bring the results of some stages up to date, one stage after another.

    Returns:
        The stage of which only a share was computed, after which no stage can follow; None where
        all are done.
    """
    refuse_concatenations(request.experiment.runs)
    _require_tests(stages, request)
    planned = {stage: directories(stage, request.experiment) for stage in stages}
    transcript.align(folder.path.name for folders in planned.values() for folder in folders)
    for stage, folders in planned.items():
        if _shared(stage, _distinct(stage, folders), transcript):
            return stage
    return None


def _shared(stage: str, folders: Sequence[ResultDir], transcript: Transcript) -> bool:
    """Bring one stage of some directories up to date; whether it was shares of it alone."""
    outcomes = []
    with images_shared(len(folders)):
        for folder in folders:
            outcomes.append(run_stage(stage, folder))
            transcript.add(outcomes[-1])
            if STAGES[stage].joint:
                transcript.show_report(folder.path)
    return any(outcome.status == "shard" for outcome in outcomes)


def _require_tests(stages: Sequence[str], request: Request) -> None:
    """Refuse what compares with test images where there are none, or what is of a ranking alone.

    Raises:
        UsageError: A run has no test images, or lets every class count the same.
    """
    comparing = [stage for stage in stages if stage not in RANKED]
    if comparing and any(run.balanced for run in request.experiment.runs):
        raise UsageError(
            f"balanced=true is for `rmtgen rank` and `rmtgen compare-features`: got it for stage"
            f" {comparing[0]}, in which every image counts the same. Leave it out."
        )
    untested = [run for run in request.experiment.runs if run.test == 0]
    if comparing and untested:
        raise UsageError(
            f"stage {comparing[0]} compares with test images: got test=0. Set test, or ask without"
            " any: `rmtgen rank`."
        )


def _distinct(stage: str, folders: Sequence[ResultDir]) -> list[ResultDir]:
    """The directories to work in: where shares are made, one of those with an equal result.

    Where all of the work is done, the others take the result over.
    """
    shared = {folder.spec_hash(stage): folder for folder in reversed(folders) if folder.share}
    return [folder for folder in folders if shared.get(folder.spec_hash(stage), folder) is folder]


def _gathering(request: Request, stage: str) -> str:
    """The command that gathers the shares of a stage: the same without a share."""
    words = tuple(word for word in request.words if not word.startswith("shard="))
    whole = dataclasses.replace(request, words=words)
    return next_command(whole, ["run", "--stage", stage], stage)


def _following(stage: str, request: Request) -> str | None:
    """The first stage after `stage` that any run needs."""
    order = tuple(STAGES)
    for name in order[order.index(stage) + 1 :]:
        if any(folder.needs(name) for folder in directories(name, request.experiment)):
            return name
    return None
