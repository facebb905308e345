"""The state of torch and NumPy that a caller may have changed, set aside while a function runs.

Autocast, inference mode, a default type or device, reduced precision of products, deterministic
algorithms, kernels of attention, modes that intercept calls, and the error state of NumPy change
results or end them. A function under `untouched` runs with the state of a fresh interpreter, gives
the same bits whatever its caller has set, and leaves that as it was.

The number of threads stays as it is: sums in other orders differ in their last digits.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""What a fresh interpreter does on floating-point errors."""


@dataclass(frozen=True)
class _Setting:
    """A setting of torch: how it is read and written, and its value in a fresh interpreter."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    fresh: Any


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Run a `with` block with the settings of a fresh interpreter, and restore the caller's."""
    with ExitStack() as restore:
        if np.geterr() != _NUMPY_ERRORS:
            restore.enter_context(np.errstate(**_NUMPY_ERRORS))  # type: ignore[arg-type]
        if "torch" in sys.modules:  # else nobody can have changed its state
            _set_torch_aside(restore)
        yield


def _set_torch_aside(restore: ExitStack) -> None:
    import torch
    from torch.utils import _python_dispatch

    if torch._C._len_torch_function_stack():
        restore.enter_context(_without_function_modes())
    if torch._C._len_torch_dispatch_stack():
        restore.enter_context(_python_dispatch._disable_current_modes())
    if torch.is_inference_mode_enabled():
        restore.enter_context(torch.inference_mode(mode=False))
    for setting in _settings():
        before = setting.read()
        if before != setting.fresh:
            restore.callback(setting.write, before)
            setting.write(setting.fresh)


@contextlib.contextmanager
def _without_function_modes() -> Iterator[None]:
    """Without modes that intercept calls of torch; a default device is one of them."""
    from torch._C import (
        _len_torch_function_stack,
        _pop_torch_function_stack,
        _push_on_torch_function_stack,
    )

    modes = [_pop_torch_function_stack() for _ in range(_len_torch_function_stack())]
    try:
        yield
    finally:
        for mode in reversed(modes):
            _push_on_torch_function_stack(mode)


@cache
def _settings() -> tuple[_Setting, ...]:
    """Every setting that is a value, in the order in which it is read."""
    import torch

    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    switches = [
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        (cuda.math_sdp_enabled, cuda.enable_math_sdp),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
        (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    ]
    return (
        *(_autocast(device) for device in ("cpu", "cuda")),
        _Setting(torch.is_grad_enabled, torch._C._set_grad_enabled, True),
        _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        _Setting(
            torch.get_deterministic_debug_mode, lambda mode: _set_deterministic(mode), fresh=0
        ),
        _Setting(
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda pair: torch.set_anomaly_enabled(*pair),
            (False, True),
        ),
        *(_Setting(read, write, fresh=True) for read, write in switches),
        *(
            _attribute(cudnn, name, fresh=value)
            for name, value in (("benchmark", False), ("deterministic", False))
        ),
        *_products(),
    )


def _autocast(device: str) -> _Setting:
    import torch

    return _Setting(
        lambda: torch.is_autocast_enabled(device),
        lambda enabled: torch.set_autocast_enabled(device, enabled),
        fresh=False,
    )


def _set_deterministic(mode: int) -> None:
    import torch

    torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


def _attribute(owner: Any, name: str, *, fresh: Any) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), fresh)


def _products() -> list[_Setting]:
    """The precision of float32 products on the CPU; for CUDA see `device.fp32_precision`."""
    import torch

    library: Any = torch.backends.mkldnn
    if not hasattr(library, "matmul"):  # torch < 2.9
        return [
            _Setting(
                torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
            )
        ]
    owners = (library.matmul, library.conv, library.rnn)
    return [_full(owner) for owner in owners]


def _full(owner: Any) -> _Setting:
    """All 24 bits; to inherit none of the reduced precisions is the same."""

    def reduced() -> str | None:
        precision = owner.fp32_precision
        return None if precision in ("none", "ieee") else precision

    def write(precision: str | None) -> None:
        owner.fp32_precision = precision or "ieee"

    return _Setting(reduced, write, fresh=None)
