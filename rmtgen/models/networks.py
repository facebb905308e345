"""What a caller hands over as a model: the plain network behind it, its copy, and its first run.

A wrapper runs another module and adds nothing to its function: it compiles it, spreads it over
devices, checkpoints or averages it. Networks whose operations torch hides are refused.
"""

import copy
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from rmtgen.errors import RmtgenError, UsageError

_WRAPPED = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "AveragedModel": "module",  # torch.optim.swa_utils
    "ModelEma": "ema",  # timm
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
    "DeepSpeedEngine": "module",
    "_FabricModule": "_original_module",  # lightning
}
"""Attribute that holds the wrapped module, by the name of the class of the wrapper."""

_QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torchao.",
    "bitsandbytes.",
)
"""Parts of the module names of classes whose weights are packed integers."""

_FLOAT = "Give the float module that it was made from"


def plain(model: Any) -> nn.Module:
    """The module without the wrappers around it.

    Raises:
        UsageError: Not a module, or one whose weights or operations torch hides: TorchScript,
            exported, quantised, sharded, lazy, or on the meta device.
    """
    _require_module(model)
    while (inner := _inner(model)) is not None:
        model = inner
        _require_module(model)
    for name, module in model.named_modules():
        _require_open(module, name)
    for name, parameter in model.named_parameters():
        _require_present(parameter, name)
    return model


def plain_copy(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy of a module, in which wrapped modules take the places of their wrappers.

    Args:
        model: As returned by `plain`.
        memo: Substitutes of tensors by their identity; see `copy.deepcopy`.

    Raises:
        UsageError: The model holds something that cannot be copied.
    """
    try:
        for module in reversed(list(model.modules())):  # the innermost wrappers first
            if (inner := _inner(module)) is not None:
                memo[id(module)] = copy.deepcopy(inner, memo)
        return copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, NotImplementedError) as failure:
        raise UsageError(
            "the model must be one that copy.deepcopy can copy, since the computation must not"
            f" change it: got {type(failure).__name__}: {_first_line(failure)}. Remove what the"
            " model holds beside its modules and tensors."
        ) from failure


def require_runs(model: nn.Module, samples: Shaped[Tensor, "b ..."]) -> None:
    """Refuse a model that raises an exception when it runs on its own.

    Args:
        model: Model that the caller gave.
        samples: b samples.

    Raises:
        UsageError: The model raises an exception other than one of memory.
    """
    try:
        with torch.no_grad():
            model(samples)
    except (RmtgenError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as failure:
        raise UsageError(
            f"the model must accept a batch of the samples, {tuple(samples.shape)} of"
            f" {samples.dtype}: it raises {type(failure).__name__}: {_first_line(failure)}."
            f" {_samples_cure(samples)}"
        ) from failure


def _samples_cure(samples: Tensor) -> str:
    if samples.is_floating_point():
        return "Give samples of the shape that it takes, or a module whose forward takes them."
    return (
        "Integers are given as they are, as tokens: give pictures as floats, by backbone.transform"
        " or divided by 255."
    )


def _inner(module: nn.Module) -> Any:
    """The module inside a wrapper, or None."""
    for kind in type(module).__mro__:
        if kind.__name__ in _WRAPPED:
            return getattr(module, _WRAPPED[kind.__name__], None)
    return None


def _require_module(model: Any) -> None:
    kind = type(model).__name__
    if isinstance(model, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        raise UsageError(
            f"the model must show its operations to torch, got a TorchScript {kind}. Give the"
            " module that it was scripted or traced from."
        )
    if kind == "ExportedProgram" or _is_exported(model):
        raise UsageError(
            f"the model must show its layers to torch, got {kind} of torch.export. Give the module"
            " that it was exported from."
        )
    if isinstance(model, nn.Module):
        return
    if isinstance(getattr(model, "model", None), nn.Module):
        cure = "Give its attribute model."
    elif isinstance(model, type):
        cure = f"Give an instance: {kind if model is nn.Module else model.__name__}(…)."
    else:
        cure = "Put a function of parameters into the forward method of a torch.nn.Module."
    raise UsageError(f"the model must be a torch.nn.Module, got {kind}. {cure}")


def _is_exported(model: Any) -> bool:
    """Whether a module is a graph of ATen operators."""
    return isinstance(model, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes
    )


def _require_open(module: nn.Module, name: str) -> None:
    where = name or "the model"
    kind = type(module)
    if name and (isinstance(module, torch.jit.ScriptModule) or _is_exported(module)):
        raise UsageError(
            f"the model must show its operations to torch: {where} is a {kind.__name__} of"
            " TorchScript or torch.export. Replace it by the module that it was made from."
        )
    if any(part in kind.__module__ for part in _QUANTISED):
        raise UsageError(
            "the model must have float weights, of which there are gradients: got the quantised"
            f" {kind.__name__} as {where}. {_FLOAT}."
        )
    if any(one.__name__ in ("FSDPModule", "FullyShardedDataParallel") for one in kind.__mro__):
        raise UsageError(
            f"the model must hold whole weights in this process: {where} is sharded"
            f" ({kind.__name__}). Load the full state dict into a plain module, and give that."
        )


def _require_present(parameter: Tensor, name: str) -> None:
    kind = type(parameter)
    if nn.parameter.is_lazy(parameter):
        raise UsageError(
            f"the parameters must have shapes: got {kind.__name__} as {name}. Run the lazy module"
            " on one batch before."
        )
    if nn.Parameter not in kind.__mro__:
        raise UsageError(
            f"the parameters must be plain tensors, got {kind.__name__} as {name}. {_FLOAT}, with"
            " whole weights."
        )
    if parameter.is_meta:
        raise UsageError(
            f"the parameters must have values: {name} is on the meta device. Load the weights, or"
            " model.to_empty(device='cpu') and initialise them."
        )
    if parameter.is_complex():
        raise UsageError(
            f"the parameters must be real: got {parameter.dtype} as {name}. Hold its real and"
            " imaginary part in one parameter, and join them by torch.view_as_complex in forward."
        )


def _first_line(failure: BaseException) -> str:
    return (str(failure).splitlines() or [""])[0].rstrip(".")
