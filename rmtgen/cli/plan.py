"""`make plan`: what a configuration will cost, from counted operations and a measurement of
seconds, before anything runs.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rmtgen.cli.terminal import HASH, Outcome, Transcript, duration, fit, shorten, terminal_columns
from rmtgen.stages.engine import next_command, parse_experiment, run_command
from rmtgen.units import readable_bytes

if TYPE_CHECKING:
    from rmtgen.runs.config import Config
    from rmtgen.stages.cost import StageCost


def tell_plan(words: Sequence[str], transcript: Transcript) -> None:
    """Tell one table a run, and the total of all runs."""
    experiment = parse_experiment(__doc__, words)
    total = sum(_tell_run(config, transcript) for config in experiment.runs)
    runs = (
        f"{len(experiment.runs)} run(s), about {duration(total)} on this machine as it is"
        " loaded now"
    )
    transcript.show(fit(f"{runs}; what is cached costs nothing.", terminal_columns()))
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
        transcript.show(f"{kernel}\n")
    transcript.show(_table(costs, took))
    transcript.record(Outcome(name, path, "planned", round(seconds, 3), None, details))
    return seconds


def _table(costs: "Sequence[StageCost]", took: Mapping[str, float | None]) -> str:
    """A line a stage, and their sum."""
    lines = [f"  {'stage':<10}{'FLOPs':>10}{'peak RAM':>12}{'disk':>12}{'time':>12}{'it took':>12}"]
    for cost in costs:
        sizes = f"{readable_bytes(cost.ram):>12}{readable_bytes(cost.disk):>12}{duration(cost.seconds):>12}"
        done = took[cost.stage]
        lines.append(
            f"  {cost.stage:<10}{cost.flops:>10.1e}{sizes}{'–' if done is None else duration(done):>12}"
        )
    disk, seconds = sum(cost.disk for cost in costs), sum(cost.seconds for cost in costs)
    lines.append(f"  {'total':<32}{readable_bytes(disk):>12}{duration(seconds):>12}\n")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return run_command("plan", tell_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
