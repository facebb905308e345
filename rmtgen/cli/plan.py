"""`rmtgen plan`: what a configuration will cost, before anything runs."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from rmtgen.cli.arguments import experiment_parser, next_command, parse
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript, terminal_columns
from rmtgen.runs.concatenation import refuse_concatenations
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.engine import Outcome
from rmtgen.stages.progress import HASH
from rmtgen.tables import Table, shorten, wrapped
from rmtgen.units import duration, readable_bytes

if TYPE_CHECKING:
    from rmtgen.stages.cost import Estimate, StageCost

INDENT = "  "
"""Indentation of the stages of a run."""
NOTABLE_LOAD = 1.5
"""Load from which on the time on the machine as it is now is shown too."""


def main(arguments: Sequence[str]) -> int:
    """Show what runs will cost; the exit code."""
    with reported("plan", arguments) as transcript:
        _plan(arguments, transcript)
    return transcript.exit_code


def _plan(arguments: Sequence[str], transcript: Transcript) -> None:
    description = "What a configuration will cost, from counted operations and measured rates."
    request = parse(experiment_parser("plan", description), arguments)
    runs = request.experiment.runs
    refuse_concatenations(runs)
    planned: set[str] = set()
    estimates = [_plan_run(config, transcript, planned) for config in runs]
    seconds = sum(seconds for seconds, _ in estimates)
    loaded = sum(seconds * load for seconds, load in estimates)
    total = f"{len(runs)} run(s), about {duration(seconds)} on this machine with nothing else to do"
    if loaded > NOTABLE_LOAD * seconds:
        total += f", {duration(loaded)} as it is loaded now"
    total += "; what is cached costs nothing."
    transcript.show("\n".join(wrapped([total], terminal_columns())))
    transcript.next_command = next_command(request, ["run"], "all")


def _plan_run(config: Config, transcript: Transcript, planned: set[str]) -> tuple[float, float]:
    """Show the cost of one run; its seconds and the load of the machine.

    Args:
        config: The run.
        transcript: Where it is shown.
        planned: Hashes of the stages of the runs before it, whose results it takes over; those of
            its own are added.
    """
    # here, because it imports torch and timm, which `--help` must not wait for
    from rmtgen.stages.cost import estimate

    name, path = config.run_name, RunDir(config).path
    found = unplanned(estimate(config), config, planned)
    manifests = {stage: Manifest.read(path, stage) for stage in found.stages}
    took = {stage: manifest.seconds if manifest else None for stage, manifest in manifests.items()}
    images, columns = f": {config.train} + {config.test} images", terminal_columns()
    transcript.show(f"{shorten(name, columns - len(images), HASH) if columns else name}{images}")
    stages = [
        {"stage": stage, **asdict(cost), "took": took[stage]}
        for stage, cost in found.stages.items()
    ]
    details: dict[str, object] = {
        "stages": stages,
        "load": round(found.load, 2),
        "workers": {count: round(found.on(count), 3) for count in found.workers},
    }
    if kernel := found.entk:
        counted = ("products", "pairs", "images", "flops", "least_flops", "memory_bytes")
        details["entk"] = {
            **{key: getattr(kernel, key) for key in counted},
            "seconds": asdict(kernel.seconds),
            "shared": {count: own._asdict() for count, own in kernel.shared.items()},
        }
        transcript.show(f"{kernel.table().text(columns)}\n")
    for table in (_table(found.stages, took), _shared(found)):
        lines = table.text(columns and columns - len(INDENT))
        transcript.show(f"{textwrap.indent(lines, INDENT)}\n")
    seconds = round(found.seconds, 3)
    transcript.record(Outcome("plan", name, path, "planned", seconds, None, details))
    return found.seconds, found.load


def unplanned(found: "Estimate", config: Config, planned: set[str]) -> "Estimate":
    """An estimate in which a stage that is planned already costs nothing.

    Args:
        found: The estimate.
        config: The run.
        planned: Hashes of the stages that are planned; those of this run are added.
    """
    stages = dict(found.stages)
    for stage, cost in stages.items():
        if (digest := config.stage_hash(stage)) in planned:
            stages[stage] = type(cost)(0.0, cost.ram, 0, 0.0)
        planned.add(digest)
    return replace(found, stages=stages)


def _table(costs: Mapping[str, "StageCost"], took: Mapping[str, float | None]) -> Table:
    """One row per stage, and their sum."""
    rows = [
        (
            stage,
            f"{cost.flops:.1e}",
            readable_bytes(cost.ram),
            readable_bytes(cost.disk),
            duration(cost.seconds),
            "–" if took[stage] is None else duration(took[stage]),
        )
        for stage, cost in costs.items()
    ]
    disk = sum(cost.disk for cost in costs.values())
    seconds = sum(cost.seconds for cost in costs.values())
    total = ("total", "", "", readable_bytes(disk), duration(seconds), "")
    return Table(("stage", "FLOPs", "peak RAM", "disk", "time", "it took"), (*rows, total))


def _shared(found: "Estimate") -> Table:
    """The time of each stage on several workers such as this machine; of an eNTK its passes."""
    kernel = found.entk.shared if found.entk else {}
    rows = []
    for count in found.workers:
        times = [cost.on(count) for cost in found.stages.values()]
        passes: tuple[str, ...] = ()
        if own := kernel.get(count):
            ratio = own.images / own.least_images
            passes = f"{own.images:,}", f"{own.least_images:,}", f"{ratio:.2f}"
        rows.append((f"{count}", *map(duration, (*times, sum(times))), *passes))
    headings = ("workers", *found.stages, "total")
    if not kernel:
        return Table(headings, tuple(rows), ">" * len(headings))
    note = "image passes of gram, of which one for a chunk of parameters counts by its share; the"
    note += " fewest with all parameters at once"
    headings += ("passes", "fewest", "ratio")
    return Table(headings, tuple(rows), ">" * len(headings), (note,))
