"""`rmtgen run`: the stages of every run of an experiment, in one process."""

from collections.abc import Sequence

from rmtgen.cli.arguments import Request, experiment_parser, next_command, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import UsageError, did_you_mean
from rmtgen.runs.graph import STAGES, leading_to
from rmtgen.stages.engine import directories, run_stage

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
    run_stages(leading_to(last), request, transcript)
    following = _following(last, request)
    if following:
        words = ["run", "--stage", following]
        transcript.next_command = next_command(request, words, following)


def main_stage(stage: str, arguments: Sequence[str]) -> int:
    """Run one stage alone, on results of the earlier ones that are there; the exit code."""
    with reported(stage, arguments) as transcript:
        request = parse(experiment_parser(stage, STAGES[stage].summary), arguments)
        run_stages((stage,), request, transcript)
        following = _following(stage, request)
        if following:
            transcript.next_command = next_command(request, [following], following)
    return transcript.exit_code


def run_stages(stages: Sequence[str], request: Request, transcript: Transcript) -> None:
    """Bring the results of some stages up to date, one stage after another."""
    planned = {stage: directories(stage, request.experiment) for stage in stages}
    transcript.align(folder.path.name for folders in planned.values() for folder in folders)
    for stage, folders in planned.items():
        for folder in folders:
            transcript.add(run_stage(stage, folder))
            if STAGES[stage].joint:
                transcript.show_report(folder.path)


def _following(stage: str, request: Request) -> str | None:
    """The first stage after `stage` that any run needs."""
    order = tuple(STAGES)
    for name in order[order.index(stage) + 1 :]:
        if any(folder.needs(name) for folder in directories(name, request.experiment)):
            return name
    return None
