"""What every stage does around its work: flags, the cache, the lock, the manifest, what comes next,
exit codes.
"""

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rmtgen.cli.terminal import Failure, Outcome, Transcript, note, open_bar, progress
from rmtgen.errors import (
    EXIT_INTERRUPTED,
    NumericalError,
    RmtgenError,
    RmtgenWarning,
    UsageError,
    did_you_mean,
)
from rmtgen.runs.config import FIELDS, Config, Experiment, load_experiment

if TYPE_CHECKING:
    from tqdm import tqdm

    from rmtgen.runs.manifest import FileRecord, Manifest
    from rmtgen.runs.rundir import RunDir
    from rmtgen.store.shards import ShardSet

T = TypeVar("T")

STAGES = ("extract", "gram", "spectrum", "risk", "theory", "report")
"""In the order they run in."""
MOST_LISTED = 16
"""Longest list that is told from a manifest; those of every image stay there."""
USAGE = "python -m pipelines.STAGE [--config FILE] [FIELD=VALUE ...] [--json]"
EXIT_CODES = (
    "exit codes: 0 done, 2 usage, 3 missing or corrupt input, 4 numerical failure, 130 interrupted"
)


@dataclass(frozen=True)
class Result:
    """What a stage's work hands back: the files it wrote, what to note in the manifest, and one
    line for the user.
    """

    outputs: list[Path]
    headline: str
    details: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, "FileRecord"] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a stage's work is given: its run, and a way to show progress."""

    stage: str
    run: "RunDir"
    bar: "tqdm"

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.run.config

    @property
    def folder(self) -> Path:
        """The run's directory."""
        return self.run.path

    def parts(self) -> "ShardSet":
        """Where the stage keeps what it has finished until all of it can be gathered; removed when
        the stage is done.
        """
        from rmtgen.store.shards import ShardSet

        return ShardSet(self.folder / f"{self.stage}.parts", self.run.basis(self.stage))

    def progress(self, items: Iterable[T], total: int, unit: str, done: int = 0) -> Iterable[T]:
        """`items`, with a bar on stderr that is shown only on a terminal; `done` of the `total`
        were there before.
        """
        return progress(self.bar, items, total, unit, done)


def run_stage(
    stage: str,
    description: str | None,
    work: Callable[[Job], Result],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run one stage for every run of the experiment that the command line describes; the exit code."""

    def run_all(words: Sequence[str], transcript: Transcript) -> None:
        experiment = parse_experiment(description, words)
        from rmtgen.runs.rundir import RunDir  # after --help, which needs no NumPy

        transcript.align(config.run_name for config in experiment.runs)
        for config in experiment.runs:
            transcript.add(_run_one(stage, RunDir(config), work))
        transcript.next_command = next_command(_following(stage, experiment), words)

    return run_command(stage, run_all, arguments)


def _following(stage: str, experiment: Experiment) -> str:
    """The stage after this one that any run needs."""
    later = STAGES[STAGES.index(stage) + 1 :]
    return next(name for name in later if any(config.needs(name) for config in experiment.runs))


def _run_one(stage: str, run: "RunDir", work: Callable[[Job], Result]) -> Outcome:
    name = run.config.run_name
    if not run.config.needs(stage):
        return Outcome(name, run.path, "not needed", headline="not needed for features")
    for upstream in run.config.reads(stage):
        run.require(upstream)
    if manifest := run.done(stage):
        return _outcome(run, manifest, "cached")
    with run.lock():
        if manifest := run.done(
            stage
        ):  # another process may have finished it while the lock was sought
            return _outcome(run, manifest, "cached")
        if manifest := run.adopt(stage):
            return _outcome(
                run, manifest, "adopted", f"taken from {manifest.provenance['taken_from']}"
            )
        return _compute(stage, run, work)


def _compute(stage: str, run: "RunDir", work: Callable[[Job], Result]) -> Outcome:
    from rmtgen.runs.manifest import Manifest, provenance

    config, started = run.config, time.perf_counter()
    with open_bar(stage, config.run_name) as bar:
        result = work(Job(stage, run, bar))
    manifest = run.finish(
        Manifest(
            stage=stage,
            spec=config.stage_fields(stage),
            spec_hash=config.stage_hash(stage),
            inputs=result.inputs,
            upstream={},
            outputs={},
            details=result.details,
            seconds=round(time.perf_counter() - started, 3),
            provenance={**provenance(), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
        ),
        result.outputs,
    )
    shutil.rmtree(run.path / f"{stage}.parts", ignore_errors=True)
    return _outcome(run, manifest, "computed", result.headline)


def _outcome(
    run: "RunDir", manifest: "Manifest", status: str, headline: str | None = None
) -> Outcome:
    """What a manifest tells of a run, without what is long: it stands in the manifest."""
    outputs = [
        run.path / name for name in manifest.outputs if "/" not in name
    ]  # not the shards behind them
    details = {
        key: value
        for key, value in manifest.details.items()
        if not isinstance(value, list) or len(value) <= MOST_LISTED
    }
    return Outcome(
        run.config.run_name, run.path, status, manifest.seconds, headline, details, outputs
    )


def next_command(target: str, words: Sequence[str], module: str | None = None) -> str | None:
    """What to type for another target with the same arguments, in the form they were typed in.

    Args:
        target: of make.
        words: the arguments of this command.
        module: the stage that stands for the target where make is not used.

    Returns:
        `make TARGET …` for a command that make runs, None if make goes on by itself, else `python
        -m pipelines.STAGE …`.
    """
    make = os.environ.get(
        "RMTGEN_MAKE"
    )  # set by the Makefile: `make` and its own variables, nothing where it goes on
    if make is None:
        return shlex.join([sys.orig_argv[0], "-m", f"pipelines.{module or target}", *words])
    given = {
        name: word for word in words for name in [word.partition("=")[0].lower()] if name in FIELDS
    }
    fields = [given[name] for name in FIELDS if name in given]  # make knows no order
    return (
        shlex.join([*shlex.split(make)[:1], target, *shlex.split(make)[1:], *fields])
        if make
        else None
    )


def parse_experiment(description: str | None, arguments: Sequence[str] | None = None) -> Experiment:
    """The experiment that the flags and FIELD=VALUE words describe.

    Raises:
        UsageError: an unknown flag or field, or a value that does not parse.
        MissingInputError: no such configuration file.
    """
    parser = experiment_parser(description)
    return experiment_of(parser, arguments)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as every other mistake is reported: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See --help.")


def experiment_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--config`, a flag for each field of `Config`, and FIELD=VALUE words."""
    parser = _Parser(usage=USAGE, description=description, epilog=EXIT_CODES, allow_abbrev=False)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file, or the name of one in pipelines/experiments"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON on stdout and nothing else there"
    )
    group = parser.add_argument_group(
        "fields (each also as FIELD=VALUE, and as a key of the YAML file)"
    )
    for declared in FIELDS.values():
        default = (
            declared.default
            if not isinstance(declared.default, tuple)
            else ",".join(f"{x:g}" for x in declared.default)
        )
        shown = str(default) if len(str(default)) < 40 else f"{str(default)[:36]}…"
        text = f"{declared.metadata['help']} [{shown}]".replace("%", "%%")
        group.add_argument(
            f"--{declared.name.replace('_', '-')}", dest=declared.name, metavar="VALUE", help=text
        )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FIELD=VALUE",
        help="the same as --field VALUE; FIELD in any case",
    )
    return parser


