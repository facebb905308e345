"""How float32 numbers are multiplied, by the name of a precision.

| precision | passes | products | rules |
|---|---|---|---|
| ieee | IEEE | IEEE | `rules` |
| split | IEEE | split | `split_rules` |
| fast | TF32 | TF32 | instantiate, and fused of `split_rules` |

Split products run on the tensor cores of a CUDA device, and are emulated on a CPU. Where a device
has none, or Triton is missing or fails, products are IEEE, and a warning says so if others were
asked for by name. Without a name they are split where a CUDA device can, else IEEE.
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
        name: The precision whose products these are.
        multiply: Adds left·rightᵀ to a kernel; see `rules.multiply`.
        rules: The rules of a weight.
    """

    name: str
    multiply: Callable[..., None]
    rules: tuple[Rule, ...]


IEEE = Arithmetic("ieee", multiply, RULES)
_SPLIT = Arithmetic("split", split_multiply, SPLIT_RULES)
_FAST = Arithmetic("fast", multiply, (Instantiate(), Fused()))

PRECISIONS = ("ieee", "split", "fast")
"""The names of all precisions."""


def of_passes(precision: str | None) -> str:
    """The precision of passes, as `rmtgen.device.fp32_precision` takes it.

    Raises:
        UsageError: There is no such precision.
    """
    if precision is not None and (not isinstance(precision, str) or precision not in PRECISIONS):
        raise UsageError(
            f"precision must be one of {', '.join(PRECISIONS)}, or None: got {precision!r:.60}."
        )
    return "tf32" if precision == "fast" else "ieee"


def chosen(
    precision: str | None, kind: str, device: torch.device, dtype: torch.dtype
) -> Arithmetic:
    """The arithmetic of a precision.

    Args:
        precision: Name of the precision; None: the fastest with the accuracy of IEEE products.
        kind: Kind of the device that is chosen for, "cpu" or "cuda".
        device: Device at hand, which is asked for tensor cores if it is of this kind.
        dtype: Type of the gradients.
    """
    emulated = precision == "split"
    if precision == "ieee" or dtype != torch.float32 or (kind != "cuda" and not emulated):
        return IEEE
    reason = refusal(device) if device.type == kind == "cuda" else ""
    if not reason:
        return _FAST if precision == "fast" else _SPLIT
    if precision is not None:
        warn(
            f"products are those of float32, not those of tensor cores, which are faster: {reason}"
            " Pass precision='ieee' to say so."
        )
    return IEEE
