"""The way to the scheduler of a cluster: one that is there, or one of a cluster of this machine.

What is at an address is asked who it is before a client of Dask is made: where a client meets
something else, its errors speak of other things, or it waits.
"""

import atexit
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

import distributed
import torch
from distributed import Client, Nanny, Scheduler, Security, SpecCluster
from distributed.core import rpc
from distributed.utils import LoopRunner, sync
from tornado.ioloop import IOLoop

from rmtgen.errors import ClusterError, RmtgenError, UsageError
from rmtgen.stages import worker

LEEWAY = 5.0
"""Seconds beyond those that a scheduler is waited for, in which Dask says what was wrong."""
MOST_A_CORE = 4
"""Workers that share a core at most: each is a process with a PyTorch of its own."""


def connect(cluster: str, wait: float) -> Client:
    """A client of a scheduler, or of a cluster of this machine; both last as long as the process.

    Args:
        cluster: Number of workers, or address of a scheduler.
        wait: Seconds that a scheduler is waited for.

    Raises:
        UsageError: There are fewer GPUs than workers, or far fewer cores.
        ClusterError: There is no scheduler that this process can use, or none can be started.
    """
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(_loop())
        try:
            if not cluster.isdigit():
                _require_scheduler(cluster, wait, loop)
            with _interrupted_later():
                target = cluster
                if cluster.isdigit():
                    target = stack.enter_context(_local(int(cluster), loop))
                client = Client(target, timeout=wait, set_as_default=False, loop=loop)
                stack.enter_context(client)
        except RmtgenError:
            raise
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            raise ClusterError(f"cluster={cluster} cannot be used: {_line(error)}.") from error
        atexit.register(stack.pop_all().close)
    return client


@contextlib.contextmanager
def _loop() -> Iterator[IOLoop]:
    """The loop of all that Dask does in this process, in a thread of its own.

    Ctrl-C is for the main thread. Processes that this thread starts are given no interrupt either:
    a terminal sends it to all, and workers are ended by their cluster.
    """
    runner = LoopRunner()
    resource_tracker.ensure_running()  # where a thread starts it, interrupts are let through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield runner.loop
    finally:
        runner.stop()


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Keep an interrupt until the end: a start that is cut short leaves processes, and waits.

    A second one acts at once.
    """
    before, came = signal.getsignal(signal.SIGINT), threading.Event()

    def keep(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        came.set()

    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came.is_set():
        raise KeyboardInterrupt


def _require_scheduler(address: str, wait: float, loop: IOLoop) -> None:
    """Ask what is at an address for its version.

    Raises:
        ClusterError: There is no scheduler, it wants a certificate, or it has another version.
    """
    try:
        found = sync(loop, _version, address, wait, callback_timeout=wait + LEEWAY)
    except TypeError as error:  # of an address of TLS without a context of TLS
        raise ClusterError(
            f"{address} needs certificates: {_line(error)}. Give them by"
            " DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY."
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address}: {_line(error)}. Start one, or give the"
            " address it prints; one with certificates has an address of tls://."
        ) from error
    if found != distributed.__version__:
        raise ClusterError(
            f"the scheduler at {address} must have the version of distributed that is here:"
            f" expected {distributed.__version__}, got {found}. Install the same version on all"
            " machines."
        )


async def _version(address: str, wait: float) -> str:
    """The version of `distributed` of the scheduler at an address."""
    arguments = Security().get_connection_args("client")
    async with rpc(address, timeout=wait, connection_args=arguments) as there:
        packages = (await there.versions())["packages"]
    return dict(packages)["distributed"]


def _line(error: BaseException) -> str:
    """What an error says, in one line and without its stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _local(count: int, loop: IOLoop) -> SpecCluster:
    """A cluster of this machine: a worker a GPU, or a group of cores each, bound to loopback."""
    workers = {
        number: {
            "cls": Nanny,
            "options": {"nthreads": 1, "host": "127.0.0.1", "env": environment, "memory_limit": 0},
        }
        for number, environment in enumerate(_environments(count))
    }
    address = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": address}
    quiet = logging.CRITICAL
    return SpecCluster(workers=workers, scheduler=scheduler, loop=loop, silence_logs=quiet)


def _environments(count: int) -> list[dict[str, str]]:
    """The variables that give each worker its device or its cores.

    Raises:
        UsageError: There are fewer GPUs than workers, or far fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    if gpus := torch.cuda.device_count():
        if count > gpus:
            raise UsageError(f"cluster must be at most the number of GPUs, {gpus}: got {count}.")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return [{"CUDA_VISIBLE_DEVICES": visible[number]} for number in range(count)]
    if count > MOST_A_CORE * len(cores):
        raise UsageError(
            f"cluster must be at most {MOST_A_CORE * len(cores)} on {len(cores)} cores: got"
            f" {count}. Start workers on other machines, or ask for fewer."
        )
    each = max(1, len(cores) // count)
    starts = [number * each % len(cores) for number in range(count)]  # more workers share cores
    groups = [",".join(map(str, cores[start : start + each])) for start in starts]
    return [{"OMP_NUM_THREADS": str(each), worker.CORES: group} for group in groups]
