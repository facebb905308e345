"""The units of a stage on the workers of a Dask cluster: a local one, or a scheduler that is there.

Dask carries tasks to workers and says which workers there are. Which unit goes where is decided in
`placement`, so its work stealing is off; a long task must not pass for a dead worker, so its
time-to-live of workers is off too. A task returns names and digests, never data.
"""

import contextlib
import dataclasses
import functools
import logging
import queue
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rmtgen.errors import ClusterError, RmtgenError, RmtgenWarning, UsageError
from rmtgen.stages import worker
from rmtgen.stages.division import Division, Unit
from rmtgen.stages.engine import Job
from rmtgen.stages.placement import Placement

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

MOST_LOSSES = 10
"""Workers that one unit may lose before it is taken for the reason."""
WAIT = 60.0
"""Seconds that a scheduler is waited for, and that a local cluster may be without a worker."""
NEWS = 5.0
"""Seconds without a worker after which the user is told."""
GOODBYE = 5.0
"""Seconds that workers are given to send a small result, and to clean up at the end."""
POLL = 0.5
"""Seconds between two looks at which workers there are."""
SETTINGS = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.allowed-failures": 10_000,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.comm.timeouts.tcp": "30s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",  # 50 wake-ups a second take time from the work
    # in the place of Dask's own, by which glibc gives each freed tensor back to the system
    "distributed.nanny.pre-spawn-environ": {"DASK_LOGGING__DISTRIBUTED": "critical"},
}
"""Settings of Dask for the processes that compute a run, which `workers` scripts use too."""


def distribute(job: Job, division: Division) -> int:
    """Compute what is not there yet on the workers of the cluster; the number of units computed.

    Raises:
        ClusterError: There is no scheduler, or no worker that can compute.
        RmtgenError: What the workers raise, if all of them fail.
    """
    pending = [unit for unit in division.units if division.lacking(unit)]
    if not pending:
        return 0
    loop = _Loop(job, _client(str(job.config.cluster)), pending)
    done = len(division.units) - len(pending)
    for _ in job.progress(loop.finished(), len(division.units), "unit", done=done):
        pass
    return len(pending)


