"""One architecture of timm: the smallest image that it accepts, and its kernel beside autograd."""

import gc
import time
import warnings
from dataclasses import dataclass

import timm
import torch
from timm.models._registry import _model_to_module
from torch import Tensor, nn

from rmtgen import load_backbone
from rmtgen.errors import RmtgenError
from rmtgen.kernels.entk import Entk

SAMPLES = 3
SIZES = (32, 28, 56, 64, 84, 96, 112, 128, 160, 192, 224, 240, 256, 288, 336, 384, 448, 512)
"""Sides of an image in pixels, the fastest first. The size of the data config comes after them."""

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest relative distance (Frobenius norm) from autograd of a kernel that counts as right."""

FIXED_BYTES = 2**30
"""Memory of a process without a network."""

FIELDS = ("name", "family", "verdict", "reason", "error", "dtype", "pixels", "million", "seconds")


@dataclass(frozen=True)
class Measured:
    """What a network needs.

    Attributes:
        pixels: Sizes that its layers accept, the first ones of `SIZES`.
        parameters: Number of its parameters.
        activations: Entries of the outputs of all its layers for one image of the first size.
    """

    pixels: tuple[int, ...]
    parameters: int
    activations: int

    def bytes(self, dtype: torch.dtype) -> int:
        """Estimated peak memory of a check: weights, copies, gradients and passes."""
        item = torch.finfo(dtype).bits // 8
        return FIXED_BYTES + item * (14 * self.parameters + 20 * SAMPLES * self.activations)


def family(name: str) -> str:
    """The module of timm that defines an architecture."""
    return _model_to_module[name]


def measure(name: str) -> Measured:
    """The sizes of images that a network accepts, and its size, without memory for its weights."""
    default = timm.get_pretrained_cfg(name).input_size[1]
    sizes = [size for size in SIZES if size < default] + [default]
    fitting, parameters, activations = [], 0, 0
    for size in sizes:
        try:
            found = _on_meta(name, size)
        except Exception:  # noqa: S112 - each network refuses a size in its own way
            continue
        if not fitting:
            parameters, activations = found
        fitting.append(size)
        if len(fitting) == 3:
            break
    if not fitting:  # not built on the meta device: try for real, large ones last
        return Measured(tuple(sizes), 0, 0)
    return Measured(tuple(fitting), parameters, activations)


def _on_meta(name: str, size: int) -> tuple[int, int]:
    config = timm.get_pretrained_cfg(name)
    built = {"img_size": size} if config.fixed_input_size else {}
    with torch.device("meta"), torch.inference_mode():
        model = timm.create_model(name, num_classes=0, **built).eval()
        entries = []

        def note(_module: nn.Module, _inputs: tuple, output: object) -> None:
            entries.extend([output.numel()] if isinstance(output, Tensor) else [])

        for module in model.modules():
            if not any(module.children()):
                module.register_forward_hook(note)
        model(torch.empty(1, *config.input_size[:1], size, size))
    return sum(parameter.numel() for parameter in model.parameters()), sum(entries)


def check(name: str, pixels: tuple[int, ...], dtype: torch.dtype) -> dict[str, object]:
    """The row of an architecture: the verdict on its kernel, and the distance from autograd.

    Verdicts: "works"; "falls back" (some or all gradients by torch.func or sample by sample);
    "refused" (one line); "wrong"; "fault" (any other exception); "not built" (timm or its network
    refuses every size).
    """
    start = time.perf_counter()
    row = dict.fromkeys(FIELDS, "") | {"name": name, "family": family(name)}
    try:
        model, images, size = _network(name, pixels, dtype)
    except Exception as failure:  # whatever a network raises
        return row | {"verdict": "not built", "reason": _line(failure)}
    row |= {
        "dtype": str(dtype).removeprefix("torch."),
        "pixels": size,
        "million": f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}",
    }
    row |= _verdict(model, images, dtype)
    del model
    gc.collect()
    return row | {"seconds": f"{time.perf_counter() - start:.1f}"}


def _verdict(model: nn.Module, images: Tensor, dtype: torch.dtype) -> dict[str, object]:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            entk = Entk(model, images, device="cpu", memory="64GiB")
            kernel = entk.block(range(len(images)), range(len(images))).double()
    except RmtgenError as refusal:
        return {"verdict": "refused", "reason": _line(refusal)}
    except Exception as fault:  # a traceback is what the sweep looks for
        return {"verdict": "fault", "reason": _line(fault)}
    capture = entk.passes.capture
    by = "sample by sample" if getattr(capture, "alone", False) else "torch.func"
    reason = f"{len(capture.fallback)} parameters {by}" if capture.fallback else ""
    reason = "; ".join([*([reason] if reason else []), *{_line(one.message) for one in told}])
    del entk, capture
    expected = reference(model, images)
    error = float((kernel - expected).norm() / expected.norm())
    right = error <= TOLERANCE[dtype]
    verdict = ("falls back" if reason.split(";")[0].endswith(by) else "works") if right else "wrong"
    return {"verdict": verdict, "reason": reason, "error": f"{error:.1e}"}


def reference(model: nn.Module, images: Tensor) -> Tensor:
    """The kernel by autograd, each sample twice in a batch of two.

    torch 2.14 gives wrong gradients to a batch of one of some models.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for image in images:
        model.train().eval()  # some cache position biases with their graph, which is freed
        output = model(torch.stack([image, image]))[0, 0]
        rows.append(torch.autograd.grad(output, parameters, materialize_grads=True))
    kernel = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for gradients in zip(*rows, strict=True):
        jacobian = torch.stack([gradient.flatten() for gradient in gradients])
        for part in jacobian.split(2**22, dim=1):
            # A float32 sum over a hundred million entries is off by 5e-3.
            kernel += part.double() @ part.double().T
    return kernel


def _network(
    name: str, pixels: tuple[int, ...], dtype: torch.dtype
) -> tuple[nn.Module, Tensor, int]:
    """A random network with a random head and images of the first size with a finite output."""
    failure: Exception = ValueError("no size of an image gives a finite output that varies")
    for size in pixels:
        try:
            backbone = load_backbone(name, init="random", head="random", img_size=size)
            model = backbone.model.to(dtype).train().eval()
            images = torch.randn(
                SAMPLES,
                *backbone.input_size,
                dtype=dtype,
                generator=torch.Generator().manual_seed(0),
            )
            with torch.no_grad():
                outputs = model(images)
        except Exception as refusal:
            failure = refusal
            continue
        if outputs.isfinite().all() and outputs.std() > 0:
            return model.train().eval(), images, size
    raise failure


def _line(failure: object) -> str:
    kind = "" if isinstance(failure, (RmtgenError, Warning)) else f"{type(failure).__name__}: "
    return kind + (str(failure).splitlines() or [""])[0]
