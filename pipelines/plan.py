"""`make plan`: what a configuration will cost, from counted operations and a measurement of seconds, before anything runs."""

import sys
from collections.abc import Sequence

from pipelines.stage import exit_code, parse_experiment, say


def print_plan(arguments: Sequence[str] | None = None) -> None:
    """Print one table a run, and the total of all runs."""
    experiment = parse_experiment(__doc__, arguments)
    from rmtgen.amounts import readable_bytes
    from rmtgen.cost import estimate, tangent_plan
    from rmtgen.manifest import Manifest
    from rmtgen.rundir import RunDir

    total = 0.0
    for config in experiment.runs:
        costs = estimate(config)
        seconds = sum(cost.seconds for cost in costs)
        total += seconds
        say(f"{config.run_name}: {config.train} + {config.test} images")
        if config.tangent:
            say(f"{tangent_plan(config)}\n")
        say(f"  {'stage':<10}{'FLOPs':>10}{'peak RAM':>12}{'disk':>12}{'time':>12}{'it took':>12}")
        for cost in costs:
            done = Manifest.read(RunDir(config).path, cost.stage)
            row = f"{cost.flops:>10.1e}{readable_bytes(cost.ram):>12}{readable_bytes(cost.disk):>12}{_duration(cost.seconds):>12}"
            say(f"  {cost.stage:<10}{row}{_duration(done.seconds) if done else '–':>12}")
        disk = sum(cost.disk for cost in costs)
        say(f"  {'total':<10}{'':>10}{'':>12}{readable_bytes(disk):>12}{_duration(seconds):>12}\n")
    say(
        f"{len(experiment.runs)} run(s), about {_duration(total)} on this machine as it is loaded now; what is cached costs nothing."
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line; the exit code."""
    return exit_code(lambda: print_plan(arguments))


if __name__ == "__main__":
    sys.exit(main())
