"""`rmtgen compare-features`: what representations of the same images share, two at a time."""

from collections.abc import Sequence
from pathlib import Path

from rmtgen.cli.arguments import Request, experiment_parser, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.rank import ALIASES, DEFAULTS
from rmtgen.cli.results import Selection
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import UsageError
from rmtgen.runs.config import Config
from rmtgen.runs.graph import COMPARING
from rmtgen.runs.reportdir import REPORTS, ReportDir
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.engine import run_stage
from rmtgen.stages.scored import score_run
from rmtgen.stages.shared import images_shared
from rmtgen.store import durable

NAME = "compare-features"
MOST = 12
"""Largest number of representations, which are 66 pairs."""
(JOINT,) = COMPARING
_OF_RUNS = {"output", "memory", "device"}
"""Fields that may stand beside names of runs."""


def main(arguments: Sequence[str]) -> int:
    """Compare the representations that a configuration lists, or runs; the exit code."""
    with reported(NAME, arguments) as transcript:
        _compare(arguments, transcript)
    return transcript.exit_code


def _compare(arguments: Sequence[str], transcript: Transcript) -> None:
    described = "What representations of the same images share, and what one adds to another."
    parser = experiment_parser(NAME, described, ["[--runs ...]"])
    for alias, name in ALIASES.items():
        parser.add_argument(f"--{alias}", dest=name, metavar="VALUE", help=f"the same as --{name}")
    parser.add_argument(
        "--runs",
        nargs="+",
        metavar="RUN",
        help="runs that are there, by name or the 8 characters it ends in, instead of fields",
    )
    request = parse(parser, [_present(word) for word in arguments], DEFAULTS)
    folders = _checked(_named(request) if request.options.runs else _configured(request))
    transcript.align(folder.path.name for folder in folders)
    with images_shared(len(folders)):
        for folder in folders:
            for outcome in score_run(folder):
                transcript.add(outcome)
    names = " ".join(folder.path.name for folder in folders)
    root = Path(folders[0].config.output) / REPORTS
    path = root / f"pairs-{durable.digest(names.encode())[:8]}"
    report = ReportDir(folders, path, "What representations share")
    transcript.add(run_stage(JOINT, report))
    transcript.show_report(report.path, JOINT)


def _present(word: str) -> str:
    """A word `models=…` under the name of its field."""
    name, equals, value = word.partition("=")
    return f"{ALIASES.get(name.lower(), name)}={value}" if equals else word


def _configured(request: Request) -> list[RunDir]:
    """The runs of the configuration."""
    runs = request.experiment.runs
    if share := runs[0].shard:
        raise UsageError(
            f"a comparison takes whole results, got shard={share}. Share the extraction: `rmtgen"
            " extract` with test=0 and the same settings; then compare without a shard."
        )
    return [RunDir(config) for config in runs]


def _named(request: Request) -> list[RunDir]:
    """The runs that are named.

    Raises:
        UsageError: Other fields are given too, or the settings of a run are not known in full.
        MissingInputError: There is no run of a name.
    """
    given = [word.partition("=")[0].lower() for word in request.words]
    others = [name for name in given if name not in _OF_RUNS]
    if others:
        raise UsageError(
            f"runs have their settings already: got {others[0]} beside --runs. Leave one of them"
            " out."
        )
    config = request.experiment.runs[0]
    chosen = Selection(Path(config.output), tuple(request.options.runs)).folders()
    return [_reopened(folder, config) for folder in chosen]


def _reopened(folder: Path, given: Config) -> RunDir:
    """The directory of a run with its stored settings."""
    from rmtgen.runs.run import load_run  # it imports pandas, which `--help` does without

    stored = load_run(folder).config
    values = {name: tuple(one) if isinstance(one, list) else one for name, one in stored.items()}
    found = RunDir(Config(**values, **{name: getattr(given, name) for name in _OF_RUNS}))
    if found.path.name != folder.name:
        raise UsageError(
            f"the settings of {folder.name} are not stored in full, because a stage of it is not"
            " done. Give its fields instead of its name."
        )
    return found


def _checked(folders: Sequence[RunDir]) -> Sequence[RunDir]:
    """Refuse what makes no pair, too many pairs, and kernels that are no features."""
    if not 2 <= len(folders) <= MOST:
        cure = (
            "Name another one" if len(folders) < 2 else f"Choose {MOST}, such as with rmtgen rank"
        )
        raise UsageError(
            f"a comparison is of 2 to {MOST} representations, got {len(folders)}: each two take a"
            f" decomposition. {cure}."
        )
    if len({folder.config.balanced for folder in folders}) > 1:
        named = {folder.config.balanced: folder.path.name for folder in folders}
        raise UsageError(
            f"a comparison is of one risk, got balanced=true of {named[True]} and not of"
            f" {named[False]}. Take both with it, or neither."
        )
    for folder in folders:
        if folder.config.tangent:
            raise UsageError(
                f"a comparison is of features, got kernel=entk of {folder.path.name}. Leave it out,"
                " or sketch it: projection=4096."
            )
    return folders
