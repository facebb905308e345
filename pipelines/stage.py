"""What every stage does around its work: flags, the cache, the lock, the manifest, progress, exit codes."""

import argparse
import contextlib
import re
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rmtgen.config import FIELDS, Config, Experiment, load_experiment
from rmtgen.errors import EXIT_INTERRUPTED, NumericalError, RmtgenError, RmtgenWarning, UsageError, did_you_mean
from rmtgen.manifest import FileRecord, Manifest, provenance
from rmtgen.rundir import RunDir

if TYPE_CHECKING:
    from rmtgen.shards import ShardSet

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What a stage's work hands back: the files it wrote, what to note in the manifest, and one line for the user."""

    outputs: list[Path]
    headline: str
    details: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a stage's work is given: its run, and a way to show progress."""

    stage: str
    run: RunDir

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.run.config

    @property
    def folder(self) -> Path:
        """The run's directory."""
        return self.run.path

    def parts(self) -> "ShardSet":
        """Where the stage keeps what it has finished until all of it can be gathered; removed when the stage is done."""
        from rmtgen.shards import ShardSet

        return ShardSet(self.folder / f"{self.stage}.parts", self.run.basis(self.stage))

    def progress(self, items: Iterable[T], total: int, unit: str, done: int = 0) -> Iterable[T]:
        """A tqdm bar on stderr over `items`, shown only on a terminal."""
        from tqdm import tqdm

        label = f"{self.stage} {self.config.model} {self.config.init}"
        return tqdm(
            items, desc=label, total=total, initial=done, unit=unit, file=sys.stderr, disable=None, smoothing=0.1
        )


def say(text: str) -> None:
    """One line of result on stdout, at once."""
    print(text, flush=True)


def note(text: str) -> None:
    """One line of log on stderr."""
    print(f"rmtgen: {text}", file=sys.stderr, flush=True)


def run_stage(
    stage: str, description: str | None, work: Callable[[Job], Result], arguments: Sequence[str] | None = None
) -> int:
    """Run one stage for every run of the experiment that the command line describes; the exit code."""
    return exit_code(lambda: _run_all(stage, parse_experiment(description, arguments), work))


def _run_all(stage: str, experiment: Experiment, work: Callable[[Job], Result]) -> None:
    for config in experiment.runs:
        _run_one(stage, RunDir(config), work)


def _run_one(stage: str, run: RunDir, work: Callable[[Job], Result]) -> None:
    if not run.config.needs(stage):
        say(f"{stage:<9}{run.config.run_name}  not needed: solved from features")
        return
    for upstream in run.config.reads(stage):
        run.require(upstream)
    if run.done(stage):
        say(f"{stage:<9}{run.config.run_name}  cached")
        return
    with run.lock():
        if run.done(stage):  # another process may have finished it while the lock was sought
            say(f"{stage:<9}{run.config.run_name}  cached")
        elif adopted := run.adopt(stage):
            say(f"{stage:<9}{run.config.run_name}  cached, taken from {adopted.provenance['taken_from']}")
        else:
            _compute(Job(stage, run), work)


def _compute(job: Job, work: Callable[[Job], Result]) -> None:
    config, started = job.config, time.perf_counter()
    result = work(job)
    seconds = time.perf_counter() - started
    job.run.finish(
        Manifest(
            stage=job.stage,
            spec=config.stage_fields(job.stage),
            spec_hash=config.stage_hash(job.stage),
            inputs=result.inputs,
            upstream={},
            outputs={},
            details=result.details,
            seconds=round(seconds, 3),
            provenance={**provenance(), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
        ),
        result.outputs,
    )
    shutil.rmtree(job.folder / f"{job.stage}.parts", ignore_errors=True)
    say(f"{job.stage:<9}{config.run_name}  {result.headline}, {seconds:.1f} s")


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
    parser = _Parser(description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML file, or the name of one in pipelines/experiments")
    group = parser.add_argument_group("fields (each also as FIELD=VALUE, and as a key of the YAML file)")
    for declared in FIELDS.values():
        default = (
            declared.default
            if not isinstance(declared.default, tuple)
            else ",".join(f"{x:g}" for x in declared.default)
        )
        shown = str(default) if len(str(default)) < 40 else f"{str(default)[:36]}…"
        text = f"{declared.metadata['help']} [{shown}]".replace("%", "%%")
        group.add_argument(f"--{declared.name.replace('_', '-')}", dest=declared.name, metavar="VALUE", help=text)
    parser.add_argument("words", nargs="*", metavar="FIELD=VALUE", help="the same as --field VALUE; FIELD in any case")
    return parser


def experiment_of(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> Experiment:
    """Parse the command line with a parser that `experiment_parser` made.

    Raises:
        UsageError: an unknown flag or field, or a value that does not parse.
        MissingInputError: no such configuration file.
    """
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        raise UsageError(f"unknown flag {unknown[0]!r}. {did_you_mean(name, [*FIELDS, 'config'])}")
    overrides = {name: value for name, value in vars(options).items() if name in FIELDS and value is not None}
    for word in options.words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"expected FIELD=VALUE, got {word!r}.")
        overrides[name.lower()] = value
    return load_experiment(options.config or None, overrides)


@contextlib.contextmanager
def _warnings_noted() -> Iterator[None]:
    """Warnings as lines of the log: of those that differ in their numbers alone the first, and at the end how many followed."""
    seen: Counter[str] = Counter()

    def show(message: Warning | str, _category: type[Warning], *_: Any) -> None:
        kind = re.split(r"\d", str(message), maxsplit=1)[0]
        seen[kind] += 1
        if seen[kind] == 1:
            note(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", RmtgenWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            for kind, count in seen.items():
                if count > 1:
                    note(f"warning: {count - 1} more of the kind “{kind.strip()} …”")


def exit_code(work: Callable[[], object]) -> int:
    """Run `work` and turn what it raises into one line on stderr and the documented exit code."""
    try:
        with _warnings_noted():
            work()
    except RmtgenError as error:
        note(f"error: {error}")
        return error.exit_code
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()  # so that the interpreter does not try again at its end
        return RmtgenError.exit_code
    except OSError as error:
        note(f"error: {error.filename or 'the operating system'}: {error.strerror or error}. Nothing was half-written.")
        return RmtgenError.exit_code
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("out of memory|can't allocate memory", str(error)):
            raise
        note(
            f"error: out of memory ({str(error).splitlines()[0] if str(error) else 'no more'}). Lower batch_size, tile or train."
        )
        return NumericalError.exit_code
    except KeyboardInterrupt:
        note("interrupted. Run the same command again: it resumes.")
        return EXIT_INTERRUPTED
    return 0
