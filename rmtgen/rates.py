"""The measured speed of a device, corrected for whatever else runs on it."""

import time
from collections.abc import Callable
from functools import cached_property

import torch

PROBE = 1024
"""Edge of the matrices whose product is timed."""
LONG = 0.2
"""Seconds from which on work is timed once."""
SHORTEST = 0.1
"""Seconds of processor time that a measurement takes at least."""
BUSY = 1.2
"""Wall time over processor time from which on a machine counts as busy with other work."""
THREADED = 0.9
"""Share of the threads' rate that a parallel product reaches, where it cannot be measured."""


class Rates:
    """Measured speed of a device, corrected for whatever else runs on it.

    On a busy machine the wall time of a threaded product says more about the scheduler than about
    the product, so it is replaced by the processor time of one thread over the number of threads.

    Attributes:
        device: The device.
        stretch: Wall time of the last measurement over what it would be with nothing else to do.
    """

    def __init__(self, device: torch.device):
        self.device, self.stretch = device, 1.0
        self._wall = self._processor = 0.0

    @property
    def load(self) -> float:
        """Wall time over processor time of all single-threaded measurements so far, at least 1."""
        return max(1.0, self._wall / self._processor) if self._processor else 1.0

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds that `work` takes on the device with nothing else to do."""
        work()  # warm-up
        if self.device.type == "cuda":
            return min(self._timed(work), self._timed(work))
        threads, threaded = torch.get_num_threads(), self._timed(work)
        if threaded < LONG:
            threaded = min(threaded, self._timed(work))
        wall, processor = self._single(work)
        self._wall, self._processor = self._wall + wall, self._processor + processor
        # one measurement may find the machine idle by chance
        busy = max(wall / processor, self.load) >= BUSY
        share = threads * THREADED if busy and threads > 1 else 1
        found = min(threaded, processor / share)
        self.stretch = threaded / found
        return found

    def product(self, dtype: torch.dtype = torch.float64) -> float:
        """Operations per second of a product of two square matrices of `dtype`."""
        if dtype not in self._products:
            square = torch.ones(PROBE, PROBE, dtype=dtype, device=self.device)
            self._products[dtype] = 2.0 * PROBE**3 / self.seconds(lambda: square @ square)
        return self._products[dtype]

    @cached_property
    def _products(self) -> dict[torch.dtype, float]:
        return {}

    def _timed(self, work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def _single(self, work: Callable[[], object]) -> tuple[float, float]:
        """Wall and processor seconds of `work` in one thread, repeated until they can be read."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            started, used, count = time.perf_counter(), time.thread_time(), 0
            while not count or time.thread_time() - used < SHORTEST:
                work()
                count += 1
            return (time.perf_counter() - started) / count, (time.thread_time() - used) / count
        finally:
            torch.set_num_threads(threads)
