"""The compute device: its choice, its free memory, and its precision of float32 products."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from rmtgen.errors import UsageError
from rmtgen.memory import tightest


def default_device(device: str | torch.device | None = None) -> torch.device:
    """The requested device; without a request, the current CUDA GPU if there is one, else the CPU.

    Args:
        device: A CPU or CUDA device, or None.

    Raises:
        UsageError: The name is not a CPU or CUDA device, or the machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device) if isinstance(device, (str, torch.device)) else None
    except RuntimeError:
        chosen = None
    if chosen is None:
        raise UsageError(
            f"device must be one that torch knows, such as cpu or cuda:0, got {device!r:.60}."
        )
    if chosen.type not in ("cpu", "cuda"):  # other types lack float64 or storage
        raise UsageError(f"device must be cpu or cuda, which have float64, got {str(device)!r}.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device must exist: {chosen} is not among {torch.cuda.device_count()} CUDA devices."
            " Use device=cpu."
        )
    return chosen


def available(device: torch.device) -> int:
    """Number of bytes that can be allocated on a device without swapping or failing.

    On the CPU limits of the process, of its control groups and of its job count.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return tightest().free


@contextlib.contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """Set the precision of float32 products and convolutions on CUDA within a `with` block.

    The previous settings are restored on exit.

    Args:
        precision: "ieee" for 24-bit significands, "tf32" for 11-bit significands on tensor cores.

    Raises:
        UsageError: `precision` is neither of the two.
    """
    if not isinstance(precision, str) or precision not in ("ieee", "tf32"):
        raise UsageError(f"fp32_precision must be ieee or tf32, got {precision!r:.60}.")
    backends: Any = torch.backends  # its attributes differ between versions
    matmul, cudnn = backends.cuda.matmul, backends.cudnn
    owners: tuple[Any, Any]
    value: str | bool
    if hasattr(backends, "fp32_precision"):
        owners, name, value = (matmul, cudnn.conv), "fp32_precision", precision
    else:  # torch < 2.9
        owners, name, value = (matmul, cudnn), "allow_tf32", precision == "tf32"
    before = [getattr(owner, name) for owner in owners]
    try:
        for owner in owners:
            setattr(owner, name, value)
        yield
    finally:
        for owner, earlier in zip(owners, before, strict=True):
            setattr(owner, name, earlier)