def experiment_of(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> Experiment:
    """Parse the command line with a parser that `experiment_parser` made.

    Raises:
        UsageError: an unknown flag or field, or a value that does not parse.
        MissingInputError: no such configuration file.
    """
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        raise UsageError(
            f"unknown flag {unknown[0]!r}. {did_you_mean(name, [*FIELDS, 'config', 'json'])}"
        )
    overrides = {
        name: value for name, value in vars(options).items() if name in FIELDS and value is not None
    }
    for word in options.words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"expected FIELD=VALUE, got {word!r}.")
        overrides[name.lower()] = value
    return load_experiment(options.config or None, overrides)


@contextlib.contextmanager
def _warnings_noted() -> Iterator[None]:
    """Warnings as lines of the log: of those that differ in their numbers alone the first, and at
    the end how many followed.
    """
    seen: Counter[str] = Counter()

    def show(message: Warning | str, _category: type[Warning], *_: Any) -> None:
        kind = re.split(r"\d", str(message), maxsplit=1)[0]
        seen[kind] += 1
        if seen[kind] == 1:
            note(str(message), "warning")

    with warnings.catch_warnings():
        warnings.simplefilter("always", RmtgenWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            for kind, count in seen.items():
                if count > 1:
                    note(f"{count - 1} more of the kind “{kind.strip()} …”", "warning")


def run_command(
    command: str,
    work: Callable[[Sequence[str], Transcript], object],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run what a command does with its arguments (those of the command line unless given), tell how
    it ended, return the exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    transcript = Transcript(command, as_json="--json" in words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # an encoding without × must not end a stage that is done
    try:
        failure = _attempt(lambda: work(words, transcript), transcript)
        transcript.close(failure)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()  # so that the interpreter does not try again at its end
        return RmtgenError.exit_code
    return failure.code if failure else 0


def _attempt(work: Callable[[], object], transcript: Transcript) -> Failure | None:
    """Run `work`; what went wrong, if it is not a bug."""
    try:
        with transcript.redirected(), _warnings_noted():
            work()
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        failure = _explained(error)
        if failure is None:
            transcript.close(
                Failure(
                    1,
                    f"{type(error).__name__}: {error}. This is a bug: report it with its"
                    " traceback.",
                )
            )
            raise
        return failure
    return None


def _explained(error: BaseException) -> Failure | None:
    """What the user is told of an error; None for what can only be a bug."""
    match error:
        case RmtgenError():
            return Failure(error.exit_code, str(error))
        case KeyboardInterrupt():
            return Failure(
                EXIT_INTERRUPTED, "interrupted. Run the same command again: it resumes.", kind=""
            )
        case OSError():
            what = f"{error.filename or 'the operating system'}: {error.strerror or error}"
            return Failure(RmtgenError.exit_code, f"{what}. Nothing was half-written.")
        case MemoryError() | RuntimeError() if _is_out_of_memory(error):
            why = str(error).splitlines()[0] if str(error) else "no more"
            return Failure(
                NumericalError.exit_code, f"out of memory ({why}). Lower batch_size, tile or train."
            )
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(
        re.search("out of memory|can't allocate memory", str(error))
    )
