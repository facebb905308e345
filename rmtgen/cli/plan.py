"""`make plan`: what a configuration will cost, from counted operations and a measurement of
seconds, before anything runs.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rmtgen.cli.terminal import HASH, Outcome, Transcript, duration, terminal_columns
from rmtgen.stages.engine import next_command, parse_experiment, run_command
from rmtgen.tables import Table, shorten, wrapped
from rmtgen.units import readable_bytes

if TYPE_CHECKING:
    from rmtgen.runs.config import Config
    from rmtgen.stages.cost import StageCost

INDENT = "  "
"""Indentation of the stages of a run."""


def tell_plan(words: Sequence[str], transcript: Transcript) -> None:
    """Tell one table a run, and the total of all runs."""
    experiment = parse_experiment(__doc__, words)
    total = sum(_tell_run(config, transcript) for config in experiment.runs)
    runs = (
        f"{len(experiment.runs)} run(s), about {duration(total)} on this machine as it is"
        " loaded now; what is cached costs nothing."
    )
    transcript.show("\n".join(wrapped([runs], terminal_columns())))
    transcript.next_command = next_command("all", words, module="extract")


def _tell_run(config: "Config", transcript: Transcript) -> float:
    """Estimate one run and tell it; its seconds."""
    from rmtgen.runs.manifest import Manifest
    from rmtgen.runs.rundir import RunDir
    from rmtgen.stages.cost import estimate, tangent_plan

    name, path = config.run_name, RunDir(config).path
    costs = estimate(config)
    seconds = sum(cost.seconds for cost in costs)
    manifests = {cost.stage: Manifest.read(path, cost.stage) for cost in costs}
    took = {stage: manifest.seconds if manifest else None for stage, manifest in manifests.items()}
    images, columns = f": {config.train} + {config.test} images", terminal_columns()
    transcript.show(f"{shorten(name, columns - len(images), HASH) if columns else name}{images}")
    details = {"stages": [{**asdict(cost), "took": took[cost.stage]} for cost in costs]}
    if config.tangent:
        kernel = tangent_plan(config)
        details["entk"] = {
            key: getattr(kernel, key) for key in ("pairs", "images", "flops", "memory_bytes")
        }
        transcript.show(f"{kernel.table().text(columns)}\n")
    stages = _table(costs, took).text(columns and columns - len(INDENT))
    transcript.show(f"{textwrap.indent(stages, INDENT)}\n")
    transcript.record(Outcome(name, path, "planned", round(seconds, 3), None, details))
    return seconds


def _table(costs: "Sequence[StageCost]", took: Mapping[str, float | None]) -> Table:
    """One row per stage, and their sum."""
    rows = [
        (
            cost.stage,
            f"{cost.flops:.1e}",
            readable_bytes(cost.ram),
            readable_bytes(cost.disk),
            duration(cost.seconds),
            "–" if took[cost.stage] is None else duration(took[cost.stage]),
        )
        for cost in costs
    ]
    disk, seconds = sum(cost.disk for cost in costs), sum(cost.seconds for cost in costs)
    total = ("total", "", "", readable_bytes(disk), duration(seconds), "")
    return Table(("stage", "FLOPs", "peak RAM", "disk", "time", "it took"), (*rows, total))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("plan", tell_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
