"""The stages of one representation of a ranking, up to its score."""

from collections.abc import Iterator

from rmtgen.errors import RmtgenError
from rmtgen.runs.concatenation import said
from rmtgen.runs.graph import RANKED
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.engine import Outcome, run_stage

*OF_ONE, _JOINT = RANKED
EXTRACT = OF_ONE[0]


def score_run(folder: RunDir) -> Iterator[Outcome]:
    """Bring a representation up to its score: of a concatenation the features of its members first.

    Args:
        folder: Its directory.

    Yields:
        What became of each stage that it needs, and of members what is not there already.

    Raises:
        RmtgenError: As `run_stage`; where a member of a concatenation failed the message names it.
    """
    for member in folder.members:
        try:
            outcome = run_stage(EXTRACT, member)
        except RmtgenError as error:
            raise of_member(folder, member, error) from error
        if outcome.status != "cached":
            yield outcome
    for stage in OF_ONE:
        outcome = run_stage(stage, folder)
        if outcome.status != "not needed":
            yield outcome


def of_member(folder: RunDir, member: RunDir, error: RmtgenError) -> RmtgenError:
    """The error of a concatenation of which a member failed; another one's has another message."""
    found = type(error)(f"{said(vars(folder.config))} needs {member.path.name}: {error}")
    vars(found).update(vars(error))
    return found
