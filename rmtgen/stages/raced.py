"""The directory of a ranking in a given time, and how it comes about."""

from collections.abc import Callable, Sequence

from rmtgen.errors import UsageError
from rmtgen.ranking.halving import spread
from rmtgen.report.ranked_set import RankedSet
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import plain
from rmtgen.runs.reportdir import ReportDir
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.budget import Budget
from rmtgen.stages.engine import Outcome
from rmtgen.stages.entrant import Entrant, Scoring
from rmtgen.stages.joint_entrant import JointEntrant
from rmtgen.stages.race import Race
from rmtgen.store import durable
from rmtgen.tasks import order_of


class RacedDir(ReportDir):
    """The directory of a ranking of which some representations were not taken to all images.

    Attributes:
        ranked: The ranking.
    """

    def __init__(self, ranked: RankedSet, report: ReportDir):
        """Take a ranking, and the directory that it would have if nothing had been dropped."""
        super().__init__(report.runs, report.path, report.title, report.omitted, report.order)
        self.ranked = ranked

    def spec_hash(self, stage: str) -> str:
        """The hash of the ranking itself, which follows from the time too."""
        tables = [self.ranked.table, self.ranked.dropped_frame]
        made_from = [self.title, self.omitted, *(table.to_json() for table in tables)]
        return durable.digest(durable.canonical_json(plain(made_from)).encode())


def raced(
    folders: Sequence[RunDir],
    report: Callable[[Sequence[RunDir], dict[str, str]], ReportDir],
    budget: Budget,
    show: Callable[[Outcome], None],
    by: str | None = None,
) -> ReportDir:
    """Rank representations in a given time.

    Args:
        folders: Their directories.
        report: From the directories of those that are ranked, and why others failed, to that of
            the ranking.
        budget: The time.
        show: Where outcomes of stages are shown.
        by: What decides who goes on: the order of the ranking, as `rmtgen.rank` takes it.

    Returns:
        The directory of the ranking, which is still to be written.

    Raises:
        UsageError: The time suffices for nothing; or the kernel is an exact eNTK, or work is shared
            with a cluster, whose time is not foreseen.
        RmtgenError: As `Attempts.failure`.
    """
    config = folders[0].config
    for folder in folders:
        _check(folder.config)
    order = [folders[place] for place in spread(len(folders))]
    entrants = _entrants(order, budget, show)
    race = Race(list(entrants.values()), config.train, budget, order_of(config.task, by))
    finish = race.run()
    ranked = [entrants[name] for name in finish.probes]
    runs = [entrants[name].as_run(probe) for name, probe in finish.probes.items()]
    whole = report([entrant.folder for entrant in ranked], race.attempts.failed)
    if not finish.dropped and all(run.score.n == config.train for run in runs):
        return whole
    return RacedDir(RankedSet.of(runs, finish.dropped, whole.order), whole)


def _entrants(
    folders: Sequence[RunDir], budget: Budget, show: Callable[[Outcome], None]
) -> dict[str, Entrant]:
    """The entrants by their names; a member of several, or one that runs by itself too, is one."""
    shared = budget.clock, Scoring(), show
    alone = {
        one.path.name: Entrant(one, *shared)
        for folder in folders
        for one in folder.members or (folder,)
    }
    found = dict[str, Entrant]()
    for folder in folders:
        members = [alone[one.path.name] for one in folder.members]
        name = folder.path.name
        found[name] = JointEntrant(folder, members, *shared) if members else alone[name]
    return found


def _check(config: Config) -> None:
    if config.tangent:
        raise UsageError(
            "a budget needs features, whose time grows with the images: got kernel=entk. Sketch it"
            " (projection=4096), or leave the budget out."
        )
    if config.cluster:
        raise UsageError(
            f"a budget is that of this machine: got cluster={config.cluster}. Leave one of them"
            " out."
        )
