"""How float32 numbers are multiplied, by the name of a precision.

| precision | passes | products | rules |
|---|---|---|---|
| ieee | IEEE | IEEE | `rules` |
| split | IEEE | split | `split_rules` |
| fast | TF32 | TF32 | instantiate, and fused of `split_rules` |

Split products run on the tensor cores of a CUDA device, and are emulated on a CPU. Where a device
has none, or Triton is missing or fails, a warning says so, and products are IEEE.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rmtgen.errors import UsageError, warn
from rmtgen.kernels.entk.rules import RULES, Instantiate, Rule, multiply
from rmtgen.kernels.entk.split_rules import SPLIT_RULES, Fused, refusal, split_multiply


@dataclass(frozen=True)
class Arithmetic:
    """A way to multiply gradients.

    Attributes:
        multiply: Adds left·rightᵀ to a kernel; see `rules.multiply`.
        rules: The rules of a weight.
    """

    multiply: Callable[..., None]
    rules: tuple[Rule, ...]


IEEE = Arithmetic(multiply, RULES)
_SPLIT = Arithmetic(split_multiply, SPLIT_RULES)
_FAST = Arithmetic(multiply, (Instantiate(), Fused()))

_PRECISIONS = ("ieee", "split", "fast")


def of_passes(precision: str) -> str:
    """The precision of passes, as `rmtgen.device.fp32_precision` takes it.

    Raises:
        UsageError: There is no such precision.
    """
    if not isinstance(precision, str) or precision not in _PRECISIONS:
        raise UsageError(
            f"precision must be one of {', '.join(_PRECISIONS)}, got {precision!r:.60}."
        )
    return "tf32" if precision == "fast" else "ieee"


def chosen(precision: str, kind: str, device: torch.device, dtype: torch.dtype) -> Arithmetic:
    """The arithmetic of a precision.

    Args:
        precision: Name of the precision.
        kind: Kind of the device that is chosen for, "cpu" or "cuda".
        device: Device at hand, which is asked for tensor cores if it is of this kind.
        dtype: Type of the gradients.
    """
    emulated = precision == "split"
    if precision == "ieee" or dtype != torch.float32 or (kind != "cuda" and not emulated):
        return IEEE
    reason = refusal(device) if device.type == kind == "cuda" else ""
    if reason:
        warn(
            f"products are those of float32, not those of tensor cores, which are faster: {reason}"
            " Pass precision='ieee' to say so."
        )
        return IEEE
    return _FAST if precision == "fast" else _SPLIT
