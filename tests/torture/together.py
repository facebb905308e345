"""Attacks on processes that share the work of a run: shares, and the workers of a Dask cluster."""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import random
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from rmtgen.stages import placement
from tests.torture.attacks import IDENTICAL, NAMED, WRONG, Verdict, arm
from tests.torture.processes import Ended, Reference, done, ended, is_over, start

SHARES = 3
DIVIDED = ("extract", "gram", "spectrum", "risk")
PATIENCE = 2.0
"""Seconds after which a unit of a hanging worker is given to another one here."""


def shares_killed(reference: Reference, folder: Path, number: int) -> Verdict:
    """Shares that are computed at once and killed at random, and then a run that gathers all."""
    return _shares(reference, folder, number, share_of_kills=0.7)


def shares_without_flock(reference: Reference, folder: Path, number: int) -> Verdict:
    """The same on a file system without locks."""
    return _shares(reference, folder, number, share_of_kills=0.5, prepare=_refuse_flock)


def shares_skewed(reference: Reference, folder: Path, number: int) -> Verdict:
    """Shares whose files carry times that are hours off, as from machines with other clocks."""
    rng = random.Random(number)

    def skew() -> None:
        for path in (folder / "output").rglob("*"):
            shift = rng.randint(-8 * 3600, 8 * 3600)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (time.time() + shift,) * 2)

    return _shares(reference, folder, number, share_of_kills=0.0, between=skew)


def _shares(  # noqa: PLR0913 - one attack in three variants
    reference: Reference,
    folder: Path,
    number: int,
    *,
    share_of_kills: float,
    prepare: Callable[[], None] = lambda: None,
    between: Callable[[], None] = lambda: None,
) -> Verdict:
    rng, hits = random.Random(number), 0
    words = reference.begin(folder)
    for stage in DIVIDED:
        command = ["run", "--stage", stage, *words[3:]]
        logs = [folder / f"log {stage} {index}" for index in range(1, SHARES + 1)]
        pids = [
            start([*command, f"shard={index}/{SHARES}"], log, prepare)
            for index, log in enumerate(logs, 1)
        ]
        time.sleep(rng.uniform(0, reference.seconds / 2))
        for pid in pids:
            if rng.random() < share_of_kills:
                os.kill(pid, signal.SIGKILL)
        for pid, log in zip(pids, logs, strict=True):
            end = ended(pid, log)
            hits += end.code == -signal.SIGKILL
            if end.code not in (0, -signal.SIGKILL):
                return Verdict(WRONG, f"a share of {stage}: {end}", hits)
        between()
        end = done(command, folder / f"log {stage}", prepare)
        if end.code:
            return Verdict(WRONG, f"gathering {stage}: {end}", hits)
        between()
    return compared(reference, folder, max(1, hits), prepare)


def compared(
    reference: Reference, folder: Path, hits: int, prepare: Callable[[], None] = lambda: None
) -> Verdict:
    """Run to the end in one process, and compare."""
    end = done(reference.command(folder / "output"), folder / "log of the last run", prepare)
    if end.code:
        return Verdict(WRONG, f"does not resume: {end}", hits)
    difference = reference.difference(folder / "output")
    return Verdict(WRONG if difference else IDENTICAL, difference or "", hits)


def _refuse_flock() -> None:
    def flock(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = flock


class Cluster:
    """A scheduler and two workers, each a forked process.

    Attributes:
        address: That of the scheduler.
        workers: Numbers of the processes of the workers.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1"):
        self.folder, self.host, self.pids, self.count = folder, host, set(), 0
        self.scheduler = self._fork(_scheduler, folder / "address", host)
        self.address = _awaited(folder / "address")
        self.workers = [self.worker() for _ in range(2)]

    def worker(self, prepare: Callable[[], None] = lambda: None, host: str | None = None) -> int:
        """Start one more worker, which calls `prepare` first."""
        return self._fork(_worker, self.address, host or self.host, prepare)

    def _fork(self, target: Callable, *arguments: object) -> int:
        self.count += 1
        log = os.open(self.folder / f"process {self.count}", os.O_CREAT | os.O_WRONLY)
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(log, 1)
                os.dup2(log, 2)
                logging.getLogger("distributed").setLevel(logging.CRITICAL)
                target(*arguments)
            except BaseException:  # noqa: BLE001 - for the log
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(log)
        self.pids.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """Kill a process and reap it."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.pids.discard(pid)

    def close(self) -> None:
        """Kill all that are left."""
        for pid in list(self.pids):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                self.kill(pid)


@contextlib.contextmanager
def cluster_of(folder: Path, host: str = "127.0.0.1") -> Iterator[Cluster]:
    """A cluster that is there for as long as the context."""
    cluster = Cluster(folder, host)
    try:
        yield cluster
    finally:
        cluster.close()


def _awaited(path: Path) -> str:
    """The content of a file that another process is about to write."""
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return path.read_text()


def _scheduler(path: Path, host: str) -> None:
    from distributed import Scheduler

    from rmtgen.stages.cluster import SETTINGS

    async def serve() -> None:
        import dask

        dask.config.set(SETTINGS)
        async with Scheduler(host=host, port=0, dashboard=False) as scheduler:
            path.with_suffix(".new").write_text(scheduler.address)
            path.with_suffix(".new").replace(path)
            await scheduler.finished()

    asyncio.run(serve())


def _worker(address: str, host: str, prepare: Callable[[], None]) -> None:
    from distributed import Worker

    prepare()

    async def serve() -> None:
        options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "host": host}
        async with Worker(address, **options) as worker:
            await worker.finished()

    asyncio.run(serve())


