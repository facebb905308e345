"""float32 products on CUDA: full precision unless TF32 is asked for."""

import contextlib
from collections.abc import Iterator

import torch

from rmtgen.errors import UsageError


@contextlib.contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """How CUDA multiplies float32 matrices and convolutions inside the block; what was set before comes back after it.

    Args:
        precision: "ieee" for 24-bit mantissas, "tf32" for 11-bit mantissas on tensor cores.

    Raises:
        UsageError: another word.
    """
    if precision not in ("ieee", "tf32"):
        raise UsageError(f"fp32_precision must be ieee or tf32, got {precision!r}.")
    owners, name, value = (torch.backends.cuda.matmul, torch.backends.cudnn.conv), "fp32_precision", precision
    if not hasattr(torch.backends, name):  # torch < 2.9
        owners, name, value = (torch.backends.cuda.matmul, torch.backends.cudnn), "allow_tf32", precision == "tf32"
    before = [getattr(owner, name) for owner in owners]
    try:
        for owner in owners:
            setattr(owner, name, value)
        yield
    finally:
        for owner, earlier in zip(owners, before, strict=True):
            setattr(owner, name, earlier)