class _Loop:
    """Gives units to workers until all are done."""

    def __init__(self, job: Job, client: "Client", units: Sequence[Unit]):
        self.client, self.stage, self.run = client, job.stage, job.run
        self.cluster = str(job.config.cluster)
        self.config = dataclasses.replace(job.config, cluster=None)
        self.futures: dict[str, tuple[Future, Unit]] = {}  # by worker
        self.ready: queue.Queue[tuple[str, Future]] = queue.Queue()
        self.retired: dict[str, RmtgenError] = {}
        self.accepted: set[str] = set()
        self.asked: dict[str, Future] = {}
        self.token = ""
        self.there = _workers(client)
        self.placement = Placement(units, sorted(self.there))

    def finished(self) -> Iterator[Unit]:
        """Each unit as it is done.

        Raises:
            ClusterError, RmtgenError: As `distribute`.
        """
        try:
            with self.run.met() as self.token:
                self._ask_new()
                yield from self._done_in_turn()
        except RmtgenError:
            raise
        except Exception as error:
            if self.client.status == "running":
                raise
            raise self._abandoned() from error
        self._release()

    def _done_in_turn(self) -> Iterator[Unit]:
        alone_since, told = time.monotonic(), False
        while self.placement.left:
            self._submit()
            alone = time.monotonic() - alone_since
            if self.futures:
                alone_since, told = time.monotonic(), False
            elif self._all_retired() or (self.cluster.isdigit() and alone > WAIT):
                raise self._deserted()
            elif alone > NEWS and not told:  # jobs may be in a queue for hours
                told = True
                log.info(
                    f"no worker computes at {self.cluster}: waiting for one. Ctrl-C ends this;"
                    " what is finished is kept"
                )
            with contextlib.suppress(queue.Empty):
                address, future = self.ready.get(timeout=POLL)
                if unit := self._take(address, future):
                    yield unit
                continue
            self._look()

    def _submit(self) -> None:
        """Give every idle worker a unit."""
        for address in sorted(self.accepted - self.futures.keys()):
            unit = self.placement.next(address, time.monotonic())
            if unit is None:
                continue
            future = self._sent(address, worker.make, self.config, self.stage, unit.name)
            self.futures[address] = future, unit

    def _take(self, address: str, future: "Future") -> Unit | None:
        """What a finished task was: the unit if it is done now, None if it failed or is known."""
        if self.asked.get(address) is future:
            self._answered(address, future)
            return None
        current, unit = self.futures.get(address, (None, None))
        if current is not future or unit is None:
            return None  # of a worker that was given up meanwhile
        made = _result(future)
        if made is not None:
            del self.futures[address]
            for message in made.warnings:
                warnings.warn(message, RmtgenWarning, stacklevel=1)
            return unit if self.placement.done(address, unit, time.monotonic()) else None
        error = future.exception() if future.status == "error" else None
        self._drop(address, unit)
        if isinstance(error, RmtgenError):
            self._retire(address, error)
        elif error is not None and not _of_dask(error):
            raise error
        return None

    def _drop(self, address: str, unit: Unit) -> None:
        """Give up a worker and what it has begun.

        Raises:
            ClusterError: Its unit has lost too many workers.
        """
        del self.futures[address]
        self.accepted.discard(address)
        self.placement.gone(address)
        if self.placement.losses[unit.name] >= MOST_LOSSES:
            raise ClusterError(
                f"{MOST_LOSSES} workers were lost one after another while they computed"
                f" {unit.name} of stage {self.stage}: likely it needs more memory than they have."
                " Lower memory, tile or batch_size. What is finished is kept."
            )

    def _retire(self, address: str, error: RmtgenError) -> None:
        """Give a worker nothing any more; the others go on."""
        self.retired[address] = error
        log.warning(f"worker {address} gets no more work: {error}")

    def _look(self) -> None:
        """Give up workers that are gone, and take in new ones."""
        if self.client.status != "running":
            raise self._abandoned()
        with contextlib.suppress(OSError):  # a scheduler that is gone shows in the status soon
            self.there = _workers(self.client)
        there = self.there
        for address in [at for at in self.futures if at not in there]:
            future, unit = self.futures[address]
            future.cancel(force=True)
            log.warning(f"worker {address} is gone; others take its work over")
            self._drop(address, unit)
        for address in self.accepted - there - self.futures.keys():
            self.accepted.discard(address)
            self.placement.gone(address)
        self.asked = {at: future for at, future in self.asked.items() if at in there}
        self._ask_new()

    def _ask_new(self) -> None:
        """Ask new workers who they are; one that hangs does not answer, and gets nothing."""
        known = self.accepted | self.retired.keys() | self.asked.keys()
        for address in sorted(self.there - known):
            arguments = worker.introduce, str(self.run.path), self.token
            self.asked[address] = self._sent(address, *arguments)

    def _answered(self, address: str, future: "Future") -> None:
        """Take in a worker, or refuse one that would compute something else."""
        del self.asked[address]
        error = future.exception() if future.status == "error" else None
        if isinstance(error, RmtgenError):
            self._retire(address, error)
        elif error is not None and not _of_dask(error):  # as where rmtgen is not installed
            self._retire(address, ClusterError(f"it cannot compute: {error}."))
        elif (versions := _result(future)) is not None:
            if differing := _differing(versions):
                self._retire(address, ClusterError(f"versions differ: {differing}."))
            else:
                self.accepted.add(address)

    def _sent(self, address: str, *task: Any) -> "Future":
        """Send a task to one worker; its end is put into `ready`."""
        options = {"workers": [address], "key": secrets.token_hex(8), "pure": False}
        future = self.client.submit(*task, **options)
        future.add_done_callback(lambda done: self.ready.put((address, done)))
        return future

    def _abandoned(self) -> ClusterError:
        """The error where the scheduler is gone."""
        return ClusterError(
            f"the scheduler of cluster={self.cluster} is gone. What is finished is kept: run the"
            " same command again."
        )

    def _all_retired(self) -> bool:
        return bool(self.there) and self.there <= self.retired.keys()

    def _deserted(self) -> RmtgenError:
        """The error where no worker is left."""
        if not self.retired:
            return ClusterError(
                f"the cluster has had no worker for {WAIT:.0f} s. What is finished is kept: run the"
                " same command again."
            )
        address, error = next(reversed(self.retired.items()))
        return type(error)(f"no worker can compute; the last, {address}: {error}")

    def _release(self) -> None:
        """Let go of second copies, and have the workers clean up."""
        busy, idle = sorted(self.futures), sorted(self.accepted - self.futures.keys())
        for future, _ in self.futures.values():
            future.cancel(force=True)
        from distributed import wait  # the extra, which is there by now

        with contextlib.suppress(Exception):  # a worker may be gone: what it left harms nothing
            if busy:  # with second copies, or hanging: they hold the directory
                self.client.restart_workers(busy, timeout=WAIT, raise_for_error=False)
            closing = [self._sent(address, worker.close) for address in idle]
            wait(closing, timeout=GOODBYE)


def _result(future: "Future") -> Any:
    """What a finished task returned; None where it failed, or its worker is gone with it.

    Dask would do a lost task again, on the worker that it is bound to, and wait for it for ever.
    """
    if future.status != "finished":
        return None
    try:
        return future.result(timeout=GOODBYE)
    except Exception as error:
        log.debug(f"the result of {future.key} is lost: {error}")
        return None


def _of_dask(error: BaseException) -> bool:
    """Whether Dask itself reports that a task did not run to its end."""
    return type(error).__module__.partition(".")[0] in ("distributed", "dask") or isinstance(
        error, (OSError, TimeoutError)
    )


def _workers(client: "Client") -> set[str]:
    """The addresses of all workers, of which what the client keeps by itself has none at times."""
    scheduler: Any = client.scheduler
    return set(client.sync(scheduler.identity, n_workers=-1)["workers"])


def _differing(versions: Mapping[str, Any]) -> str:
    """The versions of a worker that are not those of this process, in words."""
    mine = worker.versions()
    pairs = ((name, versions.get(name), mine[name]) for name in mine)
    return ", ".join(f"{name} {its}, here {own}" for name, its, own in pairs if its != own)


@functools.cache
def _client(cluster: str) -> "Client":
    """A client of a scheduler, or of a cluster of this machine; both last as long as the process.

    Raises:
        UsageError: Dask is not installed, or as `connect`.
        ClusterError: As `connect`.
    """
    try:
        import dask
        import distributed  # noqa: F401 - asked for by name, as the extra is

        from rmtgen.stages.scheduler import connect
    except ImportError as error:
        raise UsageError(
            f"cluster={cluster} needs Dask: {error}. Install it: pip install 'rmtgen[distributed]'."
        ) from error
    dask.config.set(SETTINGS)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    client = connect(cluster, WAIT)
    log.info(f"{len(_workers(client))} workers; dashboard {client.dashboard_link}")
    return client