def _impatient() -> None:
    placement.LEAST_PATIENCE = placement.PATIENCE = PATIENCE


def begin(reference: Reference, folder: Path, cluster: Cluster, name: str = "client") -> int:
    """Start a client of a cluster, which is not patient; its pid."""
    words = [*reference.command(folder / "output"), f"cluster={cluster.address}"]
    return start(words, folder / f"log of {name}", _impatient)


def workers_killed(reference: Reference, folder: Path, number: int) -> Verdict:
    """Workers killed at random, each followed by another one; at times the scheduler."""
    rng, hits = random.Random(number), 0
    for attempt in range(3):
        place = folder / f"cluster {attempt}"
        place.mkdir()
        with cluster_of(place) as cluster:
            client = begin(reference, folder, cluster)
            end, struck = _harassed(cluster, client, folder, rng)
        hits += struck
        if end.code == 0:
            break
        if not end.named:
            return Verdict(WRONG, f"client: {end}", hits)
    return compared(reference, folder, max(1, hits))


def _harassed(cluster: Cluster, client: int, folder: Path, rng: random.Random) -> tuple[Ended, int]:
    """Kill until the client ends; how it ended, and the number of kills."""
    hits = 0
    while not is_over(client):
        time.sleep(rng.uniform(0.05, 1.0))
        if hits > 12:  # noqa: PLR2004 - so that it ends
            continue
        if rng.random() < 0.05 and cluster.scheduler in cluster.pids:  # noqa: PLR2004
            cluster.kill(cluster.scheduler)
        else:
            victim = rng.randrange(len(cluster.workers))
            cluster.kill(cluster.workers[victim])
            cluster.workers[victim] = cluster.worker()
        hits += 1
    return ended(client, folder / "log of client"), hits


def worker_hangs(reference: Reference, folder: Path, number: int) -> Verdict:
    """One of two workers is stopped in the middle, and goes on when the run has ended."""
    rng = random.Random(number)
    with cluster_of(folder) as cluster:
        client = begin(reference, folder, cluster)
        time.sleep(rng.uniform(0.5, 0.5 + reference.seconds))
        os.kill(cluster.workers[0], signal.SIGSTOP)
        end = ended(client, folder / "log of client")
        os.kill(cluster.workers[0], signal.SIGCONT)
        time.sleep(0.5)
    if not end.named:
        return Verdict(WRONG, f"client: {end}")
    verdict = compared(reference, folder, 1)
    return Verdict(NAMED) if end.code and verdict.outcome == IDENTICAL else verdict


def worker_disk(reference: Reference, folder: Path, number: int) -> Verdict:
    """The calls of one of two workers fail from a random one on."""
    rng, output = random.Random(number), folder / "output"
    output.mkdir()
    code, nth = rng.choice((errno.ENOSPC, errno.EIO)), rng.randint(1, 60)

    with cluster_of(folder) as cluster:
        cluster.kill(cluster.workers[0])
        cluster.worker(lambda: arm(output, nth, code, lasting=True))
        end = ended(begin(reference, folder, cluster), folder / "log of client")
    if not end.named:
        return Verdict(WRONG, f"call {nth}: client: {end}")
    verdict = compared(reference, folder, 1)
    return Verdict(NAMED) if end.code and verdict.outcome == IDENTICAL else verdict


def started_twice(reference: Reference, folder: Path, _number: int) -> Verdict:
    """Two clients of one run at the same time."""
    with cluster_of(folder) as cluster:
        clients = {name: begin(reference, folder, cluster, name) for name in ("one", "other")}
        ends = [ended(pid, folder / f"log of {name}") for name, pid in clients.items()]
    bad = [end for end in ends if not end.named]
    if bad:
        return Verdict(WRONG, str(bad[0]))
    return compared(reference, folder, 1)


def network_cut(reference: Reference, folder: Path, number: int) -> Verdict:
    """The network of one of two workers is cut in the middle; it has a namespace of its own."""
    rng, name = random.Random(number), f"rmtgen{os.getpid()}"
    with _namespace(name) as (here, there), cluster_of(folder, here) as cluster:
        cluster.kill(cluster.workers[0])
        cluster.worker(lambda: _enter(name), there)
        client = begin(reference, folder, cluster)
        time.sleep(rng.uniform(0.5, 0.5 + reference.seconds))
        _ip("link", "set", name[:15], "down")
        end = ended(client, folder / "log of client")
    if not end.named:
        return Verdict(WRONG, f"client: {end}")
    verdict = compared(reference, folder, 1)
    return Verdict(NAMED) if end.code and verdict.outcome == IDENTICAL else verdict


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[tuple[str, str]]:
    """A network namespace; the addresses of both ends of the link to it."""
    net, link = f"10.213.{os.getpid() % 250}", name[:15]
    _ip("netns", "add", name)
    try:
        _ip("link", "add", link, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("addr", "add", f"{net}.1/24", "dev", link)
        _ip("link", "set", link, "up")
        for device in ("lo", "far"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "addr", "add", f"{net}.2/24", "dev", "far")
        yield f"{net}.1", f"{net}.2"
    finally:
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _enter(name: str) -> None:
    """Move this process to a network namespace."""
    namespace = os.open(f"/run/netns/{name}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "setns")


def has_namespaces() -> bool:
    """Whether this user may make network namespaces."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"rmtgen{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return made.returncode == 0
