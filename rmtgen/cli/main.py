"""`python -m pipelines STAGE ...`: the same as `python -m pipelines.STAGE ...`; without a stage,
what there is.
"""

import importlib
import sys
import textwrap

from rmtgen.errors import UsageError, did_you_mean
from rmtgen.stages.engine import EXIT_CODES, STAGES, USAGE, run_command

COMMANDS = (*STAGES, "compare", "plan")
WIDTH = 80
HELP = """\
usage: {usage}

stages, each after those above it; one that is done says `cached`
{stages}

beside them
{others}

examples
  python -m pipelines plan --help                       every field, its default
  python -m pipelines plan --config demo                what the demo will cost
  python -m pipelines extract --config demo train=500   a stage, a field changed
  python -m pipelines report --config demo --json       one line for programs
  make help                                             stages as make's targets

{exit_codes}"""


def main() -> int:
    """Run the stage named by the first word, or tell what there is; the exit code."""
    stage, *words = sys.argv[1:] or ["--help"]
    if stage in COMMANDS:
        return importlib.import_module(
            f"rmtgen.{'stages' if stage in STAGES else 'cli'}.{stage}"
        ).main(words)
    if stage in ("-h", "--help", "help"):
        stages, others = (
            "\n".join(map(_described, names)) for names in (STAGES, COMMANDS[len(STAGES) :])
        )
        print(
            HELP.format(
                usage=USAGE.replace(".", " "),
                stages=stages,
                others=others,
                exit_codes=textwrap.fill(EXIT_CODES, WIDTH),
            )
        )
        return 0
    return run_command(stage, lambda *_: _refuse(stage), words)


def _described(stage: str) -> str:
    """The first line of a stage's own description."""
    text = importlib.import_module(
        f"rmtgen.{'stages' if stage in STAGES else 'cli'}.{stage}"
    ).__doc__.splitlines()[0]
    told = f"  {stage:<10}{text.partition(': ')[2].rstrip('.')}"
    return textwrap.fill(told, WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)


def _refuse(stage: str) -> None:
    raise UsageError(f"unknown stage {stage!r}. {did_you_mean(stage, COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
