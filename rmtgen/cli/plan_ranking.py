"""`rmtgen rank --plan`: what a ranking will take, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from rmtgen.cli.plan import unplanned
from rmtgen.cli.terminal import Transcript, terminal_columns
from rmtgen.runs.graph import RANKED
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.attempts import Attempts
from rmtgen.stages.budget import Budget
from rmtgen.stages.engine import Outcome
from rmtgen.tables import Table, wrapped
from rmtgen.units import duration, readable_bytes

*STAGES, _JOINT = RANKED
EXTRACT = STAGES[0]

if TYPE_CHECKING:
    from rmtgen.stages.cost import Estimate


@dataclass(frozen=True)
class Planned:
    """What one representation will take.

    Attributes:
        name: The name of its run.
        seconds: Of each stage that it needs, predicted; None where that is done.
        disk: Bytes that it leaves.
    """

    name: str
    seconds: Mapping[str, float | None]
    disk: int

    @property
    def total(self) -> float:
        """Seconds of what is not done."""
        return sum(seconds or 0.0 for seconds in self.seconds.values())


def plan_ranking(folders: Sequence[RunDir], budget: Budget | None, transcript: Transcript) -> None:
    """Show what a ranking will take.

    Args:
        folders: The directories of the representations.
        budget: The time that it may take; None without a limit.
        transcript: Where it is shown.

    Raises:
        RmtgenError: As `Attempts.failure`.
    """
    attempts, done = Attempts(len(folders)), set[str]()
    rows: list[Planned] = []
    for folder in folders:
        try:
            rows.append(_planned(folder, done, transcript))
        except Exception as error:  # noqa: BLE001 - one must not end the others
            attempts.failure(folder.path.name, error, alone=not rows)
    columns = terminal_columns()
    transcript.show(f"{_table(rows).text(columns)}\n")
    transcript.show("\n".join(wrapped([_total(rows, budget)], columns)))


def _planned(folder: RunDir, done: set[str], transcript: Transcript) -> Planned:
    # here, because it imports torch and timm, which `--help` must not wait for
    from rmtgen.stages.cost import estimate

    found = _with_members(unplanned(estimate(folder.config), folder.config, done), folder, done)
    lacking = any(member.done(EXTRACT) is None for member in folder.members)
    seconds = {
        stage: None if folder.done(stage) and not (lacking and stage == EXTRACT) else cost.seconds
        for stage, cost in found.stages.items()
    }
    planned = Planned(folder.path.name, seconds, sum(cost.disk for cost in found.stages.values()))
    stages = [
        {"stage": stage, **asdict(cost), "cached": seconds[stage] is None}
        for stage, cost in found.stages.items()
    ]
    details = {"stages": stages, "load": round(found.load, 2)}
    total = round(planned.total, 3)
    transcript.record(Outcome("plan", planned.name, folder.path, "planned", total, None, details))
    return planned


def _with_members(found: "Estimate", folder: RunDir, done: set[str]) -> "Estimate":
    """An estimate of a concatenation with what the features of its members will take.

    Args:
        found: Its own.
        folder: Its directory.
        done: Hashes of stages that are planned; those of members are added.
    """
    from rmtgen.stages.cost import estimate

    total = found.stages[EXTRACT]
    for member in folder.members:
        alone = unplanned(estimate(member.config, (EXTRACT,)), member.config, done)
        cost = alone.stages[EXTRACT]
        if member.done(EXTRACT):
            cost = replace(cost, flops=0.0, seconds=0.0)
        total = replace(total.after(cost), disk=total.disk + cost.disk)
    return replace(found, stages={**found.stages, EXTRACT: total})


def _table(rows: Sequence[Planned]) -> Table:
    """One row per representation, and their sum."""
    cells = [
        (
            row.name,
            *(_cell(row.seconds, stage) for stage in STAGES),
            duration(row.total),
            readable_bytes(row.disk),
        )
        for row in rows
    ]
    sums = [sum(row.seconds.get(stage) or 0.0 for row in rows) for stage in STAGES]
    total = sum(row.total for row in rows), sum(row.disk for row in rows)
    shown = (duration(seconds) if seconds else "–" for seconds in sums)
    last = ("total", *shown, duration(total[0]), readable_bytes(total[1]))
    return Table(("representation", *STAGES, "total", "disk"), (*cells, last))


def _cell(seconds: Mapping[str, float | None], stage: str) -> str:
    if stage not in seconds:
        return "–"
    known = seconds[stage]
    return "cached" if known is None else duration(known)


def _total(rows: Sequence[Planned], budget: Budget | None) -> str:
    seconds = sum(row.total for row in rows)
    said = f"{len(rows)} representation(s), about {duration(seconds)} on this machine with nothing"
    said += " else to do; opening networks and images is not counted."
    if budget and seconds > budget.seconds:
        said += f" A budget of {duration(budget.seconds)} takes those furthest that promise most."
    elif budget:
        said += f" A budget of {duration(budget.seconds)} suffices for all."
    return said
