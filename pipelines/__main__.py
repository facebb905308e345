"""`python -m pipelines STAGE ...`: the same as `python -m pipelines.STAGE ...`, with a suggestion for a mistyped stage."""

import importlib
import sys

from pipelines.stage import exit_code
from rmtgen.errors import UsageError, did_you_mean

STAGES = ("extract", "gram", "spectrum", "risk", "theory", "report", "compare", "plan")


def main() -> int:
    """Run the stage named by the first word; the exit code."""
    stage = sys.argv[1] if len(sys.argv) > 1 else ""
    if stage in STAGES:
        return importlib.import_module(f"pipelines.{stage}").main(sys.argv[2:])
    return exit_code(lambda: _refuse(stage))


def _refuse(stage: str) -> None:
    raise UsageError(f"unknown stage {stage!r}. {did_you_mean(stage, STAGES)}")


if __name__ == "__main__":
    sys.exit(main())
