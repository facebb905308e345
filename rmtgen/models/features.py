"""Features of images, streamed batch by batch so that no more than a few batches are in memory."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from rmtgen.datasets import LabelledImages
from rmtgen.device import default_device, fp32_precision
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, RmtgenError, UsageError
from rmtgen.models.backbones import Backbone
from rmtgen.models.inputs import picture, pictures
from rmtgen.models.networks import plain, require_runs
from rmtgen.scalars import whole_number

Images = Sequence[Image.Image] | np.ndarray | LabelledImages
"""PIL images of any mode and size, or arrays of uint8; see `rmtgen.models.inputs.pictures`."""

_MOST_WORKERS = 8
"""Maximum number of processes that decode images for a GPU by default."""


@public
def extract_features(
    backbone: Backbone,
    images: Images,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool = False,
    fp32_precision: str = "ieee",
) -> Float32[Tensor, "n p"]:
    """The features of every image, in order.

    Args:
        backbone: Network and transform. Its model is moved to `device` and remains there.
        images: PIL images of any mode and size, or a `LabelledImages`.
        batch_size: Images per forward pass.
        device: Device of the computation; None: the GPU if there is one.
        progress: Show a bar on stderr if that is a terminal.
        fp32_precision: "ieee", or "tf32" for faster, less accurate products on CUDA.

    Returns:
        float32 on the CPU, one row per image, with `feature_dim` columns, or one column per output
        of a random head.

    Raises:
        UsageError: There are no images, the batch size is below 1, the device does not exist, or a
            batch does not fit into its memory.
        NumericalError: A feature is NaN or infinite.
    """
    images = pictures(images)
    batch_size = whole_number(batch_size, "batch_size", least=1)
    out = torch.empty(0)
    with tqdm(total=len(images), unit="img", disable=None if progress else True) as bar:
        batches = range(-(-len(images) // batch_size))
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "device": device,
            "fp32_precision": fp32_precision,
        }
        for batch, features in feature_batches(backbone, images, batches=batches, **settings):
            if batch == 0:
                out = torch.empty(len(images), features.shape[1])
            out[batch * batch_size :][: len(features)] = features
            bar.update(len(features))
    return out


def feature_batches(
    backbone: Backbone,
    images: Images,
    *,
    batches: Sequence[int],
    batch_size: int = 64,
    device: str | torch.device | None = None,
    workers: int | None = None,
    fp32_precision: str = "ieee",
) -> Iterator[tuple[int, Float32[Tensor, "b p"]]]:
    """The features of the given batches, in the order of their numbers in `batches`.

    Batch k always holds the images k·batch_size … (k+1)·batch_size − 1, so that a run that resumes
    at batch k gives the same bits as an uninterrupted one.

    Args:
        backbone: Network and transform. Its model is moved to `device` and remains there.
        images: PIL images of any mode and size, or a `LabelledImages`.
        batches: Numbers of batches, each below len(images)/batch_size.
        batch_size: Images per forward pass.
        device: Device of the computation; None: the GPU if there is one.
        workers: Number of processes that decode images; 0 decodes in this process. None: 0 on the
            CPU, whose cores are busy with the network, and up to 8 for a GPU.
        fp32_precision: "ieee", or "tf32" for faster, less accurate products on CUDA.

    Yields:
        The number of a batch, and its features, float32 on the CPU.

    Raises:
        UsageError: As for `extract_features`, or a batch number is out of range.
        NumericalError: A feature is NaN or infinite.
    """
    images = pictures(images)
    batch_size = whole_number(batch_size, "batch_size", least=1)
    outside = [batch for batch in batches if not 0 <= batch * batch_size < len(images)]
    if outside:
        raise UsageError(
            f"batches must lie within {len(images)} images, {batch_size} per batch, got number"
            f" {outside[0]}."
        )
    device = default_device(device)
    workers = decoding_workers(workers, device)
    forward = _Forward(place(float32_network(backbone), device), batch_size, device, fp32_precision)
    return _stream(forward, _ImageBatches(images, backbone, batch_size), batches, workers)


def decoding_workers(asked: int | None, device: torch.device) -> int:
    """Number of processes that decode images for a device, beside this one; 0: this one does."""
    if asked is not None:
        return asked
    return min(_MOST_WORKERS, os.cpu_count() or 1) if device.type == "cuda" else 0


def float32_network(backbone: Backbone) -> nn.Module:
    """The plain network of a backbone, which takes the float32 images of the transform.

    Raises:
        UsageError: The argument is no backbone, or a parameter is not float32.
    """
    if not isinstance(backbone, Backbone):
        raise UsageError(
            f"backbone must be a Backbone, got {type(backbone).__name__}. Give that of"
            " load_backbone, or Backbone(…) around a network and its transform."
        )
    model = plain(backbone.model)
    other = [one for one in model.named_parameters() if one[1].dtype != torch.float32]
    if other:
        raise UsageError(
            "features are computed in float32: expected float32 parameters, got"
            f" {other[0][1].dtype} as {other[0][0]}. Call backbone.model.float()."
        )
    return model


class TransformedImages(Dataset):
    """The images of a data set after the transform of a backbone: float32 tensors (3, h, w)."""

    def __init__(self, images: Images, backbone: Backbone):
        self.images, self.transform = pictures(images), backbone.transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Float32[Tensor, "3 h w"]:
        return self.transform(picture(self.images, position))


class _ImageBatches(Dataset):
    """Transformed batches by number.

    An `RmtgenError` is returned instead of raised, because a worker of the DataLoader would wrap
    its message in a traceback.
    """

    def __init__(self, images: Images, backbone: Backbone, batch_size: int):
        self.images, self.batch_size = TransformedImages(images, backbone), batch_size

    def __getitem__(self, batch: int) -> tuple[int, Tensor | RmtgenError]:
        start = batch * self.batch_size
        stop = min(start + self.batch_size, len(self.images))
        try:
            return batch, torch.stack([self.images[position] for position in range(start, stop)])
        except RmtgenError as failure:
            return batch, failure


@dataclass(frozen=True, eq=False)
class _PendingBatch:
    """A batch that was submitted to the device.

    Attributes:
        batch: Number of the batch.
        start: Position of its first image.
        pixels: Its images on the device.
        features: Its features on the host, valid after `copied`.
        copied: Event after the copy to the host; None on the CPU.
    """

    batch: int
    start: int
    pixels: Tensor
    features: Tensor
    copied: torch.cuda.Event | None

    def wait(self, model: nn.Module) -> tuple[int, Tensor]:
        if self.copied is not None:
            self.copied.synchronize()
        if not self.features.isfinite().all():
            raise NumericalError(_explain(model, self))
        return self.batch, self.features


def _stream(
    forward: "_Forward", images: _ImageBatches, batches: Sequence[int], workers: int
) -> Iterator[tuple[int, Tensor]]:
    on_gpu = forward.device.type == "cuda"
    loader = DataLoader(
        images,
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # else the loader draws a seed from the global generator
    )
    # A GPU computes the next batch while the caller stores this one. On a CPU nothing overlaps, and
    # the result would only be delayed.
    ahead = 1 if on_gpu else 0
    pending: deque[_PendingBatch] = deque()
    for batch, pixels in loader:
        if isinstance(pixels, RmtgenError):
            raise pixels
        pending.append(forward(batch, pixels))
        if len(pending) > ahead:
            yield pending.popleft().wait(forward.model)
    while pending:
        yield pending.popleft().wait(forward.model)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device, with its convolution weights in the channels-last memory format.

    This format is about twice as fast, on the CPU and on the GPU.
    """
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


