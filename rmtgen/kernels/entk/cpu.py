"""What the cores of a CPU do best: float32 products of small blocks, each core on its own."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from rmtgen.kernels.entk.divisions import spans

_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_USUAL_CACHE = 2**20

DEEP = 1024
"""Entries of a sum within one product of oneDNN, whose rounding errors grow faster than MKL's."""

HELD = 4
"""Panels of a matrix that are copied at a time."""

TILE = 512
"""Rows and columns of a product of one core."""

CALL = 4_000_000
"""FLOPs of a product in the time of one call of oneDNN."""

Task = TypeVar("Task")


@cache
def cache_bytes() -> int:
    """Size of the second-level cache of one core in bytes; 1 MiB if the system does not tell."""
    try:
        told = _CACHE.read_text().strip()
        return max(2**18, int(told.removesuffix("K")) * 2**10)
    except (OSError, ValueError):
        return _USUAL_CACHE


def multiplied(left: Float[Tensor, "n k"], right: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """left·rightᵀ, by the library that uses all of the vector unit."""
    if by_onednn(left) and left.numel():
        return _onednn(left.contiguous(), right.contiguous())
    return left @ right.T


class Panels:
    """Room for a matrix in contiguous panels of a few columns each, as oneDNN wants them.

    The room is kept for the next matrix, since page faults cost more than the copies.

    Attributes:
        deep: Columns of a panel.
    """

    def __init__(self, like: Float[Tensor, "..."], rows: int, columns: int, deep: int):
        self.deep, self._rows = deep, rows
        self._room = like.new_empty(rows * columns)

    def of(self, columns: int) -> list[Float[Tensor, "n _"]]:
        """The panels of a matrix of at most as many columns as there is room for."""
        rows = self._rows
        return [
            self._room[rows * part.start : rows * part.stop].view(rows, -1)
            for part in spans(slice(0, columns), self.deep)
        ]

    def fill(self, matrix: Float[Tensor, "n p"]) -> list[Float[Tensor, "n _"]]:
        """The panels of a matrix that is copied."""
        panels = self.of(matrix.shape[1])
        for panel, columns in zip(panels, matrix.split(self.deep, dim=1), strict=True):
            panel.copy_(columns)
        return panels


def add_products(
    kernel: Float64[Tensor, "n m"],
    left: Sequence[Float32[Tensor, "n _"]],
    right: Sequence[Float32[Tensor, "m _"]],
    pieces: Iterable[tuple[slice, slice]],
) -> None:
    """Add pieces of the kernel from the panels of two matrices, Σ left·rightᵀ, by oneDNN.

    Each core multiplies tiles of the pieces on its own, and sums the panels in float64.
    """

    def add(tile: tuple[slice, slice]) -> None:
        i, j = tile
        for one, other in zip(left, right, strict=True):
            kernel[i, j] += _onednn(one[i], other[j])

    tiles = [(i, j) for tall, wide in pieces for i in spans(tall, TILE) for j in spans(wide, TILE)]
    side_by_side(add, tiles, len(tiles))


def _onednn(left: Tensor, right: Tensor) -> Tensor:
    """The product by oneDNN of contiguous matrices; of others it is a thousand times slower."""
    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


def linear(
    left: Float[Tensor, "*n k"], right: Float[Tensor, "m k"], bias: Tensor | None = None
) -> Float[Tensor, "*n m"]:
    """left·rightᵀ + bias by oneDNN, which takes either order of a dense right factor."""
    right = right if right.T.is_contiguous() else right.contiguous()
    return torch.ops.mkldnn._linear_pointwise(left.contiguous(), right, bias, "none", [], "")


def by_onednn(matrix: Tensor) -> bool:
    """Whether products of a matrix go to oneDNN."""
    return matrix.dtype == torch.float32 and matrix.device.type == "cpu" and _onednn_is_faster()


@cache
def _onednn_is_faster() -> bool:
    """Whether oneDNN multiplies faster than torch.

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
