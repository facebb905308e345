"""float32 products on CUDA: full precision unless TF32 is asked for."""

import torch

from rmtgen.errors import UsageError


def set_fp32_precision(precision: str) -> None:
    """Set how CUDA multiplies float32 matrices and convolutions, for the whole process.

    Args:
        precision: "ieee" for 24-bit mantissas, "tf32" for 11-bit mantissas on tensor cores.

    Raises:
        UsageError: another word.
    """
    if precision not in ("ieee", "tf32"):
        raise UsageError(f"fp32_precision must be ieee or tf32, got {precision!r}.")
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.conv.fp32_precision = precision
    else:  # torch < 2.9
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
