"""The machine of a benchmark: its processor, and the rate of its matrix products.

A rate is the largest of the repetitions. It varies with the temperature and the neighbours of a
processor, so that `Peak` measures it again beside every figure that is set against it.
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

FEATURES = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 BF16": "avx512_bf16",
    "AMX": "amx_tile",
    "AMX BF16": "amx_bf16",
}
"""Instructions for products, by their names among the flags of Linux."""


def describe() -> str:
    """Processor, its instructions for products, threads, and torch."""
    flags, model = processor()
    has = [name for name, flag in FEATURES.items() if flag in flags]
    lacks = [name for name, flag in FEATURES.items() if flag not in flags]
    known = f"with {', '.join(has) or 'none of its kind'}, without {', '.join(lacks) or 'none'}"
    return (
        f"{model} {known if flags else ''}; {torch.get_num_threads()} threads,"
        f" torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
    )


def processor() -> tuple[set[str], str]:
    """Flags and model of the processor; no flags where the system does not tell."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return set(), platform.processor() or platform.machine()
    told = dict(
        (part.strip() for part in line.split(":", 1))
        for line in path.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    flags = set(told.get("flags", told.get("Features", "")).split())
    return flags, told.get("model name", platform.machine())


def gemm(
    dtype: torch.dtype = torch.float32,
    size: int = 3072,
    repeats: int = 4,
    product: Callable = torch.mm,
) -> float:
    """FLOPs per second of a product of square matrices."""
    square = torch.randn(size, size, dtype=dtype)
    product(square, square)
    return 2 * size**3 / min(timed(lambda: product(square, square))[0] for _ in range(repeats))


class Peak:
    """The rate of a float32 product before and after a piece of work, the larger of the two."""

    def __enter__(self) -> "Peak":
        self.rate = gemm()
        return self

    def __exit__(self, *failure: object) -> None:
        self.rate = max(self.rate, gemm())


def timed(work):
    """Seconds and result of a call."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found
