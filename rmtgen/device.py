"""The device of a computation: which one, how much memory it has left, and how it multiplies
float32 matrices.
"""

import contextlib
from collections.abc import Iterator

import psutil
import torch

from rmtgen.errors import UsageError


def default_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, the CPU or a CUDA GPU; without a wish, the GPU where there is one, else
    the CPU.

    Raises:
        UsageError: the name is not a device, or the device is not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as failure:
        raise UsageError(
            f"device must be one that torch knows, such as cpu or cuda:0, got {device!r}."
        ) from failure
    if chosen.type not in ("cpu", "cuda"):  # the others lack float64, or data
        raise UsageError(f"device must be cpu or cuda, which have float64, got {str(device)!r}.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device must be there: {chosen} is not among {torch.cuda.device_count()} CUDA devices."
            " Use device=cpu."
        )
    return chosen


def available(device: torch.device) -> int:
    """Bytes that can be allocated on a device without swapping or failing."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


@contextlib.contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """How CUDA multiplies float32 matrices and convolutions inside the block; what was set before
    comes back after it.

    Args:
        precision: "ieee" for 24-bit mantissas, "tf32" for 11-bit mantissas on tensor cores.

    Raises:
        UsageError: another word.
    """
    if precision not in ("ieee", "tf32"):
        raise UsageError(f"fp32_precision must be ieee or tf32, got {precision!r}.")
    owners, name, value = (
        (torch.backends.cuda.matmul, torch.backends.cudnn.conv),
        "fp32_precision",
        precision,
    )
    if not hasattr(torch.backends, name):  # torch < 2.9
        owners, name, value = (
            (torch.backends.cuda.matmul, torch.backends.cudnn),
            "allow_tf32",
            precision == "tf32",
        )
    before = [getattr(owner, name) for owner in owners]
    try:
        for owner in owners:
            setattr(owner, name, value)
        yield
    finally:
        for owner, earlier in zip(owners, before, strict=True):
            setattr(owner, name, earlier)
