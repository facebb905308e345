"""The command `rmtgen`: its commands, its stages, `--help` and `--version`."""

import importlib
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence

from rmtgen import __version__
from rmtgen.errors import EXIT_INTERRUPTED, RmtgenError, UsageError, did_you_mean
from rmtgen.runs.graph import STAGES

COMMANDS: Mapping[str, str] = {
    "run": "every stage, in one process; --stage NAME: up to that one",
    "plan": "what a configuration will cost, before anything runs",
    "rank": "which representation is best for labelled images, without a test set",
    "compare-features": "what representations of the same images share, two at a time",
    "export": "the ridge probe of a run, as a network that predicts on new images",
    "predict": "the class of every image in files, folders and archives",
    "compare": "one report over finished runs",
    "ls": "the runs there are, and the stages that are done",
    "verify": "every file of finished runs and reports against its checksum",
    "clean": "delete runs and reports, and no data set",
}
"""The commands beside the stages: `rmtgen.cli.NAME`, - as _, holds `main(arguments)`."""

WIDTH = 80
HELP = """\
usage: rmtgen COMMAND [CONFIG] [FIELD=VALUE ...] [--json]

commands
{commands}

stages, each alone, on the results of those above it
{stages}

examples
  rmtgen run demo                              real digits, offline, in minutes
  rmtgen plan demo                             what that will cost
  rmtgen run model=resnet50 dataset=cifar100 download=true
  rmtgen rank data=folder:my/pictures models='resnet50,vit_*'
  rmtgen run my/experiment.yaml --stage risk   the stages up to risk, no further
  rmtgen run demo ridges=0,1e-6:10:15          other ridges on the same features
  rmtgen run --help                            every field, with its default

exit codes: 0 done, 2 usage, 3 missing or corrupt input, 4 numerical failure,
130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command or the stage that the first word names; the exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # while a command is imported, or after it has reported its end
        print("rmtgen: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    _open_closed_streams()
    # OpenMP threads that spin while they wait for one another lose the processor to other programs:
    # on a busy machine the passes of a network took 7 times as long. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command, *words = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if command in COMMANDS:
        return importlib.import_module(f"rmtgen.cli.{command.replace('-', '_')}").main(words)
    if command in STAGES:
        return importlib.import_module("rmtgen.cli.run").main_stage(command, words)
    if command in ("-h", "--help", "help"):
        return _show(HELP.format(commands=_described(COMMANDS), stages=_described(_summaries())))
    if command in ("-V", "--version"):
        return _show(f"rmtgen {__version__}")
    return _refuse(command, words)


def _open_closed_streams() -> None:
    """Discard what is written to a stream that the caller closed, which Python sets to None.

    The numbers are taken too: a result must not be the file that gets them, and with them whatever
    a library prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115, PTH123


def _show(text: str) -> int:
    """Print a text; the exit code."""
    from rmtgen.cli.terminal import write

    return RmtgenError.exit_code if write(text, sys.stdout) else 0


def _summaries() -> dict[str, str]:
    return {name: stage.summary for name, stage in STAGES.items()}


def _described(summaries: Mapping[str, str]) -> str:
    """One entry per name, wrapped."""
    column = max(map(len, summaries)) + 2
    return "\n".join(
        textwrap.fill(
            f"  {name:<{column}}{summary}",
            WIDTH,
            subsequent_indent=" " * (column + 2),
            break_on_hyphens=False,
        )
        for name, summary in summaries.items()
    )


def _refuse(command: str, words: Sequence[str]) -> int:
    from rmtgen.cli.outcome import reported

    known = [*COMMANDS, *STAGES]
    with reported(command, words) as transcript:
        raise UsageError(f"unknown command {command!r}. {did_you_mean(command, known)}")
    return transcript.exit_code
