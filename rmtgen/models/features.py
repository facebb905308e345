"""Penultimate features, a batch at a time: memory does not grow with the number of images beyond
the features themselves.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from rmtgen.device import default_device, fp32_precision
from rmtgen.errors import NumericalError, RmtgenError, UsageError
from rmtgen.models.backbones import Backbone

_MOST_WORKERS = 8


def extract_features(
    backbone: Backbone,
    images: Sequence[Image.Image],
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool = False,
    fp32_precision: str = "ieee",
) -> Float32[Tensor, "n p"]:
    """The features of every image, in the images' order, on the CPU.

    Args:
        backbone: what to run. Its model is moved to `device` and stays there.
        images: PIL images of any mode and size, or a `LabelledImages`.
        batch_size: images in one forward pass.
        device: where to compute; None is the GPU where there is one.
        progress: show a bar on stderr if that is a terminal.
        fp32_precision: "ieee", or "tf32" for faster, rougher products on CUDA.

    Returns:
        float32, one row an image; `feature_dim` columns, or 1 under a random head.

    Raises:
        UsageError: no images, a batch size below 1, an absent device, or a batch too large for its
            memory.
        NumericalError: a feature is NaN or infinite.
    """
    images = getattr(images, "images", images)
    _check_sizes(len(images), batch_size)
    out = None
    with tqdm(total=len(images), unit="img", disable=None if progress else True) as bar:
        batches = range(-(-len(images) // batch_size))
        settings = {"batch_size": batch_size, "device": device, "fp32_precision": fp32_precision}
        for batch, features in feature_batches(backbone, images, batches=batches, **settings):
            if out is None:
                out = torch.empty(len(images), features.shape[1])
            out[batch * batch_size :][: len(features)] = features
            bar.update(len(features))
    return out


def feature_batches(
    backbone: Backbone,
    images: Sequence[Image.Image],
    *,
    batches: Sequence[int],
    batch_size: int = 64,
    device: str | torch.device | None = None,
    workers: int | None = None,
    fp32_precision: str = "ieee",
) -> Iterator[tuple[int, Float32[Tensor, "b p"]]]:
    """The features of the numbered batches, each with its number, in the order asked for.

    Batch k is always images k·batch_size up to (k+1)·batch_size, so a run that starts at batch k
    gives the bits it would have given in the middle of a longer one.

    Args:
        backbone: what to run. Its model is moved to `device` and stays there.
        images: PIL images of any mode and size, or a `LabelledImages`.
        batches: numbers of the batches, each below the count of images over `batch_size`.
        batch_size: images in one forward pass.
        device: where to compute; None is the GPU where there is one.
        workers: processes that decode images; 0 decodes in this one. None: 0 on the CPU, which has
            no spare core, up to 8 beside a GPU.
        fp32_precision: "ieee", or "tf32" for faster, rougher products on CUDA.

    Yields:
        The batch's number and its features, float32 on the CPU.

    Raises:
        UsageError: as for `extract_features`, or a batch number that the images do not reach.
        NumericalError: a feature is NaN or infinite.
    """
    images = getattr(images, "images", images)
    _check_sizes(len(images), batch_size)
    outside = [batch for batch in batches if not 0 <= batch * batch_size < len(images)]
    if outside:
        raise UsageError(
            f"batches must lie within {len(images)} images of {batch_size} a batch, got number"
            f" {outside[0]}."
        )
    device = default_device(device)
    if workers is None:
        workers = min(_MOST_WORKERS, os.cpu_count() or 1) if device.type == "cuda" else 0
    launch = _Launch(place(backbone.model, device), batch_size, device, fp32_precision)
    return _stream(launch, _ImageBatches(images, backbone, batch_size), batches, workers)


def _check_sizes(images: int, batch_size: int) -> None:
    if images < 1:
        raise UsageError("images must hold at least one image, got 0.")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}.")


class TransformedImages(Dataset):
    """Images as a backbone takes them, one float32 tensor (3, h, w) at a time."""

    def __init__(self, images: Sequence[Image.Image], backbone: Backbone):
        self.images, self.transform = getattr(images, "images", images), backbone.transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Float32[Tensor, "3 h w"]:
        return self.transform(self.images[position])


class _ImageBatches(Dataset):
    """Transformed batches by number. An error of ours is returned, not raised: a worker would wrap
    its one line in a traceback.
    """

    def __init__(self, images: Sequence[Image.Image], backbone: Backbone, batch_size: int):
        self.pictures, self.batch_size = TransformedImages(images, backbone), batch_size

    def __getitem__(self, batch: int) -> tuple[int, Tensor | RmtgenError]:
        start = batch * self.batch_size
        try:
            pictures = [
                self.pictures[i]
                for i in range(start, min(start + self.batch_size, len(self.pictures)))
            ]
        except RmtgenError as failure:
            return batch, failure
        return batch, torch.stack(pictures)


@dataclass(frozen=True, eq=False)
class _Flight:
    """A batch under way: its first image, its pixels on the device, and the host copy of its
    features, complete once `landed` fires.
    """

    batch: int
    start: int
    pixels: Tensor
    features: Tensor
    landed: torch.cuda.Event | None

    def wait(self, model: nn.Module) -> tuple[int, Tensor]:
        if self.landed is not None:
            self.landed.synchronize()
        if not self.features.isfinite().all():
            raise NumericalError(_explain(model, self))
        return self.batch, self.features


def _stream(
    launch: "_Launch", pictures: _ImageBatches, batches: Sequence[int], workers: int
) -> Iterator[tuple[int, Tensor]]:
    on_gpu = launch.device.type == "cuda"
    loader = DataLoader(
        pictures,
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # the loader draws a seed; not from the caller's generator
    )
    # A GPU starts on the next batch while the caller stores this one. A CPU has nothing to overlap:
    # there it would only delay the result.
    lead = 1 if on_gpu else 0
    flights: deque[_Flight] = deque()
    for batch, pixels in loader:
        if isinstance(pixels, RmtgenError):
            raise pixels
        flights.append(launch(batch, pixels))
        if len(flights) > lead:
            yield flights.popleft().wait(launch.model)
    while flights:
        yield flights.popleft().wait(launch.model)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device, convolution weights with channels last: about twice as fast, on the
    CPU as on the GPU.
    """
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


