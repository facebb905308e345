"""A checked network and the images that pass through it, a batch at a time."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from rmtgen.device import default_device, fp32_precision
from rmtgen.errors import NumericalError, UsageError
from rmtgen.kernels.entk.audit import audited
from rmtgen.kernels.entk.capture import Capture, Gradients
from rmtgen.kernels.entk.marks import tensors_in
from rmtgen.models.features import first_nonfinite_layer, place

Images = Tensor | Dataset | Sequence[Tensor]
_DTYPES = (torch.float32, torch.float64)
_MOST_IMAGES = {"cpu": 64, "cuda": 256}  # in one pass: past this a batch gains no speed
_MOST_BYTES = {
    "cpu": 640 * 2**20,
    "cuda": 2**63,
}  # of one pass: on a CPU a larger one spends its time on fresh pages


class Joined:
    """Two sets of images, one behind the other."""

    def __init__(self, first: Sequence, second: Sequence):
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, position: int) -> Any:
        own = len(self.first)
        return self.first[position] if position < own else self.second[position - own]


class Passes:
    """The passes of images through a copy of a model, proved on two of them.

    Attributes:
        images: all of them.
        device: where the work is done.
        dtype: what it is done in.
        capture: of the model's copy.
        first: what the two images gave of each output, with every gradient formed; `batch` of them.
        activations: bytes of what an image's forward pass makes.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        output: int | str | None = None,
        precision: str = "ieee",
    ):
        """Copy the model to the device and check it on two images; see `gram.entk_gram` for
        arguments and errors.

        `precision` is that of float32 products and convolutions on CUDA, "ieee" or "tf32"
        (`precision.fp32_precision`).
        """
        if len(images) < 1:
            raise UsageError("the kernel needs at least one image, got 0.")
        self.images, self.device, self.precision = images, default_device(device), precision
        self.dtype = _dtype_of(model) if dtype is None else dtype
        if self.dtype not in _DTYPES:
            raise UsageError(f"dtype must be torch.float32 or torch.float64, got {self.dtype}.")
        self.capture = Capture(_prepared(model, self.device, self.dtype), output)
        probe = sorted({0, len(images) - 1})
        try:
            with fp32_precision(precision):
                self.first = audited(self.capture, self.fetch(probe))
        except NumericalError as failure:
            raise NumericalError(self.explain(0, len(images) - 1)) from failure
        self.activations = self.first[0].activations // len(probe)

    def most(self, budget: int, each: int) -> int:
        """Images in one pass, at most, that takes `each` bytes an image of a budget."""
        kind = self.device.type
        return max(1, min(_MOST_IMAGES[kind], min(budget, _MOST_BYTES[kind]) // each))

    def __call__(
        self, positions: Sequence[int], into: Sequence[Mapping[int, Float[Tensor, "b p"]]] = ()
    ) -> list[Gradients]:
        """The gradients of some images, as `Capture` gives them."""
        return self.capture(self.fetch(positions), into=into)

    def fetch(self, positions: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Some images, on the device."""
        if isinstance(self.images, Tensor):
            batch = self.images[torch.as_tensor(positions)]
        else:
            items = [self.images[position] for position in positions]
            batch = torch.stack(
                [item[0] if isinstance(item, (tuple, list)) else item for item in items]
            )
        return batch.to(self.device, self.dtype)

    def explain(self, *positions: int) -> str:
        """One line on images whose kernel is not finite: the one to blame, and the layer where it
        begins.
        """
        for position in positions:
            image = self.fetch([position])
            captured = self.capture(image)
            found = [
                tensor
                for gradients in captured
                for tensor in (
                    *gradients.direct.values(),
                    *itertools.chain(*gradients.factors.values()),
                )
            ]
            if not all(gradients.output.isfinite().all() for gradients in captured):
                return _not_finite(
                    f"image {position} has such an output, from"
                    f" {first_nonfinite_layer(self.capture.model, image)} on"
                )
            if not all(tensor.isfinite().all() for tensor in found):
                return _not_finite(f"image {position} has such gradients, though a finite output")
        return _not_finite(
            f"the product of images {positions[0]} and {positions[-1]} overflows {self.dtype};"
            " dtype=torch.float64 may hold it"
        )


def _not_finite(what: str) -> str:
    return (
        f"the kernel must be finite, got NaN or infinity: {what}. Check the image and the weights."
    )


def _prepared(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of the model on the device, rid of what it cached while it was used (some keep
    position biases, graph and all).
    """
    training = [
        name or type(model).__name__ for name, module in model.named_modules() if module.training
    ]
    if training:
        raise UsageError(
            f"the model must be in eval mode, or samples depend on each other: {len(training)}"
            f" modules are training ({training[0]}, …). Call model.eval()."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "the kernel needs parameters that require a gradient: got none. Set requires_grad on"
            " those that count."
        )
    cached = [
        tensor
        for module in model.modules()
        for tensor in tensors_in(vars(module))
        if not tensor.is_leaf
    ]
    prepared = copy.deepcopy(model, {id(tensor): tensor.detach() for tensor in cached}).to(dtype)
    return place(prepared.train().eval(), device)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next(
        (parameter.dtype for parameter in model.parameters() if parameter.requires_grad),
        torch.float32,
    )