@dataclass(frozen=True, eq=False)
class _Forward:
    """The forward pass of a model on a device, which does not wait for a GPU."""

    model: nn.Module
    batch_size: int
    device: torch.device
    fp32_precision: str

    def __call__(self, batch: int, pixels: Tensor) -> _PendingBatch:
        try:
            with torch.inference_mode(), fp32_precision(self.fp32_precision):
                pixels = pixels.to(self.device, non_blocking=True).contiguous(
                    memory_format=torch.channels_last
                )
                features = self.model(pixels)
        except torch.OutOfMemoryError as failure:
            reason = str(failure).splitlines()[0]
            raise UsageError(
                f"a batch must fit into the memory of {self.device}: {len(pixels)} images do not"
                f" ({reason}). Lower batch_size."
            ) from failure
        except Exception:
            require_runs(self.model, pixels)
            raise
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(pixels):
            shape = getattr(features, "shape", type(features).__name__)
            raise UsageError(
                f"the model must return one row of features per image: expected ({len(pixels)}, p),"
                f" got {tuple(shape) if isinstance(shape, tuple) else shape}. Pool and flatten in"
                " its forward."
            )
        on_gpu = self.device.type == "cuda"
        host = torch.empty(features.shape, dtype=torch.float32, pin_memory=on_gpu).copy_(
            features, non_blocking=True
        )
        copied = torch.cuda.current_stream(self.device).record_event() if on_gpu else None
        return _PendingBatch(batch, batch * self.batch_size, pixels, host, copied)


def _explain(model: nn.Module, pending: _PendingBatch) -> str:
    """The message on non-finite features: number of images, first image, first layer."""
    bad = (~pending.features.isfinite()).any(dim=1).nonzero().flatten()
    first = pending.start + int(bad[0])
    return (
        f"features must be finite: {len(bad)} of the {len(pending.features)} images of batch"
        f" {pending.batch} give NaN or infinity, image {first} first; the values begin at"
        f" {first_nonfinite_layer(model, pending.pixels)}. Check that image, and the weights."
    )


@torch.inference_mode()
def first_nonfinite_layer(model: nn.Module, pixels: Tensor) -> str:
    """The name of the first layer, in order of completion, with NaN or infinity in its output."""
    if not pixels.isfinite().all():
        return "the transformed image"
    found: list[str] = []

    def note(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            found.append(name)

    hooks = [
        module.register_forward_hook(partial(note, name)) for name, module in model.named_modules()
    ]
    try:
        model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return f"layer {found[0]}" if found else "no layer in a second pass"