@dataclass(frozen=True, eq=False)
class _Launch:
    """How a batch is sent through the model."""

    model: nn.Module
    batch_size: int
    device: torch.device
    fp32_precision: str

    def __call__(self, batch: int, pixels: Tensor) -> _Flight:
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
        on_gpu = self.device.type == "cuda"
        host = torch.empty(features.shape, dtype=torch.float32, pin_memory=on_gpu).copy_(
            features, non_blocking=True
        )
        landed = torch.cuda.current_stream(self.device).record_event() if on_gpu else None
        return _Flight(batch, batch * self.batch_size, pixels, host, landed)


def _explain(model: nn.Module, flight: _Flight) -> str:
    """One line on a batch with non-finite features: how many images, the first of them, and the
    layer where it begins.
    """
    bad = (~flight.features.isfinite()).any(dim=1).nonzero().flatten()
    first = flight.start + int(bad[0])
    return (
        f"features must be finite: {len(bad)} of the {len(flight.features)} images of batch"
        f" {flight.batch} give NaN or infinite ones, image {first} first; they begin at"
        f" {first_broken_layer(model, flight.pixels)}. Check that image, and the weights."
    )


@torch.inference_mode()
def first_broken_layer(model: nn.Module, pixels: Tensor) -> str:
    """The name of the first layer, in the order they finish, whose output is not finite."""
    if not pixels.isfinite().all():
        return "the transformed image"
    broken: list[str] = []

    def note(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            broken.append(name)

    hooks = [
        module.register_forward_hook(partial(note, name)) for name, module in model.named_modules()
    ]
    try:
        model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return f"layer {broken[0]}" if broken else "no layer on a second try"
