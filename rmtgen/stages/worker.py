"""What a worker of a cluster does: one unit of one stage at a time.

The arguments and results of tasks are small. Data goes through the run directory, which every
worker sees under the same path. A worker writes by a journal of its own and holds the directory
together with the others while it does.
"""

import os
import secrets
import socket
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rmtgen.device import default_device
from rmtgen.errors import MissingInputError, RmtgenWarning, UsageError
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import provenance
from rmtgen.runs.rundir import MEETING, RunDir
from rmtgen.stages.division import Division
from rmtgen.stages.engine import Job, division_of
from rmtgen.stages.progress import open_bar
from rmtgen.store import files

Key = tuple[str, Config, str]
"""Stage, configuration, and digest of what the stage reads."""

CORES = "RMTGEN_CORES"
"""Variable that holds the numbers of a worker's cores, with commas."""
WRITER = f"worker-{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
"""Name of this process among the writers of a directory."""
_one_at_a_time = threading.Lock()  # a writer has one name, whatever threads a worker has
_open: dict[Key, Division] = {}  # the last one that was worked on


@dataclass(frozen=True)
class Made:
    """What a worker says of a unit that it has finished.

    Attributes:
        parts: The digest of each part by its name.
        warnings: What it has warned of.
    """

    parts: Mapping[str, str]
    warnings: Sequence[str]


def make(config: Config, stage: str, unit: str) -> Made:
    """Compute one unit, whose parts are durable on return.

    Args:
        config: Configuration of the run, without a cluster.
        stage: Name of the stage.
        unit: Name of the unit.

    Raises:
        UsageError: There is no such unit here: the client computes on another kind of device.
        RmtgenError: As the stage raises it.
    """
    _pin()
    run = RunDir(config)
    with (
        _one_at_a_time,
        warnings.catch_warnings(record=True) as warned,
        run.lock(WRITER),
        open_bar(stage, run.path.name) as bar,
    ):
        warnings.simplefilter("always", RmtgenWarning)
        division = _division(Job(stage, run, bar, WRITER))
        mine = next((one for one in division.units if one.name == unit), None)
        if mine is None:
            raise UsageError(
                f"client and workers must divide stage {stage} alike: got {unit!r}, which is no"
                f" unit on {socket.gethostname()}, which computes on"
                f" {default_device(config.device)}."
                " Start the client on a machine of the same kind of device, or give device=cpu."
            )
        division.prepare([mine])
        for _ in division.make([mine]):
            pass
        parts = {part: division.shards.record(part).blake2b for part in mine.parts}
    said = [str(one.message) for one in warned if isinstance(one.message, RmtgenWarning)]
    return Made(parts, said)


def _pin() -> None:
    """Keep this thread, and those that it starts, on the cores of this worker."""
    if cores := os.environ.get(CORES):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def _division(job: Job) -> Division:
    """The division of a stage; that of the last task, with all it has read, serves the next."""
    key = job.stage, job.config, job.run.fingerprint(job.stage)
    if key not in _open:
        for other in _open.values():
            other.close()
        _open.clear()  # not two in memory
        _open[key] = division_of(job)
    return _open[key]


def close() -> None:
    """Remove what the last task has left outside the run."""
    with _one_at_a_time:
        for division in _open.values():
            division.close()
        _open.clear()


def introduce(folder: str, token: str) -> dict[str, str]:
    """What a client must know of this worker before it computes.

    Args:
        folder: The run directory, as the client names it.
        token: What the client has written there, see `RunDir.met`.

    Raises:
        MissingInputError: This worker does not see that directory under this path.
    """
    path = Path(folder) / MEETING
    if not files.is_there(path) or files.read_bytes(path).decode() != token:
        raise MissingInputError(
            f"the worker on {socket.gethostname()} must see the run under {folder}, and does not."
            " Mount it there, or give an output that all workers share."
        )
    return versions()


def versions() -> dict[str, str]:
    """The versions that must be the same on all machines that compute for one run."""
    known = provenance()
    return {"python": known["python"], **known["versions"]}
