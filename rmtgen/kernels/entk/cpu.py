"""What the cores of a CPU do best: float32 products of small blocks, each core on its own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_USUAL_CACHE = 2**20

Task = TypeVar("Task")


@cache
def cache_bytes() -> int:
    """Size of the second-level cache of one core in bytes; 1 MiB if the system does not tell."""
    try:
        told = _CACHE.read_text().strip()
        return max(2**18, int(told.removesuffix("K")) * 2**10)
    except (OSError, ValueError):
        return _USUAL_CACHE


def product(left: Float[Tensor, "n k"], right: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """left·rightᵀ, by the library that uses all of the vector unit."""
    if left.dtype == torch.float32 and left.device.type == "cpu" and left.numel() and _by_onednn():
        return _onednn(left.contiguous(), right.contiguous())
    return left @ right.T


def _onednn(left: Tensor, right: Tensor) -> Tensor:
    """The product by oneDNN of contiguous matrices; of others it is a thousand times slower."""
    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


@cache
def _by_onednn() -> bool:
    """Whether products go to oneDNN.

    MKL, which torch calls, uses vectors of 512 bits on processors of Intel only, and half of the
    unit on others. oneDNN is in torch for convolutions; its product has no public name, and is used
    only where it exists and is right.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or _vendor() == "GenuineIntel":
        return False
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        return torch.equal(_onednn(left, right), left @ right.T)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _vendor() -> str:
    """Vendor of the processor as Linux states it, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    stated = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in stated if key.strip() == "vendor_id"), "")


def side_by_side(work: Callable[[Task], None], tasks: Iterable[Task], most: int) -> None:
    """Do all tasks, each on one core, with as many at once as torch has threads.

    Blocks of one core stay in its own cache, and no core waits for another.

    Args:
        work: Function of a task. It must release the interpreter's lock for most of its time.
        tasks: The tasks, in any order.
        most: Maximum number of tasks at once.
    """
    tasks, threads = list(tasks), torch.get_num_threads()
    at_once = min(threads, len(tasks), most)
    if at_once <= 1:
        for task in tasks:
            work(task)
        return
    inference = torch.is_inference_mode_enabled()

    def alone(task: Task) -> None:
        with torch.inference_mode(inference), torch.no_grad():  # modes belong to a thread
            work(task)

    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(alone, tasks):
                pass
    finally:
        torch.set_num_threads(threads)  # the number for threads to come
